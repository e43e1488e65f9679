"""Official keys of BEATs, the sound encoder, and what they are called here."""

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Size, Tensor

from unisono.errors import ModelConfigError
from unisono.models.key_table import KeyRule, rename, reversed_rules
from unisono.models.ola.beats import BeatsModel
from unisono.models.ola.beats_config import BeatsConfig

BEATS_PREFIX = "model.speech_encoder.beats_model."
"""What stands before the keys in a checkpoint of Ola; a BEATs file of its own has no prefix."""

# fmt: off
BEATS_KEYS = (
    KeyRule("patch_embedding.weight", "patch_embedding.weight"),
    KeyRule("patch_embedding.bias", "patch_embedding.bias"),
    KeyRule("layer_norm.weight", "patch_norm.weight"),
    KeyRule("layer_norm.bias", "patch_norm.bias"),
    KeyRule("post_extract_proj.weight", "projection.weight"),
    KeyRule("post_extract_proj.bias", "projection.bias"),
    KeyRule("encoder.pos_conv.0.weight_g", "positions.magnitude"),
    KeyRule("encoder.pos_conv.0.weight_v", "positions.direction"),
    KeyRule("encoder.pos_conv.0.bias", "positions.bias"),
    KeyRule("encoder.layer_norm.weight", "norm.weight"),
    KeyRule("encoder.layer_norm.bias", "norm.bias"),
    KeyRule("encoder.layers.{n}.self_attn.q_proj.weight", "layers.{n}.attention.q_proj.weight"),
    KeyRule("encoder.layers.{n}.self_attn.q_proj.bias", "layers.{n}.attention.q_proj.bias"),
    KeyRule("encoder.layers.{n}.self_attn.k_proj.weight", "layers.{n}.attention.k_proj.weight"),
    KeyRule("encoder.layers.{n}.self_attn.k_proj.bias", "layers.{n}.attention.k_proj.bias"),
    KeyRule("encoder.layers.{n}.self_attn.v_proj.weight", "layers.{n}.attention.v_proj.weight"),
    KeyRule("encoder.layers.{n}.self_attn.v_proj.bias", "layers.{n}.attention.v_proj.bias"),
    KeyRule("encoder.layers.{n}.self_attn.out_proj.weight",
            "layers.{n}.attention.out_proj.weight"),
    KeyRule("encoder.layers.{n}.self_attn.out_proj.bias", "layers.{n}.attention.out_proj.bias"),
    KeyRule("encoder.layers.{n}.self_attn.grep_linear.weight", "layers.{n}.attention.gate.weight"),
    KeyRule("encoder.layers.{n}.self_attn.grep_linear.bias", "layers.{n}.attention.gate.bias"),
    KeyRule("encoder.layers.{n}.self_attn.grep_a", "layers.{n}.attention.gate_scale"),
    KeyRule("encoder.layers.{n}.self_attn_layer_norm.weight", "layers.{n}.norm1.weight"),
    KeyRule("encoder.layers.{n}.self_attn_layer_norm.bias", "layers.{n}.norm1.bias"),
    KeyRule("encoder.layers.{n}.fc1.weight", "layers.{n}.fc1.weight"),
    KeyRule("encoder.layers.{n}.fc1.bias", "layers.{n}.fc1.bias"),
    KeyRule("encoder.layers.{n}.fc2.weight", "layers.{n}.fc2.weight"),
    KeyRule("encoder.layers.{n}.fc2.bias", "layers.{n}.fc2.bias"),
    KeyRule("encoder.layers.{n}.final_layer_norm.weight", "layers.{n}.norm2.weight"),
    KeyRule("encoder.layers.{n}.final_layer_norm.bias", "layers.{n}.norm2.bias"),
    KeyRule("predictor.weight", "predictor.weight"),
    KeyRule("predictor.bias", "predictor.bias"),
)
"""One key for one."""

BEATS_SHARED_KEYS = (
    KeyRule("encoder.layers.{n}.self_attn.relative_attention_bias.weight",
            "relative_bias.table.weight"),
)
"""Many keys for one: the layers share the table, and the official file has it under each."""

_FIELDS: tuple[tuple[str, str, Any], ...] = (
    ("encoder_embed_dim", "hidden_size", 768),
    ("encoder_layers", "num_hidden_layers", 12),
    ("encoder_attention_heads", "num_attention_heads", 12),
    ("encoder_ffn_embed_dim", "intermediate_size", 3072),
    ("input_patch_size", "patch_size", None),
    ("embed_dim", "embedding_size", 512),
    ("conv_bias", "patch_bias", False),
    ("conv_pos", "conv_pos", 128),
    ("conv_pos_groups", "conv_pos_groups", 16),
    ("layer_norm_first", "layer_norm_first", False),
    ("deep_norm", "deep_norm", False),
    ("relative_position_embedding", "relative_position_embedding", False),
    ("gru_rel_pos", "gated_relative_bias", False),
    ("num_buckets", "num_buckets", 320),
    ("max_distance", "max_distance", 1280),
)
"""Official field, ours, and what the official code takes where a file does not say."""

_ACTIVATIONS = {
    "relu": "relu",
    "gelu": "gelu",
    "gelu_fast": "gelu_pytorch_tanh",
    "gelu_accurate": "gelu_pytorch_tanh",
    "tanh": "tanh",
    "linear": "linear",
}
# fmt: on


