"""The step "sounds": clips of instruments, animals, people and things, with their names.

    train.jsonl           sound and caption
    test_names.jsonl      sound and name, of 40 names; nothing heard in training: see sound_clips.py
    questions_train.jsonl one to three questions about a sound, with short answers
    questions_test.jsonl  one question about a sound nobody trained with, in words not trained

A pair's fields: `name`, `kind` (animal, instrument, signal), `source` (soundfont or recording),
`form` (note, notes, chord, melody, rhythm; "" for recordings), `unseen`. A question's `kind` is
"what", "category", "count", "register" or "pace", or several joined by "+" in training.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unisono.conversation import AudioPart, Message, TextPart
from unisono.errors import DataError
from unisono.manifests import ConversationRow, PairRow, write_manifest
from unisono.media import SAMPLE_RATE_HZ
from unisono.picturebook.packages import package_files
from unisono.picturebook.sound_captions import (
    CLOSED_ANSWERS,
    Question,
    answers,
    caption,
    draw_questions,
)
from unisono.picturebook.sound_clips import TEST_FONT, Clip, clips
from unisono.picturebook.sound_names import sound_packages
from unisono.picturebook.sound_recordings import cut, levelled, read_recordings
from unisono.picturebook.soundfont import load_soundfont, play
from unisono.picturebook.step import Step, draws
from unisono.picturebook.voices import write_flac

WORKERS = 2
ASKED_OF_TRAIN: Mapping[str, float] = {"animal": 1.0, "signal": 0.8, "instrument": 0.5}
"""Of the training clips, how many are asked about: of animals there are fewest."""
MOST_TURNS = 3
TEST_QUESTIONS_A_KIND = 60
"""At most; of the right answers to a closed question, each is given as often as any other."""

_PIECES_AT_ONCE = 50
_TILT_DB = 4.0
"""An octave: how dull or bright a microphone may be."""
_SILENT = 1e-3

Samples = NDArray[np.float32]


def build(folder: Path, data: Path) -> None:
    """Fill an empty folder; `data` is not read.

    Raises:
        HubError: a package cannot be had.
        MissingExtraError: the synthesizer is not installed.
        DataError: a recording is not where it should be, or a sound is silent.
    """
    del data
    planned = clips()
    record(planned, folder)
    write_manifest(pairs(planned, folder, "train"), folder / "train.jsonl")
    write_manifest(pairs(planned, folder, "test"), folder / "test_names.jsonl")
    write_manifest(train_questions(planned, folder), folder / "questions_train.jsonl")
    write_manifest(test_questions(planned, folder), folder / "questions_test.jsonl")


def record(planned: Sequence[Clip], folder: Path) -> None:
    """Make the clips' sounds: FLAC, 16 kHz mono, in a folder below for each split."""
    packages = sound_packages()
    for package in sorted({clip.package for clip in planned}):  # before any process needs them
        package_files(packages[package].part if package in packages else package)
    for split in {clip.split for clip in planned}:
        (folder / split).mkdir(parents=True, exist_ok=True)
    by_package = defaultdict(list)
    for clip in planned:
        by_package[clip.package].append(clip)
    # The test's soundfont must be unpacked first, which takes longest: it goes first.
    order = sorted(
        by_package.values(), key=lambda group: (group[0].package != TEST_FONT, -len(group))
    )
    with ProcessPoolExecutor(WORKERS) as pool:
        for _ in pool.map(partial(_record_package, folder=folder), order):
            pass


def _record_package(group: Sequence[Clip], folder: Path) -> None:
    for clip, sound in _played(group) if group[0].piece else _recorded(group):
        if np.abs(sound).max(initial=0.0) < _SILENT:
            raise DataError(f"{clip.name.name} is silent in '{clip.source}'")
        write_flac(_finished(sound, clip), path_of(clip, folder))


def _played(group: Sequence[Clip]) -> Iterator[tuple[Clip, Samples]]:
    soundfont = load_soundfont(group[0].package)
    for first in range(0, len(group), _PIECES_AT_ONCE):
        some = group[first : first + _PIECES_AT_ONCE]
        yield from zip(some, play(soundfont, [one.piece for one in some if one.piece]), strict=True)


def _recorded(group: Sequence[Clip]) -> Iterator[tuple[Clip, Samples]]:
    sounds = read_recordings({clip.source for clip in group}, sound_packages())
    for clip in group:
        chance = draws("sounds", clip.stem, "cut")
        yield clip, cut(sounds[clip.source], chance, vary=clip.split == "train")


