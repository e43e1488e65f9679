"""Cut-outs that move upon a plain background: the frames of a clip.

Legend: F frames, H height, W width, both `SIZE_PX`. Places are parts of the picture's side, times
parts of the clip: both from 0 to 1.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unisono.picturebook.colours import OPAQUE_ALPHA
from unisono.picturebook.cut_outs import cut_out, scaled

SIZE_PX = 128
FRAMES_PER_S = 8

Motion = Literal[
    "left", "right", "up", "down", "circle", "grow", "shrink", "still", "first half", "second half"
]
"""Towards a side; round and round; larger, smaller; not at all; there in one half of the time."""

_CIRCLE_RADIUS = 0.2
_SMALLEST = 0.35  # of the size of what grows or shrinks, at its smallest
_COLOURS_TRIED = 24
_CONTRAST = 90.0  # RGB distance between a thing and what is behind it

Colour = tuple[int, int, int]


@dataclass(frozen=True)
class Actor:
    """A cut-out and what it does.

    Attributes:
        path: of the drawing.
        name: what it is called.
        motion: what it does.
        size: of its longer side, when it is largest.
        place: where its centre is, across and down; of one that moves, half-way.
        reach: how far from there a straight way begins and ends.
    """

    path: Path
    name: str
    motion: Motion
    size: float
    place: tuple[float, float]
    reach: float


@dataclass(frozen=True)
class _Pose:
    """Where an actor's centre is at one time, and how large it is."""

    across: float
    down: float
    size: float


def frames(actors: Sequence[Actor], count: int, ground: Colour) -> NDArray[np.uint8]:
    """The clip's pictures: uint8 [F, H, W, 3], F being `count`."""
    return np.stack(
        [np.asarray(_frame(actors, index / (count - 1), ground)) for index in range(count)]
    )


def ground_for(actors: Sequence[Actor], draw: random.Random) -> Colour:
    """A colour from which all actors stand out; the best of some, if there is none."""
    pixels = [_opaque(actor.path) for actor in actors]
    best, best_contrast = (255, 255, 255), -1.0
    for _ in range(_COLOURS_TRIED):
        colour = _drawn(draw)
        contrast = min(_contrast(some, colour) for some in pixels)
        if contrast > best_contrast:
            best, best_contrast = colour, contrast
        if contrast >= _CONTRAST:
            break
    return best


def _frame(actors: Sequence[Actor], time: float, ground: Colour) -> Image.Image:
    picture = Image.new("RGB", (SIZE_PX, SIZE_PX), ground)
    for actor in actors:
        pose = _pose(actor, time)
        if pose is not None:
            small = _sized(actor.path, pose.size)
            left = round(pose.across * SIZE_PX - small.width / 2)
            top = round(pose.down * SIZE_PX - small.height / 2)
            picture.paste(small, (left, top), small)
    return picture


def _pose(actor: Actor, time: float) -> _Pose | None:
    """None while the actor is not there."""
    (across, down), size = actor.place, actor.size
    way = actor.reach * (2 * time - 1)
    angle = 2 * math.pi * time
    match actor.motion:
        case "left" | "right":
            across += way if actor.motion == "right" else -way
        case "up" | "down":
            down += way if actor.motion == "down" else -way
        case "circle":
            across += _CIRCLE_RADIUS * math.sin(angle)
            down -= _CIRCLE_RADIUS * math.cos(angle)
        case "grow":
            size *= _SMALLEST + (1 - _SMALLEST) * time
        case "shrink":
            size *= 1 - (1 - _SMALLEST) * time
        case "first half" | "second half" if (time < 0.5) != (actor.motion == "first half"):
            return None
    return _Pose(across, down, size)


def _sized(path: Path, size: float) -> Image.Image:
    picture = cut_out(path)
    shape = scaled(picture.size, size * SIZE_PX)
    return picture.resize(shape, Image.Resampling.LANCZOS, reducing_gap=2.0)


def _opaque(path: Path) -> NDArray[np.float32]:
    """RGB of a drawing's opaque pixels, [pixels, 3]."""
    pixels = np.asarray(_sized(path, 0.3), dtype=np.float32)
    return pixels[pixels[..., 3] >= OPAQUE_ALPHA][:, :3]


def _contrast(pixels: NDArray[np.float32], colour: Colour) -> float:
    if not len(pixels):
        return 0.0
    distance = pixels - np.array(colour, dtype=np.float32)
    return float(np.median(np.sqrt((distance**2).sum(axis=1))))


def _drawn(draw: random.Random) -> Colour:
    """Mostly pale, as paper and sky are."""
    least, most = (170, 250) if draw.random() < 0.6 else (20, 235)
    return draw.randint(least, most), draw.randint(least, most), draw.randint(least, most)
