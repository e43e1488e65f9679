"""Simple feature pyramid (ViTDet, arXiv 2203.16527): one map, rescaled.

Shapes: B batch, D width of the encoder, C width of the pyramid, h, w rows and columns of patches.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from unisono.models.onepeace.backbone import OnePeaceBackbone
from unisono.models.onepeace.dense.vit_adapter import check_sides

EPS = 1e-6


class ChannelNorm(nn.LayerNorm):
    """LayerNorm over the channels of a map."""

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        """[B, C, h, w] -> [B, C, h, w]."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Convolution(nn.Module):
    """A convolution without bias, then a LayerNorm."""

    def __init__(self, inner: int, outer: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inner, outer, kernel, padding=kernel // 2, bias=False)
        self.norm = ChannelNorm(outer)

    def forward(self, x: Tensor) -> Tensor:
        """[B, D, h, w] -> [B, C, h, w]."""
        return self.norm(self.conv(x))


class Level(nn.Module):
    """Rescale, then bring to the pyramid's width."""

    def __init__(self, rescale: list[nn.Module], inner: int, outer: int) -> None:
        super().__init__()
        self.rescale = nn.Sequential(*rescale)
        self.lateral = Convolution(inner, outer, 1)
        self.output = Convolution(outer, outer, 3)

    def forward(self, x: Tensor) -> Tensor:
        """[B, D, h, w] -> [B, C, h * scale, w * scale]."""
        return self.output(self.lateral(self.rescale(x)))


class SimplePyramid(nn.Module):
    """Maps at strides 4, 8, 16 and 32 out of one at stride 16; with `top` also at 64."""

    def __init__(self, width: int, outer: int, *, top: bool = False) -> None:
        super().__init__()
        half, quarter = width // 2, width // 4
        finest = [
            nn.ConvTranspose2d(width, half, 2, stride=2),
            ChannelNorm(half),
            nn.GELU(),
            nn.ConvTranspose2d(half, quarter, 2, stride=2),
        ]
        self.levels = nn.ModuleList(
            [
                Level(finest, quarter, outer),
                Level([nn.ConvTranspose2d(width, half, 2, stride=2)], half, outer),
                Level([], width, outer),
                Level([nn.MaxPool2d(2)], width, outer),
            ]
        )
        self.top = top

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        """[B, D, h, w] -> four or five maps of C channels."""
        maps = [level(x) for level in self.levels]
        return (*maps, functional.max_pool2d(maps[-1], 1, stride=2)) if self.top else tuple(maps)


class PlainPyramid(nn.Module):
    """A simple pyramid over an encoder's last layer."""

    def __init__(self, width: int, outer: int) -> None:
        super().__init__()
        self.maps = SimplePyramid(width, outer)

    def forward(self, backbone: OnePeaceBackbone, pixels: Tensor) -> tuple[Tensor, ...]:
        """Four maps [B, C, H / stride, W / stride].

        Args:
            backbone: the encoder.
            pixels: [B, channels, H, W], normalised; sides are multiples of 32.

        Raises:
            ModelConfigError: the sides are not.
        """
        check_sides(pixels)
        tokens = backbone.encode(backbone.embed(pixels)).sequences["image"]
        rows, columns = backbone.grid(pixels)
        maps: tuple[Tensor, ...] = self.maps(torch.unflatten(tokens[:, 1:].mT, -1, (rows, columns)))
        return maps