def _finished(sound: Samples, clip: Clip) -> Samples:
    chance = draws("sounds", clip.stem, "level")
    if clip.split == "train":
        sound = tilted(sound, chance.uniform(-_TILT_DB, _TILT_DB))
    return levelled(sound, chance)


def tilted(sound: Samples, decibels: float) -> Samples:
    """[T] duller (below 0) or brighter by so many decibels an octave, between 100 Hz and 8 kHz."""
    frequencies_hz = np.fft.rfftfreq(len(sound), 1 / SAMPLE_RATE_HZ)
    octaves = np.log2(np.clip(frequencies_hz, 100, None) / 1000)
    spectrum = np.fft.rfft(sound) * 10 ** (decibels * octaves / 20)
    return np.fft.irfft(spectrum, len(sound)).astype(np.float32)


def path_of(clip: Clip, folder: Path) -> Path:
    """Where a clip's sound is."""
    return folder / clip.split / f"{clip.stem}.flac"


def pairs(planned: Iterable[Clip], folder: Path, split: str) -> Iterator[PairRow]:
    """Sounds with captions; in the test with their bare name."""
    for clip in planned:
        if clip.split != split:
            continue
        chance = draws("sounds", clip.stem, "caption")
        text = caption(clip.name, clip.tune, chance) if split == "train" else clip.name.phrase
        yield PairRow(clip.stem, text=text, audio=path_of(clip, folder), fields=_fields(clip))


def train_questions(planned: Iterable[Clip], folder: Path) -> Iterator[ConversationRow]:
    """One to three questions about some of the training clips."""
    for clip in planned:
        chance = draws("sounds", clip.stem, "questions")
        if clip.split == "train" and chance.random() < ASKED_OF_TRAIN[clip.name.kind]:
            most = chance.randint(1, MOST_TURNS)
            right = answers(clip.name, clip.tune)
            if clip.name.kind == "instrument" and chance.random() < 0.5:
                del right["category"]  # or "an instrument" would be right too often
            asked = draw_questions(right, chance, most=most, testing=False)
            yield _conversation(clip, folder, asked)


def test_questions(planned: Iterable[Clip], folder: Path) -> Iterator[ConversationRow]:
    """At most one question about a clip.

    "What" and "category" are asked of the test's clips, everything about notes of those played
    on the unseen soundfont.
    """
    asked: Counter[tuple[str, str]] = Counter()
    unheard = [clip for clip in planned if clip.split != "train"]
    draws("sounds", "test questions").shuffle(unheard)
    for clip in unheard:
        about = {"what", "category"} if clip.split == "test" else {"count", "register", "pace"}
        fit = {
            kind: answer
            for kind, answer in answers(clip.name, clip.tune).items()
            if kind in about and asked[kind, answer] < _most_asked(kind, asked)
        }
        rarest = sorted(fit, key=lambda kind: sum(asked[one] for one in asked if one[0] == kind))
        chance = draws("sounds", clip.stem, "questions")
        wanted = {kind: fit[kind] for kind in rarest[:1]}
        for question in draw_questions(wanted, chance, most=1, testing=True):
            asked[question.kind, question.answer] += 1
            yield _conversation(clip, folder, [question])


def _most_asked(kind: str, asked: Counter[tuple[str, str]]) -> int:
    """How often one answer may be right."""
    if kind == "what":
        return (
            2 if sum(asked[one] for one in asked if one[0] == kind) < TEST_QUESTIONS_A_KIND else 0
        )
    return TEST_QUESTIONS_A_KIND // CLOSED_ANSWERS[kind]


def _conversation(clip: Clip, folder: Path, asked: Sequence[Question]) -> ConversationRow:
    sound = AudioPart(audio=str(path_of(clip, folder)), transcript="")
    turns = list(chain.from_iterable(_turn(question) for question in asked))
    first = Message(role="user", content=(sound, TextPart(text=asked[0].text)))
    fields = _fields(clip) | {"kind": "+".join(question.kind for question in asked)}
    return ConversationRow(clip.stem, (first, *turns[1:]), fields)


def _turn(question: Question) -> tuple[Message, Message]:
    return (
        Message(role="user", content=question.text),
        Message(role="assistant", content=question.answer),
    )


def _fields(clip: Clip) -> dict[str, str]:
    return {
        "name": clip.name.name,
        "kind": clip.name.kind,
        "source": clip.source,
        "form": clip.tune.form if clip.tune and clip.name.kind == "instrument" else "",
        "unseen": clip.unseen,
    }


STEP = Step("sounds", 1, (), build)
