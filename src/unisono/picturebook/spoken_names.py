"""Step "spoken_names": what drawings show, said aloud by people in many languages and by machines.

Never in training: held-out concepts; the French and the English speakers; the test voice.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from unisono.errors import MediaError
from unisono.manifests import PairRow, write_manifest
from unisono.media import SAMPLE_RATE_HZ, load_audio
from unisono.picturebook.drawing import Drawing, Split, read_drawings
from unisono.picturebook.found import plain, slug
from unisono.picturebook.human_recordings import SpokenCaption, spoken_captions
from unisono.picturebook.pictures import Placing, placed
from unisono.picturebook.stamps import plain_caption
from unisono.picturebook.step import Step, draws
from unisono.picturebook.voices import (
    FLITE_TRAIN_VOICES,
    PIPER,
    TEST_VOICE,
    Reading,
    draw_espeak,
    levelled,
    record,
    varied,
    write_flac,
)

TEST_SPEAKERS = (TEST_VOICE, "human-en", "human-fr")
"""Heard in no training."""
TEST_DRAWINGS = 300
LONGEST_S = 6.0

_FAINTEST = 0.01
_WORKERS = 2
_AT_ONCE = 64
_MOST_WORDS = 5
_PIPER_EVERY = 5
_SAYABLE = re.compile(r"[a-z][a-z' -]*")
_UNNAMED_HANDS = frozenset({"openclipart"})
"""Their names are files' names, which nobody would say."""


@dataclass(frozen=True)
class Name:
    """What is said of a drawing, and by whom."""

    text: str
    drawing: Drawing
    language: str
    voice: str
    english: str | None = None

    def row(
        self, path: Path, *, tells_drawing: bool, pictures: Mapping[str, Path] | None = None
    ) -> PairRow:
        """As a row of the manifest; tests tell which drawing is meant, and may show it."""
        fields = {"concept": self.drawing.concept, "language": self.language, "voice": self.voice}
        if self.english:
            fields["english"] = self.english
        if tells_drawing:
            fields |= {"drawing": self.drawing.name, "split": self.drawing.split}
        shown = (pictures or {}).get(self.drawing.name)
        return PairRow(path.stem, text=self.text, audio=path, image=shown, fields=fields)


def build(folder: Path, data: Path) -> None:
    """Fill the step's folder: `train`, `test_names` (English), `test_french`.

    Rows of tests have a picture too, where no training has it: words, sounds and pictures of one
    thing, each to be found by the others.
    """
    drawings = read_drawings(data)
    for name in ("people", "train", "test_names", "pictures"):
        (folder / name).mkdir()
    people = _record_people(matched(spoken_captions(), drawings), folder / "people")
    train = [said for said in people if may_train(said[0])]
    train += _record_machines(names_to_train(drawings), folder / "train")
    english = _record_machines(names_to_test(drawings), folder / "test_names")
    english += [said for said in people if said[0].language == "en"]
    french = [said for said in people if said[0].language == "fr"]
    write_manifest(
        (name.row(path, tells_drawing=False) for name, path in train), folder / "train.jsonl"
    )
    _write_tests(folder, english, french)


def may_train(name: Name) -> bool:
    """Whether training may hear it."""
    return name.drawing.split == "train" and name.voice not in TEST_SPEAKERS


def matched(
    captions: Iterable[SpokenCaption], drawings: Iterable[Drawing]
) -> Iterator[tuple[Name, bytes]]:
    """Recordings whose stamp is among the drawings."""
    by_name = {drawing.name: drawing for drawing in drawings if drawing.hand == "tuxpaint"}
    for caption in captions:
        drawing = by_name.get(f"tuxpaint-{slug(caption.stamp)}")
        if drawing is not None:
            english = None if caption.language == "en" else plain(caption.english)
            text = plain_caption(caption.text)
            voice = f"human-{caption.language}"
            yield Name(text, drawing, caption.language, voice, english), caption.sound


