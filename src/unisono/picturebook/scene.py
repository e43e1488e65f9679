"""Where things are in a picture: boxes, places, relations, masks. Knows nothing of pixels' colours.

All lengths in px, the origin at the top left. Everything here is strict: a place or a relation
that two people might name differently has no name.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypedDict

import numpy as np
from numpy.typing import NDArray

from unisono.picturebook.drawing import Drawing

SIZE_PX = 128
"""Scenes are squares of this size."""

PLACES = (
    *("top left", "top", "top right"),
    *("left", "middle", "right"),
    *("bottom left", "bottom", "bottom right"),
)
"""The ninths of a picture, row by row."""

SIDES = ("left", "right", "above", "below")
OPPOSITE = {"left": "right", "right": "left", "above": "below", "below": "above"}

_GAP_PX = 3  # between two things
_EDGE_PX = 2  # between a thing and the edge
_STEEPNESS = 1.6  # a thing is left of another if it is so much more left than higher or lower
_TRIES = 40
_PLACE_WEIGHTS = (2, 3, 2, 3, 4, 3, 2, 3, 2)  # corners, being out of the way, stay free for more
# Centres, as shares of the picture. Between the three lies what is neither.
_THIRDS = ((0.0, 0.37), (0.43, 0.57), (0.63, 1.0))
_DRAWN_THIRDS = ((0.14, 0.35), (0.45, 0.55), (0.65, 0.86))


@dataclass(frozen=True)
class Box:
    """A rectangle of whole px.

    Attributes:
        left, top: of its first pixel.
        width, height: at least 1.
    """

    left: int
    top: int
    width: int
    height: int

    @property
    def centre(self) -> tuple[float, float]:
        """How far from the left, how far from the top."""
        return self.left + self.width / 2, self.top + self.height / 2

    @property
    def xywh(self) -> list[int]:
        """As COCO writes boxes."""
        return [self.left, self.top, self.width, self.height]


@dataclass(frozen=True)
class Thing:
    """A cut-out in a scene.

    Attributes:
        name: what it is called.
        drawing: the cut-out.
        box: where it is pasted, to its size.
        colour: the colour it clearly has, if any.
        painted: it was painted over to have that colour.
        flipped: seen in a mirror.
        colour_drawn: its colour was chosen by lot, so that nobody can guess it from the name.
    """

    name: str
    drawing: Drawing
    box: Box
    colour: str | None = None
    painted: bool = False
    flipped: bool = False
    colour_drawn: bool = False


@dataclass(frozen=True)
class Scene:
    """Things in a picture.

    Attributes:
        things: none touches another.
        count: how many of the things, the first ones, are copies of one, where their number was
            chosen by lot; None where it was not.
    """

    things: tuple[Thing, ...]
    count: int | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """What there is, each once."""
        return tuple(dict.fromkeys(thing.name for thing in self.things))

    @property
    def layout(self) -> str:
        """See `layout_of`."""
        return layout_of([thing.box for thing in self.things])

    def single(self, name: str) -> bool:
        """Whether there is one thing of a name."""
        return sum(thing.name == name for thing in self.things) == 1


class RunLengths(TypedDict):
    """A mask as COCO writes it uncompressed."""

    size: list[int]
    counts: list[int]


def run_lengths(mask: NDArray[np.bool_]) -> RunLengths:
    """A mask [H, W] as run lengths down the columns, beginning with what is not in it.

    Source: COCO's "uncompressed RLE" (pycocotools, `frUncompressedRLE` reads it).
    """
    flat = np.concatenate([[False], mask.flatten(order="F")])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(np.concatenate([[0], changes, [mask.size]]))
    return {"size": list(mask.shape), "counts": [int(count) for count in counts]}


def mask_of(runs: RunLengths) -> NDArray[np.bool_]:
    """The mask [H, W] behind run lengths."""
    inside = np.arange(len(runs["counts"])) % 2 == 1
    height, width = runs["size"]
    return np.repeat(inside, runs["counts"]).reshape((height, width), order="F")


def box_of(mask: NDArray[np.bool_]) -> Box:
    """The smallest box around what is in a mask [H, W], which is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    top, left = int(rows[0]), int(columns[0])
    return Box(left, top, int(columns[-1]) - left + 1, int(rows[-1]) - top + 1)


