"""Which things a scene has and where they stand: drawn by lot, so that no answer is likelier.

Names, colours, numbers and places are drawn independently of one another. What tests are about
is held out of training by a hash of what it is: pairs of things, a thing in a number, and
layouts. Knows no questions.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import combinations
from typing import Literal

from unisono.picturebook.colours import COLOURS, colour_of
from unisono.picturebook.cut_outs import cut_out, painted, scaled
from unisono.picturebook.drawing import Drawing
from unisono.picturebook.scene import PLACES, Box, Scene, Thing, arrange
from unisono.picturebook.scene_things import Vocabulary, vocabulary
from unisono.picturebook.step import draws

Group = Literal["large", "alone", "several", "counted"]
"""One large thing; one of middle size; different things; a number of copies, and others."""

MOST_THINGS = 4
LARGE_PX = (74, 116)
_ALONE_PX = (46, 66)
_LONGER_PX = {1: (46, 62), 2: (42, 60), 3: (38, 50), 4: (36, 46)}
_SLIMMEST = 3.2  # the longer side to the shorter one
_FULLEST = 0.985  # a cut-out that fills its rectangle is a photograph that was never cut out
_EMPTIEST = 0.2
_HELD_OUT = 0.12
_TRIES = 2000


@dataclass(frozen=True)
class CutOut:
    """What planning must know of a drawing.

    Attributes:
        drawing: the drawing.
        shape: width and height in px.
        colour: its clear colour, if any; see `colour_of`.
    """

    drawing: Drawing
    shape: tuple[int, int]
    colour: str | None


@dataclass(frozen=True)
class Inventory:
    """What scenes may be made of.

    Attributes:
        by_name: name of a thing -> its drawings.
        by_colour: colour -> names of things that have drawings of that colour.
    """

    by_name: Mapping[str, tuple[CutOut, ...]]
    by_colour: Mapping[str, tuple[str, ...]]

    @property
    def names(self) -> tuple[str, ...]:
        """All names, in a fixed order."""
        return tuple(self.by_name)


@dataclass(frozen=True)
class Wish:
    """What a scene is to be like; what is None is drawn by lot.

    Attributes:
        group: how many things of how many kinds.
        colour: of the first thing.
        place: of the first thing.
        count: of the first thing, in a "counted" scene.
        held_out: made of what training never has, instead of what it may have.
    """

    group: Group
    colour: str | None = None
    place: str | None = None
    count: int | None = None
    held_out: bool = False


def measured(drawing: Drawing) -> CutOut | None:
    """A drawing's shape and colour, or None if it is no good for scenes."""
    picture = cut_out(drawing.path)
    opaque = sum(picture.getchannel("A").histogram()[128:]) / (picture.width * picture.height)
    slim = max(picture.size) / min(picture.size)
    if slim > _SLIMMEST or not _EMPTIEST < opaque < _FULLEST:
        return None
    return CutOut(drawing, picture.size, colour_of(picture))


def inventory(cut_outs: Iterable[CutOut], *, least_hands: int = 1) -> Inventory:
    """Sort drawings by name; names drawn by fewer hands than `least_hands` are left out."""
    names = vocabulary().names
    by_name: dict[str, list[CutOut]] = {}
    for one in cut_outs:
        by_name.setdefault(names[one.drawing.concept], []).append(one)
    kept = {
        name: tuple(by_name[name])
        for name in sorted(by_name)
        if len({one.drawing.hand for one in by_name[name]}) >= least_hands
    }
    by_colour = {
        colour: tuple(n for n, all_ in kept.items() if any(one.colour == colour for one in all_))
        for colour in COLOURS
    }
    return Inventory(kept, by_colour)


@lru_cache(maxsize=2**18)
def held_out(what: str) -> bool:
    """Whether a composition or layout is for tests alone."""
    return draws("scenes", "held out", what).random() < _HELD_OUT


def compositions(names: Sequence[str]) -> frozenset[str]:
    """What the things of a scene make: pairs of different names, and names in a number > 1."""
    pairs = {f"{a}+{b}" for a, b in combinations(sorted(set(names)), 2)}
    numbers = {f"{names.count(name)} {name}" for name in names if names.count(name) > 1}
    return frozenset(pairs | numbers)


