"""The encoder of detection: most layers attend within windows, a few over the whole image.

As ViTDet (arXiv 2203.16527) with ONE-PEACE's layers: there is no [CLS] and no final LayerNorm;
besides the relative table of pretraining each layer learns one bias along rows and one along
columns that depend on the query. Shapes: B batch, H heads, d width of a head, h, w rows and
columns of patches, T = h * w tokens, D width.
"""

from dataclasses import dataclass
from typing import Any, Self, cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_outputs import BackboneOutput

from unisono.errors import ModelConfigError
from unisono.models.onepeace.attention import (
    SelfAttention,
    Surroundings,
    attend,
    by_modality,
)
from unisono.models.onepeace.bias import CLS_ROWS, Grid, RelativeBias, grid_index
from unisono.models.onepeace.branch import Source, branch_weights, whole_model
from unisono.models.onepeace.branch_config import OnePeaceVisionConfig
from unisono.models.onepeace.dense.config import OnePeaceWindowedConfig
from unisono.models.onepeace.dense.simple_pyramid import SimplePyramid
from unisono.models.onepeace.encoder import Encoder, EncoderShape
from unisono.models.onepeace.image import (
    PATCH_PX,
    ImageStem,
    check_image,
    patchify,
    resized_positions,
)
from unisono.models.onepeace.model import OnePeaceModel, OnePeacePreTrainedModel


@dataclass(frozen=True)
class OnGrid(Surroundings):
    """Tokens that are patches without [CLS].

    Attributes:
        grid: their rows and columns.
    """

    grid: Grid = (0, 0)


class GridAttention(SelfAttention):
    """Self-attention over all patches, or within windows of them."""

    def __init__(self, shape: EncoderShape, *, window: int | None, grid: int) -> None:
        """`window` None: over the whole image, of a `grid` that the biases are made for."""
        super().__init__(shape.attention_owners, shape.width, shape.heads, shape.eps)
        self.window = window
        distances, width = 2 * (window or grid) - 1, shape.width // shape.heads
        self.row_bias = nn.Parameter(torch.zeros(distances, width))
        self.column_bias = nn.Parameter(torch.zeros(distances, width))

    def forward(self, x: Tensor, around: Surroundings, bias: Tensor | None) -> Tensor:
        """[B, T, D] -> [B, T, D]; bias [1, H, T, T], of a window's patches if there are such."""
        grid = around.grid if isinstance(around, OnGrid) else (1, x.shape[1])
        if self.window is None:
            return self._attended(x, around, grid, bias)
        side = (self.window, self.window)
        windows = self._attended(into_windows(x, grid, self.window), around, side, bias)
        return out_of_windows(windows, grid, self.window)

    def _attended(self, x: Tensor, around: Surroundings, grid: Grid, bias: Tensor | None) -> Tensor:
        # What pads a window takes part in the attention, as it does in the original.
        q, k, v = (self._projected(x, around.spans, n) for n in ("q_proj", "k_proj", "v_proj"))
        own = self._query_bias(q, grid)
        mixed = attend(q, k, v, bias=own if bias is None else bias + own, padding=None)
        heads = mixed.transpose(1, 2).flatten(2)
        return by_modality(self, heads, around.spans, lambda weights, part: weights.output(part))

    def _query_bias(self, q: Tensor, grid: Grid) -> Tensor:
        """Of queries [B, H, T, d] that are not scaled, to all keys: [B, H, T, T]."""
        q = torch.unflatten(q, 2, grid)
        rows, columns = (
            _distances(table, side)
            for table, side in zip((self.row_bias, self.column_bias), grid, strict=True)
        )
        along_rows = torch.einsum("bnyxd,ykd->bnyxk", q, rows)
        along_columns = torch.einsum("bnyxd,xkd->bnyxk", q, columns)
        both = along_rows[..., :, None] + along_columns[..., None, :]
        return both.flatten(4, 5).flatten(2, 3)


def _distances(table: Tensor, side: int) -> Tensor:
    """[2G - 1, d] made for a side of G patches -> query minus key for another: [side, side, d]."""
    if len(table) != 2 * side - 1:
        table = functional.interpolate(table.T[None], size=2 * side - 1, mode="linear")[0].T
    place = torch.arange(side, device=table.device)
    return table[place[:, None] - place + side - 1]


def into_windows(x: Tensor, grid: Grid, window: int) -> Tensor:
    """[B, h * w, D] -> [B * windows, window ** 2, D]; zeros at the right and the bottom."""
    rows, columns = grid
    square = torch.unflatten(x, 1, grid)
    square = functional.pad(square, (0, 0, 0, -columns % window, 0, -rows % window))
    cut = torch.unflatten(torch.unflatten(square, 2, (-1, window)), 1, (-1, window))
    return cut.transpose(2, 3).flatten(3, 4).flatten(0, 2)  # b, window row, window column, patch


