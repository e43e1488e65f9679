"""Pictures and video frames at the sizes Ola sees them, and their patches.

Knows sizes, grey borders, normalisation and patches; opening files is `media`'s affair, and
how many tokens the patches make is the connector's.

Where the official code works, this one does the same to the last pixel, with one exception:
a very long and narrow picture is shortened when its canvas would have more than twice the
largest area allowed. Where the official code fails, because a side is scaled down to nothing,
that side becomes one unit long.

Shapes: F frames, H height, W width, P patches of all pictures, p side of a patch; sizes are
(width, height), as Pillow has them.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import groupby
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from unisono.errors import MediaEmptyError, ModelConfigError

Pixels = NDArray[np.uint8]
Size = tuple[int, int]


@dataclass(frozen=True)
class PictureSizes:
    """How large a picture or a frame may be, and how its pixels become numbers.

    Attributes:
        lowres_area: about how many pixels the low resolution has.
        lowres_unit: its sides are multiples of this many pixels.
        highres_max_area: pixels above which the high resolution is scaled down.
        highres_unit: its sides are multiples of this many pixels.
        video_min_area: pixels below which a frame is enlarged.
        video_max_area: pixels above which a frame is scaled down.
        video_unit: a frame's sides are multiples of this many pixels.
        square_px: side of the one square that a picture becomes, its aspect ratio given up, as
            ONE-PEACE sees pictures; None for Ola's two resolutions.
        video_square_px: the same for a frame.
        border: grey value (0 to 255) of what is added to reach a multiple of the unit.
        mean, std: of red, green and blue, on the scale from 0 to 1.
    """

    lowres_area: int = 384**2
    lowres_unit: int = 32
    highres_max_area: int = 1536**2
    highres_unit: int = 32
    video_min_area: int = 288**2
    video_max_area: int = 480**2
    video_unit: int = 64
    square_px: int | None = None
    video_square_px: int | None = None
    border: int = 127
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)

    def __post_init__(self) -> None:
        for kind, areas in _AREAS.items():
            unit = getattr(self, f"{kind}_unit")
            if unit < 1:
                raise ModelConfigError(f"{kind}_unit must be at least 1, but is {unit} instead")
            for name in areas:
                self._check_at_least(name, unit**2, f"the square of {kind}_unit")
        self._check_at_least("video_max_area", self.video_min_area, "video_min_area")
        for side in (self.square_px, self.video_square_px):
            if side is not None and side < 1:
                raise ModelConfigError(f"a square must have at least 1 px, but has {side} instead")

    def _check_at_least(self, name: str, least: int, what: str) -> None:
        value = getattr(self, name)
        if value < least:
            raise ModelConfigError(
                f"{name} must be at least {what} ({least}), but is {value} instead"
            )

    @classmethod
    def from_dict(cls, given: Mapping[str, Any] | None) -> "PictureSizes":
        """The defaults, but for the fields given.

        Raises:
            ModelConfigError: there is no such field, or the sizes contradict each other.
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(given or {}) - known)
        if unknown:
            raise ModelConfigError(f"picture_sizes has unknown fields: {', '.join(unknown)}")
        # JSON has no tuples.
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in (given or {}).items()
        }
        return cls(**values)


_AREAS = {
    "lowres": ("lowres_area",),
    "highres": ("highres_max_area",),
    "video": ("video_min_area", "video_max_area"),
}

OLA_SIZES = PictureSizes()


def image_pictures(image: Image.Image, sizes: PictureSizes = OLA_SIZES) -> list[Pixels]:
    """An image in its two resolutions, or as one square.

    The high one is scaled down above `highres_max_area`, else left as it is but for a grey
    border; the low one is made of the high one, border included.

    Returns:
        [low, high], each uint8 [H, W, 3] with sides that are multiples of their units. High has
        at most about twice `highres_max_area` pixels, whatever the aspect ratio. With `square_px`
        one square of that side alone.

    Raises:
        MediaEmptyError: the image has no pixels.
    """
    _check_not_empty(image.size)
    pixels = np.array(image if image.mode == "RGB" else image.convert("RGB"))
    if sizes.square_px is not None:
        return [_resized(pixels, (sizes.square_px, sizes.square_px))]
    layout = _Layout.between(image.size, 0, sizes.highres_max_area, sizes.highres_unit)
    high = layout.apply(pixels[None], sizes.border)[0]
    low_size = _scaled((high.shape[1], high.shape[0]), sizes.lowres_area, sizes.lowres_unit)
    return [_resized(high, low_size), high]


def frame_pictures(frames: Pixels, sizes: PictureSizes = OLA_SIZES) -> Pixels:
    """Frames enlarged below `video_min_area`, scaled down above `video_max_area`, else bordered.

    With `video_square_px` each becomes that square instead.

    Args:
        frames: uint8 [F, H, W, 3].
        sizes: the limits.

    Returns:
        uint8 [F, H', W', 3], H' and W' multiples of `video_unit`, together at most about twice
        `video_max_area`.

    Raises:
        MediaEmptyError: the frames have no pixels.
    """
    size = (frames.shape[2], frames.shape[1])
    _check_not_empty(size)
    if (side := sizes.video_square_px) is not None:
        return np.stack([_resized(frame, (side, side)) for frame in frames])
    layout = _Layout.between(size, sizes.video_min_area, sizes.video_max_area, sizes.video_unit)
    return layout.apply(frames, sizes.border)


