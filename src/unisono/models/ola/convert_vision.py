"""Official keys of the vision encoder and its connector, and what they are called here."""

from collections.abc import Mapping
from math import isqrt

from torch import Size, Tensor

from unisono.errors import ModelConfigError
from unisono.models.key_table import KeyRule, under
from unisono.models.ola.vision import OryxVisionConfig

VISION_PREFIX = "model.vision_tower.vision_tower."
VISION_CONNECTOR_PREFIX = "model.mm_projector."


def convolution_to_linear(weight: Tensor) -> Tensor:
    """[W, C, p, p] -> [W, C * p * p]: a convolution whose stride is its kernel."""
    return weight.flatten(1)


def linear_to_convolution(weight: Tensor) -> Tensor:
    """[W, 3 * p * p] -> [W, 3, p, p]."""
    side = isqrt(weight.shape[1] // 3)
    return weight.view(len(weight), 3, side, side)


# fmt: off
VISION_KEYS = under((
    KeyRule("patch_embed.proj.weight", "patch_embedding.weight",
            convolution_to_linear, linear_to_convolution),
    KeyRule("patch_embed.proj.bias", "patch_embedding.bias"),
    KeyRule("pos_embed", "position_embedding"),
    KeyRule("blocks.{n}.norm1.weight", "layers.{n}.norm1.weight"),
    KeyRule("blocks.{n}.norm1.bias", "layers.{n}.norm1.bias"),
    KeyRule("blocks.{n}.attn.qkv.weight", "layers.{n}.attention.qkv.weight"),
    KeyRule("blocks.{n}.attn.qkv.bias", "layers.{n}.attention.qkv.bias"),
    KeyRule("blocks.{n}.attn.proj.weight", "layers.{n}.attention.projection.weight"),
    KeyRule("blocks.{n}.attn.proj.bias", "layers.{n}.attention.projection.bias"),
    KeyRule("blocks.{n}.norm2.weight", "layers.{n}.norm2.weight"),
    KeyRule("blocks.{n}.norm2.bias", "layers.{n}.norm2.bias"),
    KeyRule("blocks.{n}.mlp.fc1.weight", "layers.{n}.mlp.fc1.weight"),
    KeyRule("blocks.{n}.mlp.fc1.bias", "layers.{n}.mlp.fc1.bias"),
    KeyRule("blocks.{n}.mlp.fc2.weight", "layers.{n}.mlp.fc2.weight"),
    KeyRule("blocks.{n}.mlp.fc2.bias", "layers.{n}.mlp.fc2.bias"),
), official=VISION_PREFIX, ours="encoders.vision.")

VISION_CONNECTOR_KEYS = under((
    KeyRule("proj1.weight", "linear1.weight"),
    KeyRule("proj1.bias", "linear1.bias"),
    KeyRule("pooler.predictor.0.weight", "pooler.score.0.weight"),
    KeyRule("pooler.predictor.0.bias", "pooler.score.0.bias"),
    KeyRule("pooler.predictor.2.weight", "pooler.score.2.weight"),
    KeyRule("pooler.predictor.2.bias", "pooler.score.2.bias"),
    KeyRule("proj2.weight", "linear2.weight"),
    KeyRule("proj2.bias", "linear2.bias"),
    KeyRule("image_begin", "begin"),
    KeyRule("image_newline", "newline"),
    KeyRule("image_sep", "separator"),
    KeyRule("image_end", "end"),
), official=VISION_CONNECTOR_PREFIX, ours="encoders.vision_connector.")
# fmt: on


def vision_config_from_official(
    shapes: Mapping[str, Size | tuple[int, ...] | list[int]], *, num_attention_heads: int = 16
) -> OryxVisionConfig:
    """The vision encoder's shape, read off the tensors: the official config does not tell it.

    Args:
        shapes: official key -> shape, of the whole checkpoint or of more than the encoder.
        num_attention_heads: leaves no trace in the tensors; the official code has 16.

    Raises:
        ModelConfigError: a tensor that tells the shape is missing.
    """
    tower = {
        key.removeprefix(VISION_PREFIX): tuple(shape)
        for key, shape in shapes.items()
        if key.startswith(VISION_PREFIX)
    }
    for key in ("patch_embed.proj.weight", "pos_embed", "blocks.0.mlp.fc1.weight"):
        if key not in tower:
            raise ModelConfigError(f"the checkpoint has no {VISION_PREFIX}{key}")
    width, channels, patch_size, _ = tower["patch_embed.proj.weight"]
    return OryxVisionConfig(
        hidden_size=width,
        intermediate_size=tower["blocks.0.mlp.fc1.weight"][0],
        num_hidden_layers=len({key.split(".")[1] for key in tower if key.startswith("blocks.")}),
        num_attention_heads=num_attention_heads,
        num_channels=channels,
        patch_size=patch_size,
        position_grid=isqrt(tower["pos_embed"][1]),
    )
