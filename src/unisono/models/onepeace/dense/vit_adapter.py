"""ViT-Adapter (arXiv 2205.08534): maps of four resolutions out of an encoder that has only one.

A convolutional stem looks at the image beside the encoder. Before each of four stretches of layers
its features are injected into the patches; behind it they extract from the patches.
Shapes: B batch, h, w rows and columns of patches, T = h * w patches, D width; c the stem's
features at strides 8, 16 and 32 side by side, [B, 4T + T + T / 4, D].
"""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from unisono.errors import ModelConfigError
from unisono.models.onepeace.adapter import Part
from unisono.models.onepeace.attention import Surroundings
from unisono.models.onepeace.backbone import OnePeaceBackbone
from unisono.models.onepeace.bias import Grid
from unisono.models.onepeace.config import OnePeaceConfig
from unisono.models.onepeace.dense.config import STRIDES, OnePeaceAdapterConfig, stretches
from unisono.models.onepeace.dense.deformable import DeformableAttention, cell_centres
from unisono.models.onepeace.encoder import Branch
from unisono.models.onepeace.image import PATCH_PX

EPS = 1e-6
"""Of the adapter's own LayerNorms."""

LAST_EXTRACTIONS = 3
"""How often the last interaction extracts."""

Layers = Callable[[Tensor], Tensor]