def beats_config_from_official(cfg: Mapping[str, Any]) -> BeatsConfig:
    """The `cfg` of an official BEATs file as ours; dropout and other matters of training go.

    Raises:
        ModelConfigError: a field is missing, contradicts another, or asks for an activation that
            is not supported.
    """
    fields = {ours: cfg.get(official, default) for official, ours, default in _FIELDS}
    if fields["patch_size"] is None:
        raise ModelConfigError("the BEATs cfg must say its input_patch_size, but does not")
    activation = cfg.get("activation_fn", "gelu")
    if activation not in _ACTIVATIONS:
        raise ModelConfigError(
            f"activation_fn must be one of {', '.join(_ACTIVATIONS)}, but is {activation} instead"
        )
    finetuned = cfg.get("finetuned_model", False)
    return BeatsConfig(
        **fields,
        hidden_act=_ACTIVATIONS[activation],
        num_classes=cfg.get("predictor_class", 527) if finetuned else 0,
    )


def beats_config_from_shapes(
    shapes: Mapping[str, Size | tuple[int, ...] | list[int]],
) -> BeatsConfig:
    """The shape as the tensors tell it, for a checkpoint of Ola without the BEATs file.

    What leaves no trace in them is that of Ola-7b: post-norm with weighted residuals, exact
    GELU, `max_distance` 800.

    Args:
        shapes: official key, without prefix -> shape.

    Raises:
        ModelConfigError: a tensor that tells the shape is missing.
    """
    told = {key: tuple(shape) for key, shape in shapes.items()}
    layer = "encoder.layers.0."
    needed = ("patch_embedding.weight", "encoder.pos_conv.0.weight_v", f"{layer}fc1.weight")
    table = f"{layer}self_attn.relative_attention_bias.weight"
    if missing := [key for key in (*needed, table) if key not in told]:
        raise ModelConfigError(f"the checkpoint's BEATs has no {', '.join(missing)}")
    embedding, _, patch_size, _ = told[needed[0]]
    width, group_width, kernel = told[needed[1]]
    buckets, heads = told[table]
    return BeatsConfig(
        hidden_size=width,
        num_hidden_layers=len({k.split(".")[2] for k in told if k.startswith("encoder.layers.")}),
        num_attention_heads=heads,
        intermediate_size=told[needed[2]][0],
        patch_size=patch_size,
        embedding_size=embedding,
        patch_bias="patch_embedding.bias" in told,
        conv_pos=kernel,
        conv_pos_groups=width // group_width,
        gated_relative_bias=f"{layer}self_attn.grep_a" in told,
        num_buckets=buckets,
        num_classes=told.get("predictor.weight", (0,))[0],
    )


def beats_from_official(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Official tensors under our keys; a shared one once.

    Args:
        tensors: official key, without prefix -> tensor.

    Raises:
        ModelConfigError: a key is in neither table, or copies of a shared tensor differ.
    """
    found = {key: rename(BEATS_KEYS + BEATS_SHARED_KEYS, key) for key in tensors}
    if unknown := [key for key, match in found.items() if match is None]:
        raise ModelConfigError(f"the BEATs checkpoint has unexpected keys: {_listed(unknown)}")
    ours: dict[str, Tensor] = {}
    for official, match in found.items():
        key = match[0] if match else official
        if key in ours and not torch.equal(ours[key], tensors[official]):
            raise ModelConfigError(f"{official} must equal the table of the other layers")
        ours[key] = tensors[official]
    return ours


def beats_to_official(state: Mapping[str, Tensor], num_hidden_layers: int) -> dict[str, Tensor]:
    """Our tensors under the official keys, shared ones under every layer's.

    Args:
        state: our key -> tensor.
        num_hidden_layers: how many layers share them.

    Raises:
        ModelConfigError: a key is not in the tables.
    """
    shared = {rule.ours: rule.official for rule in BEATS_SHARED_KEYS}
    back = reversed_rules(BEATS_KEYS)
    official: dict[str, Tensor] = {}
    for key, tensor in state.items():
        if key in shared:
            layers = range(num_hidden_layers)
            official.update({shared[key].format(n=layer): tensor for layer in layers})
        elif match := rename(back, key):
            official[match[0]] = tensor
        else:
            raise ModelConfigError(f"{key} has no place in an official BEATs checkpoint")
    return official


def load_official_beats(model: BeatsModel, tensors: Mapping[str, Tensor]) -> None:
    """Fill a model with an official BEATs checkpoint; every parameter, or none.

    Args:
        model: of the checkpoint's shape (`beats_config_from_official`); keeps its precision.
        tensors: official key, without prefix -> tensor.

    Raises:
        ModelConfigError: keys are missing or unexpected, or tensors have another shape.
    """
    given, wanted = beats_from_official(tensors), model.state_dict()
    shapes = [
        f"{key} {list(given[key].shape)} instead of {list(wanted[key].shape)}"
        for key in given.keys() & wanted.keys()
        if given[key].shape != wanted[key].shape
    ]
    faults = {
        "missing": wanted.keys() - given.keys(),
        "unexpected": given.keys() - wanted.keys(),
        "of another shape": shapes,
    }
    if told := [f"{name}: {_listed(keys)}" for name, keys in faults.items() if keys]:
        raise ModelConfigError(f"the BEATs checkpoint does not fit the model; {'; '.join(told)}")
    model.load_state_dict(given)


def _listed(keys: Iterable[str]) -> str:
    """The first few keys, and how many more there are."""
    every = sorted(keys)
    rest = f" and {len(every) - 5} more" if len(every) > 5 else ""
    return ", ".join(every[:5]) + rest
