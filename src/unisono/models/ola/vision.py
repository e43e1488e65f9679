"""OryxViT, the vision encoder of Ola: pictures of any size, packed into one sequence.

A SigLIP-so400m-shaped transformer whose learned positions lie on a large square grid and are
resized to each picture's own; no class token, no final norm, no pooling. Knows nothing of
pixels' origin (`processor_image`) nor of the language model (`connector_vision`).

Shapes: P patches of all pictures, W width, H heads, T patches of one picture, C channels,
p side of a patch, G side of the position grid.

Source: arXiv 2502.04328, section 3.1, and arXiv 2409.12961 (Oryx), section 3.1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, cast

import torch
from huggingface_hub.dataclasses import strict
from torch import Tensor, nn
from torch.nn.functional import interpolate, pad
from transformers import PreTrainedConfig, PreTrainedModel, initialization
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutput

from unisono.errors import ModelConfigError

Grid = tuple[int, int]
"""Rows and columns of a picture's patches."""

_MLP_RATIO = 3.7362


@strict
class OryxVisionConfig(PreTrainedConfig):
    """Configuration of an `OryxVisionModel`; the defaults are those of Ola-7b.

    Attributes:
        hidden_size: W.
        intermediate_size: hidden width of the MLPs; None makes it int(3.7362 W).
        num_hidden_layers: transformer layers; the output of the last is taken as it is.
        num_attention_heads: must divide `hidden_size`.
        num_channels: C.
        patch_size: p, in pixels.
        position_grid: G; the positions are learned for a picture of G x G patches.
        hidden_act: activation of the MLPs; "gelu" is the exact one.
        layer_norm_eps: of every LayerNorm.
    """

    model_type = "oryx_vit"
    base_config_key = "vision_config"

    hidden_size: int = 1152
    intermediate_size: int | None = None
    num_hidden_layers: int = 27
    num_attention_heads: int = 16
    num_channels: int = 3
    patch_size: int = 16
    position_grid: int = 128
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-6

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        if self.intermediate_size is None:
            self.intermediate_size = int(self.hidden_size * _MLP_RATIO)
        if self.hidden_size % self.num_attention_heads:
            raise ModelConfigError(
                f"hidden_size must be a multiple of num_attention_heads "
                f"({self.num_attention_heads}), but is {self.hidden_size} instead"
            )


class OryxVisionModel(PreTrainedModel):
    """Patches of pictures in, one feature vector a patch out."""

    config_class = OryxVisionConfig
    main_input_name = "pixel_patches"
    input_modalities = ("image", "video")
    supports_gradient_checkpointing = True
    _no_split_modules = ["OryxVisionLayer"]  # noqa: RUF012 -- the form transformers expects
    _supports_sdpa = True
    # Whatever is asked for, attention goes through SDPA, which has flash kernels of its own.
    _supports_flash_attn = True

    def __init__(self, config: OryxVisionConfig) -> None:
        super().__init__(config)
        width = config.hidden_size
        patch_values = config.num_channels * config.patch_size**2
        self.patch_embedding = nn.Linear(patch_values, width)
        self.position_embedding = nn.Parameter(torch.zeros(1, config.position_grid**2, width))
        self.layers = nn.ModuleList(
            OryxVisionLayer(config) for _ in range(config.num_hidden_layers)
        )
        self.post_init()

    def forward(self, pixel_patches: Tensor, patch_grids: Tensor) -> BaseModelOutput:
        """Encode pictures, each on its own, in one pass.

        Args:
            pixel_patches: [P, C * p * p], normalised; picture after picture, row after row.
            patch_grids: [pictures, 2], rows and columns of each picture.

        Returns:
            `last_hidden_state` [P, W], in the order given.

        Raises:
            ValueError: the grids do not describe P patches.
        """
        grids = checked_grids(patch_grids, len(pixel_patches))
        layout = _side_by_side(grids, pixel_patches.device)
        hidden = self.patch_embedding(_reordered(pixel_patches.to(self.dtype), layout.order))
        hidden = hidden + self._positions(layout.grids).to(hidden.dtype)
        for layer in self.layers:
            hidden = layer(hidden, layout.groups)
        return BaseModelOutput(last_hidden_state=_reordered(hidden, layout.order_back))

    def _positions(self, grids: Sequence[Grid]) -> Tensor:
        """[P, W]; equal grids lie side by side, so that each is resized once."""
        parts = []
        for grid, run in groupby(grids):
            table = self._resized_positions(grid)  # [T, W]
            parts.append(table.expand(len(list(run)), -1, -1).flatten(0, 1))
        return torch.cat(parts)

    def _resized_positions(self, grid: Grid) -> Tensor:
        """[T, W] for a grid of T patches."""
        side = self.config.position_grid
        if grid == (side, side):
            return self.position_embedding[0]
        # In float32: half precision would round the coordinates' weights too.
        square = self.position_embedding.float().view(1, side, side, -1)  # [1, G, G, W]
        resized = interpolate(
            square.permute(0, 3, 1, 2), size=grid, mode="bilinear", align_corners=False
        )
        return resized[0].flatten(1).T

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, OryxVisionModel):
            initialization.normal_(module.position_embedding, std=self.config.hidden_size**-0.5)


