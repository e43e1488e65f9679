"""What training changes in pictures by chance: the part that is seen, its side, its colours.

Everything follows from a number, so that a run that is resumed sees what it would have seen.
Shapes: H, W sides in pixels.
"""

import math
import random
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

Range = tuple[float, float]

_COLOUR = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)
_COLOUR_RANGE: Range = (0.5, 1.5)
_TRIES = 10


@dataclass(frozen=True)
class View:
    """A square through which a picture is looked at.

    Attributes:
        box: left, upper, right, lower of what is seen of the picture, in its own pixels.
        at: left, upper of where that is put in the square.
        size: width, height that it is resized to.
        side: of the square; what the picture does not reach is empty.
        mirrored: the square is turned over, left to right.
    """

    box: tuple[float, float, float, float]
    at: tuple[int, int]
    size: tuple[int, int]
    side: int
    mirrored: bool

    def picture(self, picture: Image.Image, empty: tuple[int, int, int] = (0, 0, 0)) -> Image.Image:
        """What is seen, in colour."""
        return self._placed(picture, Image.new("RGB", (self.side,) * 2, empty), smooth=True)

    def classes(self, classes: NDArray[np.uint8], empty: int) -> NDArray[np.uint8]:
        """[H, W] -> [side, side], without mixing values."""
        blank = Image.new("L", (self.side,) * 2, empty)
        return np.array(self._placed(Image.fromarray(classes), blank, smooth=False))

    def real(self) -> NDArray[np.bool_]:
        """[side, side]: where there is picture."""
        there = np.zeros((self.side, self.side), dtype=bool)
        (x, y), (width, height) = self.at, self.size
        there[y : y + height, x : x + width] = True
        return there[:, ::-1].copy() if self.mirrored else there

    def _placed(self, picture: Image.Image, blank: Image.Image, *, smooth: bool) -> Image.Image:
        how = Image.Resampling.BILINEAR if smooth else Image.Resampling.NEAREST
        blank.paste(picture.resize(self.size, how, box=self.box), self.at)
        return blank.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if self.mirrored else blank


def cut_of(
    size: tuple[int, int], side: int, *, scale: float, draws: random.Random, mirror: bool
) -> View:
    """A square cut out of a picture that has been resized; a smaller one is in its corner.

    Args:
        size: width, height of the picture.
        side: of the square.
        scale: of the resizing.
        draws: where from, and whether mirrored.
        mirror: half of the squares are.
    """
    width, height = size
    seen = [min(side, max(1, round(one * scale))) for one in size]
    room = [max(0.0, whole - part / scale) for whole, part in zip(size, seen, strict=True)]
    left, upper = (draws.uniform(0, one) for one in room)
    right, lower = (
        min(float(whole), start + part / scale)
        for whole, start, part in zip((width, height), (left, upper), seen, strict=True)
    )
    return View(
        box=(left, upper, right, lower),
        at=(0, 0),
        size=(seen[0], seen[1]),
        side=side,
        mirrored=mirror and draws.random() < 0.5,
    )


def part_of_picture(
    size: tuple[int, int], side: int, *, area: Range, draws: random.Random, mirror: bool
) -> View:
    """A part of a picture, of some area and shape, pulled to a square.

    Args:
        size: width, height of the picture.
        side: of the square.
        area: least and most of the picture that is seen.
        draws: as for `cut_of`.
        mirror: as for `cut_of`.
    """
    width, height = size
    for _ in range(_TRIES):
        pixels = draws.uniform(*area) * width * height
        shape = math.exp(draws.uniform(math.log(3 / 4), math.log(4 / 3)))
        seen = math.sqrt(pixels * shape), math.sqrt(pixels / shape)
        if seen[0] <= width and seen[1] <= height:
            break
    else:
        seen = (float(min(size)),) * 2
    left, upper = draws.uniform(0, width - seen[0]), draws.uniform(0, height - seen[1])
    box = (left, upper, left + seen[0], upper + seen[1])
    return View(box, (0, 0), (side, side), side, mirror and draws.random() < 0.5)


def recoloured(picture: Image.Image, draws: random.Random) -> Image.Image:
    """Brightness, contrast and saturation, each with even chance, changed by up to a half."""
    for kind in _COLOUR:
        if draws.random() < 0.5:
            picture = kind(picture).enhance(draws.uniform(*_COLOUR_RANGE))
    return picture
