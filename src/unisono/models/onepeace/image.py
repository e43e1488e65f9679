"""Image -> tokens: patches through a hierarchical MLP stem, learned positions.

Any grid of patches will do; positions and relative bias are interpolated when it is not the one
the model was trained with. Shapes as in adapter.py; h, w rows and columns of patches.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from unisono.errors import ModelConfigError
from unisono.models.onepeace.adapter import Adapter, Kept, Layout, Part, pick, register_adapter
from unisono.models.onepeace.bias import Grid, grid_index, resized_table
from unisono.models.onepeace.config import OnePeaceConfig, OnePeaceImageConfig

PATCH_PX = 16
"""Side of a patch: the strides of the stem are 4, 2 and 2."""


class ImageStem(nn.Module):
    """Conv 4/4, LayerNorm, GELU, conv 2/2, LayerNorm, GELU, conv 2/2.

    No convolution looks beyond its patch, so each is a Linear on the pixels or cells of one:
    patches that masking hides need not be computed. Weights keep the convolutions' shapes.
    """

    def __init__(self, channels: int, inner: int, width: int, eps: float) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, inner, 4, stride=4)
        self.norm1 = nn.LayerNorm(inner, eps=eps)
        self.conv2 = nn.Conv2d(inner, inner, 2, stride=2)
        self.norm2 = nn.LayerNorm(inner, eps=eps)
        self.conv3 = nn.Conv2d(inner, width, 2, stride=2)

    def forward(self, patches: Tensor) -> Tensor:
        """[B, P, 4, 4, C * 16] as `patchify` makes them -> [B, P, D]."""
        cells = functional.linear(patches, self.conv1.weight.flatten(1), self.conv1.bias)
        cells = functional.gelu(self.norm1(cells)).flatten(-2)
        cells = functional.gelu(self.norm2(_merge(cells, self.conv2))).flatten(-2)
        return _merge(cells, self.conv3)


def _merge(cells: Tensor, conv: nn.Conv2d) -> Tensor:
    """A 2/2 convolution of four cells that lie side by side in the last axis."""
    return functional.linear(cells, conv.weight.permute(0, 2, 3, 1).flatten(1), conv.bias)


def patchify(pixels: Tensor) -> Tensor:
    """[B, C, H, W] -> [B, P, 4, 4, C * 16]: patch, its quarter, their quarters, pixels."""
    batch, channels, height, width = pixels.shape
    rows, columns = height // PATCH_PX, width // PATCH_PX
    split = pixels.view(batch, channels, rows, 2, 2, 4, columns, 2, 2, 4)
    split = split.permute(0, 2, 6, 3, 7, 4, 8, 1, 5, 9)  # b, row, column, halves twice, c, y, x
    return split.reshape(batch, rows * columns, 4, 4, channels * PATCH_PX)


def resized_positions(positions: Tensor, grid: Grid) -> Tensor:
    """Learned positions [1 + G*G, D] -> [1 + h*w, D]: bicubic, the [CLS] row untouched."""
    side = round((len(positions) - 1) ** 0.5)
    if grid == (side, side):
        return positions
    square = positions[1:].T.reshape(1, -1, side, side)
    resized = functional.interpolate(square.float(), size=grid, mode="bicubic", align_corners=False)
    return torch.cat([positions[:1], resized.to(positions.dtype)[0].flatten(1).T])


def check_image(pixels: Tensor, channels: int) -> Grid:
    """Rows and columns of patches of [B, C, H, W].

    Raises:
        ModelConfigError: the sides are no multiples of a patch's, or the channels are others.
    """
    given, height, width = pixels.shape[1:]
    if given != channels or height % PATCH_PX or width % PATCH_PX:
        raise ModelConfigError(
            f"images must be [batch, {channels}, height, width] with sides "
            f"that are multiples of {PATCH_PX}, but are {list(pixels.shape)} instead"
        )
    return height // PATCH_PX, width // PATCH_PX


class ImageAdapter(Adapter):
    """[CLS], then the patches in raster order."""

    INPUTS = ("pixel_values",)

    def __init__(self, modality: str, config: OnePeaceConfig) -> None:
        image: OnePeaceImageConfig = config.modalities[modality]
        super().__init__(modality, config, pairs=(2 * image.bias_grid - 1) ** 2)
        self.config = image
        inner = image.stem_width or config.hidden_size // 4
        self.stem = ImageStem(image.num_channels, inner, config.hidden_size, config.layer_norm_eps)
        self.position_embedding = nn.Parameter(
            torch.zeros(image.position_grid**2 + 1, config.hidden_size)
        )

    def forward(
        self, pixel_values: Tensor, *, kept: Kept | None = None, second: bool = False
    ) -> Part:
        """Embed [B, C, H, W] pixels, normalised; sides are multiples of 16 px.

        Raises:
            ModelConfigError: the sides are not, or the channels are not the model's.
        """
        grid = self.grid(pixel_values)
        patches = patchify(pixel_values.to(self.stem.conv1.weight.dtype))
        positions = resized_positions(self.position_embedding, grid)
        if kept is None:
            tokens = self.behind_cls(self.stem(patches)) + positions
        else:
            visible = pick(patches, (kept.ids[:, 1:] - 1).clamp(min=0))
            tokens = self.behind_cls(self.stem(visible)) + functional.embedding(kept.ids, positions)
        padding = None if kept is None else kept.padding
        tokens = self.marked(tokens, second=second)
        index = grid_index(grid, tokens.device)
        bias = self.bias_at(index, kept, self._table(grid))
        return Part(self.modality, tokens, padding, bias)

    def layout(self, pixel_values: Tensor) -> Layout:
        """The grid; images are never padded."""
        return Layout(grid=self.grid(pixel_values))

    def grid(self, pixel_values: Tensor) -> Grid:
        """Rows and columns of patches."""
        return check_image(pixel_values, self.config.num_channels)

    def _table(self, grid: Grid) -> Callable[[int], Tensor]:
        source = self.config.bias_grid
        return lambda layer: resized_table(self.relative_bias.table(layer), source, grid)


register_adapter(OnePeaceImageConfig, ImageAdapter)