class OryxVisionLayer(GradientCheckpointingLayer):
    """Pre-norm transformer layer: x + attention(norm1(x)), then x + mlp(norm2(x))."""

    def __init__(self, config: OryxVisionConfig) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.layer_norm_eps
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.attention = OryxVisionAttention(config)
        self.norm2 = nn.LayerNorm(width, eps=eps)
        self.mlp = OryxVisionMlp(config)

    def forward(self, hidden: Tensor, groups: Sequence["Group"]) -> Tensor:
        """[P, W] -> [P, W]; see `OryxVisionAttention.forward`."""
        hidden = hidden + self.attention(self.norm1(hidden), groups)
        return hidden + self.mlp(self.norm2(hidden))


class OryxVisionAttention(nn.Module):
    """Multi-head self-attention inside each picture.

    Pictures of one length are a dense batch, so that no mask over the pack is ever made.
    """

    def __init__(self, config: OryxVisionConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.qkv = nn.Linear(width, 3 * width)
        self.projection = nn.Linear(width, width)

    def forward(self, hidden: Tensor, groups: Sequence["Group"]) -> Tensor:
        """[P, W] -> [P, W].

        Args:
            hidden: [P, W], pictures of equal length side by side.
            groups: number of pictures and T of each run of equally long ones.
        """
        packed = self.qkv(hidden)  # [P, 3W]
        parts = torch.split(packed, [pictures * length for pictures, length in groups])
        mixed = [self._attend(part, g) for part, g in zip(parts, groups, strict=True)]
        return self.projection(torch.cat(mixed))

    def _attend(self, packed: Tensor, group: "Group") -> Tensor:
        """[pictures * T, 3W] -> [pictures * T, W]."""
        split = packed.view(*group, 3, self.heads, -1)  # [pictures, T, 3, H, W / H]
        query, key, value = split.permute(2, 0, 3, 1, 4)  # each [pictures, H, T, W / H]
        mixed = torch.nn.functional.scaled_dot_product_attention(query, key, value)
        return mixed.transpose(1, 2).reshape(len(packed), -1)


class OryxVisionMlp(nn.Module):
    """Linear -> activation -> Linear."""

    def __init__(self, config: OryxVisionConfig) -> None:
        super().__init__()
        hidden_width = cast(int, config.intermediate_size)  # __post_init__ left no None
        self.fc1 = nn.Linear(config.hidden_size, hidden_width)
        self.activation = ACT2FN[config.hidden_act]
        self.fc2 = nn.Linear(hidden_width, config.hidden_size)

    def forward(self, hidden: Tensor) -> Tensor:
        """[P, W] -> [P, W]."""
        return self.fc2(self.activation(self.fc1(hidden)))


Group = tuple[int, int]
"""A number of pictures, and the number of patches each of them has."""


@dataclass(frozen=True)
class _Layout:
    """A pack with equal pictures side by side.

    Attributes:
        grids: of the pictures, in the order they are laid out.
        groups: runs of equally long pictures.
        order: [P], which patch comes where; None when nothing moves.
        order_back: [P], the inverse of `order`.
    """

    grids: tuple[Grid, ...]
    groups: tuple[Group, ...]
    order: Tensor | None = None
    order_back: Tensor | None = None


def _side_by_side(grids: Sequence[Grid], device: torch.device) -> _Layout:
    """Sort the pictures by length, then by grid, once for all layers."""
    picture_order = sorted(range(len(grids)), key=lambda i: (grids[i][0] * grids[i][1], grids[i]))
    laid_out = tuple(grids[i] for i in picture_order)
    lengths = [rows * columns for rows, columns in laid_out]
    groups = tuple((len(list(run)), length) for length, run in groupby(lengths))
    if picture_order == list(range(len(grids))):
        return _Layout(laid_out, groups)
    pack = torch.arange(sum(lengths))
    pictures = torch.split(pack, [rows * columns for rows, columns in grids])
    order = torch.cat([pictures[i] for i in picture_order])
    return _Layout(laid_out, groups, order.to(device), order.argsort().to(device))


def _reordered(rows: Tensor, order: Tensor | None) -> Tensor:
    return rows if order is None else rows.index_select(0, order)


def checked_grids(patch_grids: Tensor, patches: int) -> list[Grid]:
    """[pictures, 2] as pairs of numbers.

    Raises:
        ValueError: there is no picture, a side is not positive, or the grids do not sum up to
            the number of patches.
    """
    grids = [(rows, columns) for rows, columns in patch_grids.tolist()]
    if not grids or min(map(min, grids)) < 1:
        raise ValueError(f"patch_grids must hold positive sizes, but is {grids} instead")
    described = sum(rows * columns for rows, columns in grids)
    if described != patches:
        raise ValueError(f"patch_grids describe {described} patches, but there are {patches}")
    return grids


def patchify(picture: Tensor, patch_size: int) -> tuple[Tensor, Grid]:
    """Cut a picture into patches, zero-padded on the right and at the bottom where it must be.

    Args:
        picture: [C, height, width], normalised.
        patch_size: p, in pixels.

    Returns:
        [rows * columns, C * p * p], row after row, and (rows, columns).
    """
    missing = [-size % patch_size for size in picture.shape[1:]]
    padded = pad(picture, (0, missing[1], 0, missing[0]))
    patches = padded.unfold(1, patch_size, patch_size).unfold(2, patch_size, patch_size)
    rows, columns = patches.shape[1:3]  # of [C, rows, columns, p, p]
    return patches.permute(1, 2, 0, 3, 4).reshape(rows * columns, -1), (rows, columns)
