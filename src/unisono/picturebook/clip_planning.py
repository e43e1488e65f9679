"""What is seen and heard in a clip: drawn by lot, so that neither half tells of the other.

Pairs of things, pairs of a thing and a sound, and ways to move that tests are about are held out
of training by a hash of what they are. Knows no questions.
"""

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

from unisono.errors import DataError
from unisono.manifests import PairRow
from unisono.picturebook.clip_motion import Actor, Motion
from unisono.picturebook.lexicon import is_of_lexicon, spoken_words
from unisono.picturebook.scene_planning import Inventory
from unisono.picturebook.scene_things import vocabulary
from unisono.picturebook.sound_names import sound_names
from unisono.picturebook.step import draws

Play = Literal["one", "two", "timed", "said one", "said two"]
"""One thing and a sound; two things side by side and a sound; one thing and a sound, each in one
half of the time; the first two with a voice that names a thing in place of the sound."""

Fit = Literal["same", "other", "any"]
"""Whether what is heard is what is seen; "any": of two unrelated choices."""

Kind = Literal["animal", "instrument", "signal", "voice"]

ALONE: tuple[Motion, ...] = ("left", "right", "up", "down", "circle", "grow", "shrink", "still")
PAIRED: tuple[Motion, ...] = ("up", "down", "grow", "shrink")
HALVES: tuple[Motion, ...] = ("first half", "second half")
SIDES = ("left", "right")
FRAMES = (24, 28, 32)

SAYINGS = (
    ("this is {a}", "look at {a}", "{a}", "here is {a}", "there is {a}"),
    ("can you see {a}", "that is {a}"),
)
"""What a voice says, in training and in tests."""

_ALIKE = (
    ("alarm clock", "bell", "telephone"),
    ("bus", "car", "fire truck", "train", "truck"),
    ("bee", "mosquito"),
    ("hammer", "saw"),
)
_UNFIT = frozenset({"sun", "moon"})
_FEWEST = 6
_HELD_OUT = 0.15
_CELLS = 25  # of a layout's grid, along a side
_TRIES = 4000


@dataclass(frozen=True)
class Heard:
    """What is heard in a clip.

    Attributes:
        name: of what makes the sound, or of what a voice names.
        phrase: the name with its article.
        kind: what makes the sound.
        path: of the recording.
        half: the half of the time in which it is heard (0 or 1); None for all of it.
        said: the words of a voice.
    """

    name: str
    phrase: str
    kind: Kind
    path: Path
    half: int | None = None
    said: str = ""


@dataclass(frozen=True)
class Clip:
    """A clip that is to be made.

    Attributes:
        stem: of its file.
        play: what kind of clip it is.
        actors: one, or the left and the right one.
        heard: its sound.
        frames: how many it has.
        compared: whether what is seen might as well have been heard, and the other way round, so
            that neither tells whether they are the same.
    """

    stem: str
    play: Play
    actors: tuple[Actor, ...]
    heard: Heard
    frames: int
    compared: bool

    @property
    def names(self) -> tuple[str, ...]:
        """What is seen, from left to right."""
        return tuple(actor.name for actor in self.actors)

    @property
    def source(self) -> int | None:
        """Which of the things seen is heard or named; None for neither."""
        names = self.names
        return names.index(self.heard.name) if self.heard.name in names else None

    @property
    def layout(self) -> str:
        """How things move, and roughly where."""
        ways = [f"{a.motion} {_roughly(*a.place, a.size)}" for a in self.actors]
        return f"{self.play}: {', '.join(ways)}"


@dataclass(frozen=True)
class Cast:
    """What clips may be made of.

    Attributes:
        drawn: name of a thing -> its drawings.
        heard: name of a sound -> recordings of it.
        test: whether clips are of what is held out of training.
    """

    drawn: Mapping[str, tuple[Path, ...]]
    heard: Mapping[str, tuple[Heard, ...]]
    test: bool

    @property
    def both(self) -> tuple[str, ...]:
        """What can be seen and heard."""
        return tuple(name for name in self.drawn if name in self.heard)

    @property
    def sayable(self) -> tuple[str, ...]:
        """What can be seen, and has a name that the speech of training has words for."""
        return tuple(name for name in self.drawn if is_of_lexicon(spoken_words(name)))


@dataclass(frozen=True)
class Wish:
    """What a clip is to be like; what is None is drawn by lot.

    Attributes:
        play: what kind of clip.
        fit: of one thing and what is heard.
        source: of two, which one is heard: 0, 1, or 2 for neither.
        kind: of what is heard, where `fit` is "any".
        motion: of the one, or of the one that is heard.
        halves: of the thing and of the sound.
    """

    play: Play
    fit: Fit = "any"
    source: int | None = None
    kind: Kind | None = None
    motion: Motion | None = None
    halves: tuple[int, int] | None = None


def cast_of(stock: Inventory, sounds: Iterable[PairRow], *, test: bool) -> Cast:
    """Sort what there is by name.

    Raises:
        DataError: too few things can be both seen and heard.
    """
    heard: dict[str, list[Heard]] = {}
    for row in sounds:
        name, kind = row.fields["name"], row.fields["kind"]
        phrase = phrase_of(name)
        heard.setdefault(name, []).append(Heard(name, phrase, kind, Path(str(row.audio))))
    drawn = {
        name: tuple(one.drawing.path for one in stock.by_name[name])
        for name in stock.names
        if name not in vocabulary().uncounted and name not in _UNFIT
    }
    cast = Cast(drawn, {name: tuple(heard[name]) for name in sorted(heard)}, test)
    if len(cast.both) < _FEWEST:
        raise DataError(f"clips need {_FEWEST} things seen and heard, but have {len(cast.both)}")
    return cast