class ConvNorm(nn.Module):
    """3x3 convolution, batch normalisation, ReLU."""

    def __init__(self, inner: int, outer: int, *, stride: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inner, outer, 3, stride=stride, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(outer)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, H, W] -> [B, C', H / stride, W / stride]."""
        return functional.relu(self.norm(self.conv(x)))


class SpatialPrior(nn.Module):
    """The convolutional stem: features at strides 4, 8, 16 and 32."""

    def __init__(self, channels: int, inner: int, width: int) -> None:
        super().__init__()
        self.stem = nn.ModuleList(
            [
                ConvNorm(channels, inner, stride=2),
                ConvNorm(inner, inner, stride=1),
                ConvNorm(inner, inner, stride=1),
            ]
        )
        widths = (inner, 2 * inner, 4 * inner, 4 * inner)
        steps = pairwise(widths)
        self.stages = nn.ModuleList([ConvNorm(a, b, stride=2) for a, b in steps])
        self.projections = nn.ModuleList([nn.Conv2d(w, width, 1) for w in widths])

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """[B, C, H, W] -> four maps [B, D, H / stride, W / stride]."""
        x = pixels
        for layer in self.stem:
            x = layer(x)
        found = [functional.max_pool2d(x, 3, stride=2, padding=1)]
        for stage in self.stages:
            found.append(stage(found[-1]))
        return [project(x) for project, x in zip(self.projections, found, strict=True)]


class Injector(nn.Module):
    """The patches look at the stem's features: x + gamma * attention(x, c)."""

    def __init__(self, width: int, adapter: OnePeaceAdapterConfig) -> None:
        super().__init__()
        self.query_norm = nn.LayerNorm(width, eps=EPS)
        self.value_norm = nn.LayerNorm(width, eps=EPS)
        self.attention = _attention(width, adapter, levels=3)
        self.gamma = nn.Parameter(torch.full((width,), adapter.gamma_init))

    def forward(self, x: Tensor, c: Tensor, grids: "Grids") -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        values, places = self.value_norm(c), cell_centres([grids.patches], x)
        found = self.attention(self.query_norm(x), places, values, grids.stem)
        return x + self.gamma * found


class Extractor(nn.Module):
    """The stem's features look at the patches, then at their neighbours."""

    def __init__(self, width: int, adapter: OnePeaceAdapterConfig) -> None:
        super().__init__()
        self.query_norm = nn.LayerNorm(width, eps=EPS)
        self.value_norm = nn.LayerNorm(width, eps=EPS)
        self.attention = _attention(width, adapter, levels=1)
        self.ffn_norm = nn.LayerNorm(width, eps=EPS)
        self.ffn = ConvFeedForward(width, int(width * adapter.ffn_ratio))
        self.ffn_branch = Branch(width, None, adapter.drop_path_rate)

    def forward(self, c: Tensor, x: Tensor, grids: "Grids") -> Tensor:
        """c -> c, after a look at the patches [B, T, D]."""
        values, places = self.value_norm(x), cell_centres(grids.stem, c)
        c = c + self.attention(self.query_norm(c), places, values, [grids.patches])
        alive = self.ffn_branch.survivors(c)
        taken = self.ffn_norm(c if alive is None else c[alive])
        return self.ffn_branch(c, self.ffn(taken, grids.stem), alive)


class ConvFeedForward(nn.Module):
    """Linear, a depthwise 3x3 convolution of each level, GELU, Linear."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.up_proj = nn.Linear(width, inner)
        self.depthwise = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.down_proj = nn.Linear(inner, width)

    def forward(self, c: Tensor, grids: list[Grid]) -> Tensor:
        """c -> c."""
        levels = [self.depthwise(level) for level in as_maps(self.up_proj(c), grids)]
        return self.down_proj(functional.gelu(as_tokens(levels)))


class Interaction(nn.Module):
    """Inject, run a stretch of layers, extract."""

    def __init__(self, width: int, adapter: OnePeaceAdapterConfig, *, extractions: int) -> None:
        super().__init__()
        self.injector = Injector(width, adapter)
        self.extractors = nn.ModuleList([Extractor(width, adapter) for _ in range(extractions)])

    def forward(
        self, tokens: Tensor, c: Tensor, grids: "Grids", layers: Layers
    ) -> tuple[Tensor, Tensor]:
        """Tokens [B, 1 + T, D], [CLS] first, and c -> the same."""
        injected = self.injector(tokens[:, 1:], c, grids)
        tokens = layers(torch.cat([tokens[:, :1], injected], dim=1))
        for extractor in self.extractors:
            c = extractor(c, tokens[:, 1:], grids)
        return tokens, c


class Grids:
    """Rows and columns of the patches, and of the stem's three coarser levels."""

    def __init__(self, pixels: Tensor) -> None:
        height, width = pixels.shape[-2:]
        self.patches = (height // PATCH_PX, width // PATCH_PX)
        self.stem = [(height // stride, width // stride) for stride in STRIDES[1:]]


class ViTAdapter(nn.Module):
    """Maps at strides 4, 8, 16 and 32 with the encoder's width."""

    def __init__(self, vision: OnePeaceConfig, adapter: OnePeaceAdapterConfig) -> None:
        super().__init__()
        width = vision.hidden_size
        self.stretches = stretches(adapter, vision.num_hidden_layers)
        channels = vision.image_config.num_channels
        self.spatial_prior = SpatialPrior(channels, adapter.stem_width, width)
        self.level_embedding = nn.Parameter(torch.zeros(len(STRIDES) - 1, width))
        counts = [1] * (len(STRIDES) - 1) + [LAST_EXTRACTIONS]
        self.interactions = nn.ModuleList(
            [Interaction(width, adapter, extractions=n) for n in counts]
        )
        self.up = nn.ConvTranspose2d(width, width, 2, stride=2)
        self.norms = nn.ModuleList([nn.BatchNorm2d(width) for _ in STRIDES])

    def forward(self, backbone: OnePeaceBackbone, pixels: Tensor) -> tuple[Tensor, ...]:
        """Four maps [B, D, H / stride, W / stride].

        Args:
            backbone: the encoder.
            pixels: [B, C, H, W], normalised; sides are multiples of 32.

        Raises:
            ModelConfigError: the sides are not.
        """
        check_sides(pixels)
        grids, part = Grids(pixels), backbone.embed(pixels)
        finest, *coarser = self.spatial_prior(pixels)
        levels = [x + e[:, None, None] for x, e in zip(coarser, self.level_embedding, strict=True)]
        c, tokens, patches = as_tokens(levels), part.tokens, []
        for interaction, stretch in zip(self.interactions, self.stretches, strict=True):
            tokens, c = interaction(tokens, c, grids, _layers(backbone, part, stretch))
            patches.append(as_maps(tokens[:, 1:], [grids.patches])[0])
        return self._joined([finest, *as_maps(c, grids.stem)], patches)

    def _joined(self, stem: list[Tensor], patches: list[Tensor]) -> tuple[Tensor, ...]:
        """The stem's maps, and added to each the patches behind one interaction."""
        maps = [self.up(stem[1]) + stem[0], *stem[1:]]
        sized = [
            functional.interpolate(x, size=m.shape[-2:], mode="bilinear", align_corners=False)
            for x, m in zip(patches, maps, strict=True)
        ]
        return tuple(norm(x + m) for norm, x, m in zip(self.norms, sized, maps, strict=True))


def check_sides(pixels: Tensor) -> None:
    """Refuse images that a pyramid has no whole number of cells for.

    Raises:
        ModelConfigError: a side is not a multiple of 32 px.
    """
    height, width = pixels.shape[-2:]
    if height % STRIDES[-1] or width % STRIDES[-1]:
        raise ModelConfigError(
            f"the sides of an image must be multiples of {STRIDES[-1]} px for a feature pyramid, "
            f"but are {height} x {width} instead"
        )


def as_maps(tokens: Tensor, grids: Sequence[Grid]) -> list[Tensor]:
    """Tokens of some grids side by side [B, N, D] -> a map [B, D, h, w] of each."""
    levels = torch.split(tokens.mT, [rows * columns for rows, columns in grids], dim=-1)
    return [torch.unflatten(level, -1, grid) for level, grid in zip(levels, grids, strict=True)]


def as_tokens(maps: Sequence[Tensor]) -> Tensor:
    """The way back."""
    return torch.cat([one.flatten(2) for one in maps], dim=-1).mT


def _attention(width: int, adapter: OnePeaceAdapterConfig, *, levels: int) -> DeformableAttention:
    return DeformableAttention(
        width, adapter.heads, levels=levels, points=adapter.points, ratio=adapter.value_ratio
    )


def _layers(backbone: OnePeaceBackbone, part: Part, stretch: range) -> Layers:
    """Some of the encoder's layers as one function."""

    def run(tokens: Tensor) -> Tensor:
        around = Surroundings(((part.modality, tokens.shape[1]),), None)
        bias = None
        for i in stretch:
            if part.bias is not None and (bias is None or backbone.config.bias_per_layer):
                bias = part.bias(i)
            tokens = backbone.encoder.layers[i](tokens, around, bias)
        return tokens

    return run
