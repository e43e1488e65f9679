"""Which clips are made of which sounds: the plan of the step "sounds", before any is heard.

What is unseen in a clip of the test: its "source" (soundfont or maker of the recording), its
"recording" (another one of the same maker trains), or its "register" (pitches never trained).
Melodies of tests are never trained either; see melodies.py.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from unisono.picturebook.melodies import (
    Piece,
    Tune,
    draw_chord,
    draw_melody,
    draw_note,
    draw_notes,
    draw_rhythm,
    draw_strokes,
)
from unisono.picturebook.sound_names import SoundName, names_tested, sound_names
from unisono.picturebook.step import draws

TRAIN_FONTS = ("timgm6mb-soundfont", "csound-soundfont")
TEST_FONT = "fluidr3mono-gm-soundfont"

Split = Literal["train", "test", "questions"]
"""`test`: of the 40 names; `questions`: more for the test questions, whatever is played."""

_PLAYED, _PLAYED_TESTED = 56, 72
_NOISES = 24
"""Clips of a soundfont's noise, as of a telephone."""
_RECORDED, _RECORDED_MORE, _RECORDED_LEAST = 12, 48, 16
_TEST_RECORDED, _TEST_PLAYED, _TEST_HIGH = 5, 3, 2
_QUESTIONS_PLAYED = 8
_SOLO = frozenset(  # one note at a time
    {"harmonica", "trumpet", "trombone", "tuba", "french horn", "saxophone", "oboe"}
    | {"bassoon", "clarinet", "flute", "recorder", "pan flute", "timpani"}
)


@dataclass(frozen=True)
class Clip:
    """A sound to be made.

    Attributes:
        stem: of its file; what is random in it depends on this alone.
        name: what is heard.
        split: where it may be used.
        source: a part of the sources that is a soundfont, or a recording's name.
        unseen: see the module; "" in training.
        piece: what is played on the soundfont; None for recordings.
        tune: what is true of the piece; None also for noises.
    """

    stem: str
    name: SoundName
    split: Split
    source: str
    unseen: str = ""
    piece: Piece | None = None
    tune: Tune | None = None

    @property
    def package(self) -> str:
        """The soundfont, or the package of the recording: what must be opened to make it."""
        return self.source.partition(":")[0]


def clips() -> list[Clip]:
    """Every clip of the step, in a fixed order."""
    tested = names_tested()
    planned: list[Clip] = []
    for name in sound_names():
        planned += _train(name)
        if name.name in tested:
            planned += _test(name)
        if name.kind == "instrument":
            planned += [
                _played(name, "questions", TEST_FONT, index) for index in range(_QUESTIONS_PLAYED)
            ]
    return planned


def _train(name: SoundName) -> Iterator[Clip]:
    if name.programs or name.keys:
        count = _PLAYED_TESTED if name.testable else _PLAYED
        for index in range(count if name.kind == "instrument" else _NOISES):
            yield _played(name, "train", TRAIN_FONTS[index % len(TRAIN_FONTS)], index)
    each = _RECORDED
    if name.testable and name.train:
        each = max(_RECORDED_LEAST, _RECORDED_MORE // len(name.train))
    for recording in name.train:
        for index in range(each):
            yield _recorded(name, "train", recording, index)


def _test(name: SoundName) -> Iterator[Clip]:
    for index in range(_TEST_RECORDED if name.test else 0):
        yield _recorded(name, "test", name.test[index % len(name.test)], index)
    if name.programs or name.keys:
        missing = 0 if name.test else _TEST_RECORDED - _TEST_PLAYED
        for index in range(_TEST_PLAYED + missing):
            yield _played(name, "test", TEST_FONT, index)
    for index in range(_TEST_HIGH if name.high else 0):
        yield _played(name, "test", TRAIN_FONTS[index % len(TRAIN_FONTS)], index, high=True)


def _recorded(name: SoundName, split: Split, recording: str, index: int) -> Clip:
    package = recording.partition(":")[0]
    stem = f"{_slug(name.name)}-{split}-{_slug(recording.rpartition('.')[0])}-{index:02}"
    unseen = ""
    if split != "train":
        trained = {one.partition(":")[0] for one in name.train}
        unseen = "recording" if package in trained else "source"
    return Clip(stem, name, split, recording, unseen)


def _played(name: SoundName, split: Split, font: str, index: int, *, high: bool = False) -> Clip:
    short = font.partition("-")[0] + ("-high" if high else "")
    stem = f"{_slug(name.name)}-{split}-{short}-{index:02}"
    chance = draws("sounds", stem)
    span = name.high if high and name.high else name.register
    tune = _tune(name, span, chance, testing=split != "train")
    piece = Piece(
        program=chance.choice(name.programs or (0,)),
        drums=bool(name.keys),
        notes=tune.notes,
        duration_s=tune.duration_s,
        room=chance.randint(0, 80),
    )
    unseen = "" if split == "train" else "register" if high else "source"
    return Clip(stem, name, split, font, unseen, piece, tune)


def _tune(name: SoundName, span: tuple[int, int], chance: random.Random, *, testing: bool) -> Tune:
    low, high = span
    if name.kind != "instrument":  # a telephone rings as long as its key is held
        return draw_note(chance, low, high)
    if name.keys:
        counted = chance.random() < 0.4
        return draw_strokes(chance, name.keys) if counted else draw_rhythm(chance, name.keys)
    forms = ["note", "notes", "notes", "melody", "melody", "melody"]
    form = chance.choice(forms if name.name in _SOLO else [*forms, "chord"])
    match form:
        case "note":
            return draw_note(chance, low, high)
        case "notes":
            return draw_notes(chance, low, high)
        case "chord":
            return draw_chord(chance, low, high)
        case _:
            return draw_melody(chance, low, high, testing=testing)


def _slug(text: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in text.lower())