def place_of(box: Box, size_px: int = SIZE_PX) -> str | None:
    """In which ninth of the picture a thing is, or None if it is between two."""
    across, down = (_third(value / size_px) for value in box.centre)
    return None if across is None or down is None else PLACES[3 * down + across]


def side_of(box: Box, other: Box) -> str | None:
    """On which side of another thing a thing is, or None if it is not clearly on one."""
    (x, y), (other_x, other_y) = box.centre, other.centre
    right, down = x - other_x, y - other_y
    if abs(right) >= _STEEPNESS * abs(down) and _apart(_across(box), _across(other)):
        return "right" if right > 0 else "left"
    if abs(down) >= _STEEPNESS * abs(right) and _apart(_down(box), _down(other)):
        return "below" if down > 0 else "above"
    return None


def may_be_at_side(box: Box, other: Box, side: str) -> bool:
    """Whether anybody could say that a thing is on a side of another one."""
    (x, y), (other_x, other_y) = box.centre, other.centre
    reach = {"left": other_x - x, "right": x - other_x, "above": other_y - y, "below": y - other_y}
    return reach[side] > 4


def arrange(
    shapes: Sequence[tuple[int, int]], places: Sequence[str | None], draw: random.Random
) -> list[Box] | None:
    """Boxes for things of given width and height, clearly apart.

    Args:
        shapes: (width, height) of each thing.
        places: where each is meant to be; None for anywhere.
        draw: random numbers.

    Returns:
        A box for each, or None if no arrangement was found (things may be too large).
    """
    for _ in range(_TRIES):
        boxes: list[Box] = []
        for shape, place in zip(shapes, places, strict=True):
            anywhere = draw.choices(PLACES, _PLACE_WEIGHTS)[0]
            box = _drawn(shape, place or anywhere, draw)
            if not all(_free(box, other) for other in boxes):
                break
            boxes.append(box)
        else:
            return boxes
    return None


def layout_of(boxes: Sequence[Box]) -> str:
    """Which of 4 x 4 fields of the picture have a thing's centre: "02 13"; for splits by layout."""
    fields = [[int(4 * value / SIZE_PX) for value in box.centre] for box in boxes]
    return " ".join(sorted(f"{row}{column}" for column, row in fields))


def _drawn(shape: tuple[int, int], place: str, draw: random.Random) -> Box:
    down, across = divmod(PLACES.index(place), 3)
    left, top = (
        _clamped(SIZE_PX * draw.uniform(*_DRAWN_THIRDS[third]) - length / 2, length)
        for third, length in zip((across, down), shape, strict=True)
    )
    return Box(left, top, *shape)


def _clamped(start: float, length: int) -> int:
    return max(_EDGE_PX, min(SIZE_PX - _EDGE_PX - length, round(start)))


def _third(share: float) -> int | None:
    return next((i for i, (low, high) in enumerate(_THIRDS) if low <= share <= high), None)


def _across(box: Box) -> tuple[int, int]:
    return box.left, box.left + box.width


def _down(box: Box) -> tuple[int, int]:
    return box.top, box.top + box.height


def _apart(one: tuple[int, int], other: tuple[int, int], gap_px: int = 1) -> bool:
    return one[1] + gap_px <= other[0] or other[1] + gap_px <= one[0]


def _free(box: Box, other: Box) -> bool:
    across = _apart(_across(box), _across(other), _GAP_PX)
    return across or _apart(_down(box), _down(other), _GAP_PX)