def plan(stock: Inventory, wish: Wish, draw: random.Random) -> Scene:
    """A scene as wished."""
    for _ in range(_TRIES):
        names, count = _names(stock, wish, draw)
        if any(map(held_out, compositions(names))) == (wish.held_out and len(names) > 1):
            break
    things = _things(stock, names, wish, draw)
    for _ in range(_TRIES):
        boxes = _boxes([_shape(stock, thing) for thing in things], wish, draw)
        scene = Scene(tuple(map(_at, things, boxes)), count)
        if len(names) == 1 or held_out(scene.layout) == wish.held_out:
            return scene
    raise RuntimeError("no layout of the wished kind was found")


def _names(stock: Inventory, wish: Wish, draw: random.Random) -> tuple[list[str], int | None]:
    """The name of each thing, and how many are counted."""
    vocabular = vocabulary()
    if wish.group in ("large", "alone"):
        return [draw.choice(stock.names)], None
    if wish.group == "several":
        return _different(stock, vocabular, draw.randint(2, MOST_THINGS), draw), None
    count = wish.count or draw.randint(1, MOST_THINGS)
    others = draw.randint(0, MOST_THINGS - count)
    while (names := _different(stock, vocabular, others + 1, draw))[0] in vocabular.uncounted:
        continue
    return [names[0]] * count + names[1:], count


def _different(stock: Inventory, words: Vocabulary, count: int, draw: random.Random) -> list[str]:
    """Names of things that nobody takes for one another."""
    names: list[str] = []
    while len(names) < count:
        name = draw.choice(stock.names)
        if not words.mistakable(name, tuple(names)):
            names.append(name)
    return names


def _things(stock: Inventory, names: list[str], wish: Wish, draw: random.Random) -> list[Thing]:
    """A drawing for each name; copies of one are of one drawing, seen from either side."""
    chosen: dict[str, Thing] = {}
    for name in names:
        if name not in chosen:
            colour = wish.colour if not chosen else None
            chosen[name] = _thing(stock, name, colour or _lot(draw), draw)
    return [replace(chosen[name], flipped=draw.random() < 0.5) for name in names]


def _lot(draw: random.Random) -> str | None:
    """A colour for some things; the others keep their own."""
    return draw.choice(COLOURS) if draw.random() < 0.35 else None


def _thing(stock: Inventory, name: str, colour: str | None, draw: random.Random) -> Thing:
    """A thing of a name, of a colour if one is given and a drawing can have it."""
    one = draw.choice(stock.by_name[name])
    nowhere = Box(0, 0, 1, 1)
    if colour is not None:
        for other in draw.sample(stock.by_name[name], len(stock.by_name[name])):
            if other.colour == colour:
                return Thing(name, other.drawing, nowhere, colour, colour_drawn=True)
            if other.colour is not None and painted(other.drawing.path, colour) is not None:
                return Thing(name, other.drawing, nowhere, colour, painted=True, colour_drawn=True)
    return Thing(name, one.drawing, nowhere, one.colour)


def _shape(stock: Inventory, thing: Thing) -> tuple[int, int]:
    shapes = {one.drawing.name: one.shape for one in stock.by_name[thing.name]}
    return shapes[thing.drawing.name]


def _boxes(shapes: list[tuple[int, int]], wish: Wish, draw: random.Random) -> list[Box]:
    """A box for each thing; tighter ones if there is no room."""
    single = {"large": LARGE_PX, "alone": _ALONE_PX}
    range_px = single.get(wish.group, _LONGER_PX[len(shapes)])
    place = wish.place or (draw.choice(PLACES) if wish.group != "large" else "middle")
    places = [place, *[None] * (len(shapes) - 1)]
    tight = 1.0
    while True:
        sizes = [scaled(shape, draw.uniform(*range_px) * tight) for shape in shapes]
        boxes = arrange(sizes, places, draw)
        if boxes is not None:
            return boxes
        tight *= 0.95


def _at(thing: Thing, box: Box) -> Thing:
    return replace(thing, box=box)