def out_of_windows(windows: Tensor, grid: Grid, window: int) -> Tensor:
    """The way back."""
    down, across = (-(-side // window) for side in grid)
    cut = torch.unflatten(torch.unflatten(windows, 0, (-1, down, across)), 3, (window, window))
    square = cut.transpose(2, 3).flatten(3, 4).flatten(1, 2)
    return square[:, : grid[0], : grid[1]].flatten(1, 2)


class GridEmbedding(nn.Module):
    """Patches with learned positions, without [CLS]; the relative table."""

    def __init__(self, config: OnePeaceVisionConfig) -> None:
        super().__init__()
        image, width = config.image_config, config.hidden_size
        self.channels, self.bias_grid = image.num_channels, image.bias_grid
        self.stem = ImageStem(
            image.num_channels, image.stem_width or width // 4, width, config.layer_norm_eps
        )
        self.position_embedding = nn.Parameter(torch.zeros(image.position_grid**2 + 1, width))
        pairs = (2 * image.bias_grid - 1) ** 2
        self.relative_bias = RelativeBias(pairs, config.num_attention_heads, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """[B, C, 16 h, 16 w] -> [B, h * w, D].

        Raises:
            ModelConfigError: the sides or channels are not what they must be.
        """
        grid = check_image(pixels, self.channels)
        positions = resized_positions(self.position_embedding, grid)[1:]
        return self.stem(patchify(pixels)) + positions

    def bias(self, grid: Grid) -> Tensor:
        """[1, H, T, T] among the patches of a grid: the table resized bicubically."""
        side, sides = 2 * self.bias_grid - 1, tuple(2 * n - 1 for n in grid)
        table = self.relative_bias.table(0)[:-CLS_ROWS]
        square = torch.unflatten(table.T, -1, (side, side))[None]
        if sides != (side, side):
            square = functional.interpolate(square, size=sides, mode="bicubic")
        index = grid_index(grid, table.device)[1:, 1:]
        return square[0].flatten(1)[:, index][None]


class OnePeaceWindowedBackbone(OnePeacePreTrainedModel):
    """Feature maps for detection, of images of any size."""

    config_class = OnePeaceWindowedConfig
    config: OnePeaceWindowedConfig
    main_input_name = "pixel_values"
    input_modalities = ("image",)

    def __init__(self, config: OnePeaceWindowedConfig) -> None:
        super().__init__(config)
        self.adapters = nn.ModuleDict({"image": GridEmbedding(config)})
        shape = EncoderShape.of(config, final_norm=False, only=("image",))
        self.encoder = Encoder(shape)
        for i, layer in enumerate(self.encoder.layers):
            window = config.window if i in config.windowed else None
            grid = config.image_config.position_grid
            layer.attention = GridAttention(shape, window=window, grid=grid)
        width = config.pyramid_width
        self.pyramid = None if width is None else SimplePyramid(config.hidden_size, width, top=True)
        self.post_init()

    @classmethod
    def from_onepeace(cls, source: Source, *, grid: int, **fields: Any) -> Self:
        """The encoder of a ONE-PEACE model, to be trained for detection.

        Args:
            source: the model, or a folder or hub name.
            grid: side of the square of patches that it will mostly look at.
            **fields: of `OnePeaceWindowedConfig`.

        Raises:
            ModelConfigError: the model does not see, or has a relative table for every layer.
            OSError: there is no such model.
        """
        whole = whole_model(source)
        config = OnePeaceWindowedConfig.of(whole.config)
        config.image_config.position_grid = grid
        for name, value in fields.items():
            setattr(config, name, value)
        model = cls(config)
        model.take_over(whole)
        return model

    def take_over(self, whole: OnePeaceModel) -> None:
        """The weights of a ONE-PEACE model; what only detection has keeps its own.

        Raises:
            RuntimeError: weights are of another shape.
        """
        side = self.config.image_config.position_grid
        weights = branch_weights(whole, self)
        name = "adapters.image.position_embedding"
        weights[name] = resized_positions(weights[name], (side, side))
        self.load_state_dict(weights, strict=False)

    def forward(
        self, pixel_values: Tensor, *, output_hidden_states: bool | None = None, **kwargs: Any
    ) -> BackboneOutput:
        """Feature maps.

        Args:
            pixel_values: [B, C, H, W], normalised; sides are multiples of 16 px.
            output_hidden_states: also give what every layer made, [B, h * w, D].
            **kwargs: taken for the sake of other backbones' callers.

        Returns:
            `feature_maps`: the pyramid's at strides 4 to 64, or without a pyramid the last
            layer's at 16.

        Raises:
            ModelConfigError: the sides are not, or too short for the pyramid.
        """
        height, width = pixel_values.shape[-2:]
        if self.pyramid is not None and min(height, width) < 2 * PATCH_PX:
            raise ModelConfigError(
                f"the sides of an image must be at least {2 * PATCH_PX} px for a feature pyramid, "
                f"but are {height} x {width} instead"
            )
        grid = (height // PATCH_PX, width // PATCH_PX)
        hidden = self._layers(self._embedding(pixel_values), grid)
        last = torch.unflatten(hidden[-1].mT, -1, grid)
        return BackboneOutput(
            feature_maps=(last,) if self.pyramid is None else self.pyramid(last),
            hidden_states=hidden if output_hidden_states else None,
        )

    def biases(self, grid: Grid) -> tuple[Tensor, Tensor]:
        """Among the patches of a window, and of an image: [1, H, T, T] each."""
        window = (self.config.window, self.config.window)
        return self._embedding.bias(window), self._embedding.bias(grid)

    @property
    def _embedding(self) -> GridEmbedding:
        return cast(GridEmbedding, self.adapters["image"])

    def _layers(self, x: Tensor, grid: Grid) -> tuple[Tensor, ...]:
        around = OnGrid((("image", x.shape[1]),), None, grid)
        within, over_all = self.biases(grid)
        hidden: tuple[Tensor, ...] = ()
        for layer in self.encoder.layers:
            window = cast(GridAttention, layer.attention).window
            x = layer(x, around, over_all if window is None else within)
            hidden = (*hidden, x)
        return hidden