def phrase_of(name: str) -> str:
    """A name of the sounds with its article, if it has one."""
    from_list = _phrases().get(name)
    return from_list if from_list is not None else vocabulary().with_article(name)


@lru_cache(maxsize=1)
def _phrases() -> Mapping[str, str]:
    return {one.name: one.phrase for one in sound_names()}


def plan(cast: Cast, wish: Wish, stem: str, draw: random.Random) -> Clip:
    """A clip as wished.

    Raises:
        DataError: the cast is too small for it.
    """
    for _ in range(_TRIES):
        clip = _tried(cast, wish, stem, draw)
        if clip is not None and held_out(clip.layout) == cast.test:
            return clip
    raise DataError(f"there is nothing to make a clip of for {wish}")


@lru_cache(maxsize=2**18)
def held_out(what: str) -> bool:
    """Whether a composition or a layout is for tests alone."""
    return draws("clips", "held out", what).random() < _HELD_OUT


def alike(name: str, others: Iterable[str]) -> bool:
    """Whether a thing, or its sound, may be taken for one of others."""
    others = tuple(others)
    families = [family for family in _ALIKE if name in family]
    return vocabulary().mistakable(name, others) or any(
        other in family for family in families for other in others
    )


def composition(names: Sequence[str], sounding: str) -> str | None:
    """What comes together in a clip; None where that is one thing."""
    if len(names) > 1:
        return "+".join(sorted(names))
    return None if names[0] == sounding else f"{names[0]}, {sounding} heard"


def _allowed(together: str | None, *, test: bool) -> bool:
    return together is None or held_out(together) == test


def _tried(cast: Cast, wish: Wish, stem: str, draw: random.Random) -> Clip | None:
    """One try; None if what was drawn does not go together."""
    drawn = _names(cast, wish, draw)
    if drawn is None or not _allowed(composition(*drawn), test=cast.test):
        return None
    names, sounding = drawn
    heard = _heard(cast, wish, sounding, draw)
    if wish.play == "timed":
        halves = wish.halves or (draw.randrange(2), draw.randrange(2))
        heard, wish = replace(heard, half=halves[1]), replace(wish, motion=HALVES[halves[0]])
    motions = _motions(len(names), wish, draw)
    actors = [
        _actor(draw.choice(cast.drawn[name]), name, motion, draw)
        for name, motion in zip(names, motions, strict=True)
    ]
    if len(actors) > 1:
        actors = [_beside(actor, side, draw) for side, actor in enumerate(actors)]
    compared = len(actors) == 1 and wish.fit != "any"
    return Clip(stem, wish.play, tuple(actors), heard, draw.choice(FRAMES), compared)


def _names(cast: Cast, wish: Wish, draw: random.Random) -> tuple[list[str], str] | None:
    """What is seen, and what is heard or named."""
    pool = cast.sayable if wish.play.startswith("said") else cast.both
    if wish.play in ("two", "said two"):
        three = draw.sample(pool, 3)
        if any(alike(one, [other for other in three if other != one]) for one in three):
            return None
        source = draw.randrange(3) if wish.source is None else wish.source
        return three[:2], three[source]
    if wish.fit == "any" and not wish.play.startswith("said"):
        seen, sounding = draw.choice(tuple(cast.drawn)), _any_sound(cast, wish, draw)
        return None if seen == sounding or alike(seen, [sounding]) else ([seen], sounding)
    seen, other = draw.sample(pool, 2)
    same = wish.fit == "same" or (wish.fit == "any" and draw.random() < 0.5)
    return None if alike(seen, [other]) else ([seen], seen if same else other)


def _any_sound(cast: Cast, wish: Wish, draw: random.Random) -> str:
    """Of each kind equally often."""
    kind = wish.kind or draw.choice(("animal", "instrument", "signal"))
    return draw.choice([name for name, all_ in cast.heard.items() if all_[0].kind == kind])


def _heard(cast: Cast, wish: Wish, name: str, draw: random.Random) -> Heard:
    if not wish.play.startswith("said"):
        return draw.choice(cast.heard[name])
    phrase = vocabulary().with_article(name)
    said = draw.choice(SAYINGS[cast.test]).format(a=phrase)
    return Heard(name, phrase, "voice", Path(), said=said)


def _motions(count: int, wish: Wish, draw: random.Random) -> Sequence[Motion]:
    if count == 1:
        alone: Motion = draw.choice(ALONE) if wish.motion is None else wish.motion
        return [alone]
    motions: list[Motion] = draw.sample(PAIRED, 2)
    if wish.motion is not None and wish.source in (0, 1):
        other = draw.choice([motion for motion in PAIRED if motion != wish.motion])
        both: tuple[Motion, Motion] = (wish.motion, other)
        motions = [both[wish.source], both[1 - wish.source]]
    return motions


def _actor(path: Path, name: str, motion: Motion, draw: random.Random) -> Actor:
    """One that has the picture to itself."""
    size = draw.uniform(0.45, 0.66)
    place = (draw.uniform(0.42, 0.58), draw.uniform(0.42, 0.58))
    if motion == "circle":
        size, place = draw.uniform(0.4, 0.48), (0.5, 0.5)
    elif motion in ("grow", "shrink"):
        size = draw.uniform(0.65, 0.9)
    return Actor(path, name, motion, size, place, reach=draw.uniform(0.24, 0.3))


def _beside(actor: Actor, side: int, draw: random.Random) -> Actor:
    """The same on one side of the picture."""
    place = (0.26 + 0.48 * side + draw.uniform(-0.02, 0.02), draw.uniform(0.45, 0.55))
    return replace(actor, place=place, size=draw.uniform(0.42, 0.48))


def _roughly(*shares: float) -> str:
    return "/".join(str(int(_CELLS * share)) for share in shares)
