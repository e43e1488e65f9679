"""Pictures as the dense models see them. Opening files is `media`'s affair.

Shapes: H, W sides in pixels, F frames; sizes are (height, width), as tensors have them.
"""

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional

from unisono.models.onepeace.dense.config import (
    SEGMENTATION_MEAN,
    SEGMENTATION_STD,
    STRIDES,
)
from unisono.models.onepeace.processor_image import CLIP_MEAN, CLIP_STD

Size = tuple[int, int]
Three = Sequence[float]

CROP_FRACTION = 0.875
CROPPED_UP_TO_PX = 224
"""Image classification looks at this part of the picture's middle; larger inputs, at all of it."""


def pixels_of(picture: Image.Image, mean: Three, std: Three) -> Tensor:
    """float32 [3, H, W], (value / 255 - mean) / std."""
    values = torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1).float() / 255
    shift, scale = (torch.tensor(list(three))[:, None, None] for three in (mean, std))
    return (values - shift) / scale


def resized(picture: Image.Image, size: Size) -> Image.Image:
    """Bilinear, antialiased when it becomes smaller."""
    height, width = size
    return picture.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)


def size_by_shorter_side(picture: Image.Image, shorter_px: float) -> Size:
    """The size whose shorter side is so long, both sides rounded up to multiples of 32 px."""
    factor = shorter_px / min(picture.width, picture.height)
    height, width = (int(side * factor + 0.5) for side in (picture.height, picture.width))
    return _to_multiple(height), _to_multiple(width)


def _to_multiple(side_px: int) -> int:
    return -(-max(side_px, 1) // STRIDES[-1]) * STRIDES[-1]


def filled_up(pixels: Tensor, size: Size, mean: Three, std: Three) -> Tensor:
    """[B, 3, H, W] with black at the right and the bottom where it is smaller than `size`."""
    black = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], device=pixels.device)
    black = black[:, None, None].to(pixels.dtype)
    missing = [
        max(wanted - given, 0) for wanted, given in zip(size, pixels.shape[-2:], strict=True)
    ]
    return functional.pad(pixels - black, (0, missing[1], 0, missing[0])) + black


def centre_pixels(picture: Image.Image, side_px: int) -> Tensor:
    """For image classification: [3, side, side] of the picture's middle, with CLIP's statistics.

    Bicubic; the shorter side becomes `side_px`, or up to 224 px a little more.
    """
    fraction = CROP_FRACTION if side_px <= CROPPED_UP_TO_PX else 1.0
    middle = _centre(picture, side_px, round(side_px / fraction), Image.Resampling.BICUBIC)
    return pixels_of(middle, CLIP_MEAN, CLIP_STD)


def frame_pixels(frames: Sequence[Image.Image], side_px: int) -> Tensor:
    """For video classification: [3, F, side, side] of the frames' middles."""
    middles = (_centre(f, side_px, side_px, Image.Resampling.BILINEAR) for f in frames)
    return torch.stack([pixels_of(m, SEGMENTATION_MEAN, SEGMENTATION_STD) for m in middles], dim=1)


def _centre(
    picture: Image.Image, side_px: int, shorter_px: int, how: Image.Resampling
) -> Image.Image:
    factor = shorter_px / min(picture.width, picture.height)
    width, height = (max(round(side * factor), shorter_px) for side in picture.size)
    whole = picture.convert("RGB").resize((width, height), how)
    left, top = (width - side_px) // 2, (height - side_px) // 2
    return whole.crop((left, top, left + side_px, top + side_px))