def pixel_patches(
    pictures: Sequence[Pixels], patch_size: int, sizes: PictureSizes = OLA_SIZES
) -> tuple[Tensor, Tensor]:
    """Pictures -> normalised patches, what the vision encoder takes.

    Args:
        pictures: each uint8 [H, W, 3], both sides multiples of `patch_size`.
        patch_size: p.
        sizes: of which `mean` and `std` are used.

    Returns:
        float32 [P, 3 * p * p], picture after picture, row after row, each patch in the order
        channel, row, column; and int64 [pictures, 2], the rows and columns of each.

    Raises:
        ModelConfigError: a side is no multiple of the patch.
    """
    grids = torch.tensor([_patch_grid(picture, patch_size) for picture in pictures])
    patches = torch.empty(int(grids.prod(dim=1).sum()), 3 * patch_size**2)
    start = 0
    for _, run in groupby(pictures, key=lambda picture: picture.shape):
        stack = np.stack(list(run))
        rows, columns = _patch_grid(stack[0], patch_size)
        cut = torch.from_numpy(stack).view(-1, rows, patch_size, columns, patch_size, 3)
        ordered = cut.permute(0, 1, 3, 5, 2, 4)  # [pictures, rows, columns, 3, p, p]
        target = patches[start : start + stack.size // patches.shape[1]]
        target.view(ordered.shape).copy_(ordered)
        start += len(target)
    _normalise(patches.view(len(patches), 3, -1), sizes)
    return patches, grids


def _normalise(values: Tensor, sizes: PictureSizes) -> None:
    """[P, 3, p * p] of 0 to 255 -> (value / 255 - mean) / std, in place."""
    mean, std = (torch.tensor(three)[:, None] for three in (sizes.mean, sizes.std))
    values.div_(255).sub_(mean).div_(std)


def _patch_grid(picture: Pixels, patch_size: int) -> tuple[int, int]:
    height, width = picture.shape[:2]
    if height % patch_size or width % patch_size:
        raise ModelConfigError(
            f"a picture's sides must be multiples of the patch size ({patch_size}), "
            f"but it is {width} x {height} instead: the units of picture_sizes do not fit"
        )
    return height // patch_size, width // patch_size


@dataclass(frozen=True)
class _Layout:
    """A picture of size `content` in the middle of a canvas."""

    content: Size
    canvas: Size

    @classmethod
    def between(cls, size: Size, min_area: int, max_area: int, unit: int) -> "_Layout":
        """Scale to fit between two areas, or, if it does already, only round up with a border."""
        area = size[0] * size[1]
        if min_area <= area <= max_area:
            canvas = (_rounded_up(size[0], unit), _rounded_up(size[1], unit))
            return cls._shortened(size, canvas, max_area, unit)
        canvas = _scaled(size, min_area if area < min_area else max_area, unit)
        return cls._shortened(canvas, canvas, max_area, unit)

    @classmethod
    def _shortened(cls, content: Size, canvas: Size, max_area: int, unit: int) -> "_Layout":
        """Shorten what would cost more than twice the area allowed: thin strips only."""
        width, height = canvas
        if width * height > 2 * max_area:
            longest = 2 * max_area // min(canvas) // unit * unit
            canvas = (min(width, longest), min(height, longest))
        return cls((min(content[0], canvas[0]), min(content[1], canvas[1])), canvas)

    def apply(self, frames: Pixels, border: int) -> Pixels:
        """[F, H, W, 3] -> [F, canvas height, canvas width, 3]."""
        if self.content != (frames.shape[2], frames.shape[1]):
            frames = np.stack([_resized(frame, self.content) for frame in frames])
        if self.content == self.canvas:
            return frames
        (width, height), (full_width, full_height) = self.content, self.canvas
        left, top = (full_width - width) // 2, (full_height - height) // 2
        out = np.full((len(frames), full_height, full_width, 3), border, dtype=np.uint8)
        out[:, top : top + height, left : left + width] = frames
        return out


def _rounded_up(side: int, unit: int) -> int:
    return -(-side // unit) * unit


def _scaled(size: Size, area: int, unit: int) -> Size:
    """About `area` pixels: both sides cut down to multiples of the unit, at least one unit."""
    factor = math.sqrt(area / (size[0] * size[1]))
    width, height = (max(unit, int(side * factor) // unit * unit) for side in size)
    return width, height


def _resized(picture: Pixels, size: Size) -> Pixels:
    """Bicubic, antialiased when it becomes smaller."""
    return np.array(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC))


def _check_not_empty(size: Size) -> None:
    if 0 in size:
        raise MediaEmptyError(f"a picture of {size[0]} x {size[1]} has no pixels")