def names_to_train(drawings: Sequence[Drawing]) -> list[Name]:
    """Concepts that train, each in English by two or three of the voices that may."""
    names = []
    for number, drawing in enumerate(_one_of_each(drawings, "train")):
        flite = FLITE_TRAIN_VOICES[number % len(FLITE_TRAIN_VOICES)]
        voices = [flite, draw_espeak(draws("spoken_names", "voice", drawing.concept))]
        if number % _PIPER_EVERY == 0:
            voices.append(PIPER)
        names += [Name(drawing.concept, drawing, "en", voice) for voice in voices]
    return names


def names_to_test(drawings: Sequence[Drawing]) -> list[Name]:
    """Every held-out concept, and some concepts drawn by unseen hands, in the test voice."""
    unseen = _one_of_each(drawings, "unseen_drawing")
    draws("spoken_names", "unseen drawings").shuffle(unseen)
    chosen = [*_one_of_each(drawings, "unseen_concept"), *unseen[:TEST_DRAWINGS]]
    return [Name(drawing.concept, drawing, "en", TEST_VOICE) for drawing in chosen]


def _one_of_each(drawings: Iterable[Drawing], split: Split) -> list[Drawing]:
    """One drawing of every concept that can be said, by concept."""
    by_concept: dict[str, list[Drawing]] = {}
    for drawing in drawings:
        sayable = _SAYABLE.fullmatch(drawing.concept) and drawing.hand not in _UNNAMED_HANDS
        if sayable and drawing.split == split and len(drawing.concept.split()) <= _MOST_WORDS:
            by_concept.setdefault(drawing.concept, []).append(drawing)
    return [
        draws("spoken_names", split, concept).choice(by_concept[concept])
        for concept in sorted(by_concept)
    ]


def _record_machines(names: Sequence[Name], folder: Path) -> list[tuple[Name, Path]]:
    readings = []
    for number, name in enumerate(names):
        path = folder / f"{number:04}.flac"
        if name.voice == TEST_VOICE:
            readings.append(Reading(f"{name.text}.", path, name.voice))
        else:
            chance = draws("spoken_names", name.voice, name.text)
            readings.append(varied(f"{name.text}.", path, name.voice, chance))
    record(readings)
    return [(name, reading.path) for name, reading in zip(names, readings, strict=True)]


def _record_people(said: Iterable[tuple[Name, bytes]], folder: Path) -> list[tuple[Name, Path]]:
    """Without recordings that are broken, silent or long."""
    named = [
        (
            name,
            sound,
            folder / f"{name.drawing.name.removeprefix('tuxpaint-')}.{name.language}.flac",
        )
        for name, sound in said
    ]
    with ProcessPoolExecutor(_WORKERS) as pool:
        sounds, paths = [sound for _, sound, _ in named], [path for _, _, path in named]
        written = pool.map(_rewrite, sounds, paths, chunksize=_AT_ONCE)
        return [(name, path) for (name, _, path), good in zip(named, written, strict=True) if good]


def _rewrite(sound: bytes, path: Path) -> bool:
    """Ogg to 16 kHz FLAC; whether it was fit to be."""
    try:
        samples = load_audio(sound)
    except MediaError:
        return False
    fit = np.abs(samples).max() > _FAINTEST and len(samples) <= LONGEST_S * SAMPLE_RATE_HZ
    if fit:
        write_flac(levelled(samples), path)
    return bool(fit)


def _write_tests(
    folder: Path, english: Sequence[tuple[Name, Path]], french: Sequence[tuple[Name, Path]]
) -> None:
    drawings = {name.drawing.name: name.drawing for name, _ in (*english, *french)}
    pictures = {
        drawing.name: show(drawing, folder / "pictures")
        for drawing in drawings.values()
        if drawing.split != "train"
    }
    for said, manifest in ((english, "test_names.jsonl"), (french, "test_french.jsonl")):
        rows = (name.row(path, tells_drawing=True, pictures=pictures) for name, path in said)
        write_manifest(rows, folder / manifest)


def show(drawing: Drawing, folder: Path) -> Path:
    """A drawing as tests show it: whole, on white."""
    path = folder / f"{drawing.name}.png"
    with Image.open(drawing.path) as file:
        placed(file.convert("RGBA"), Placing()).save(path)
    return path


STEP = Step("spoken_names", 3, ("drawings",), build)
