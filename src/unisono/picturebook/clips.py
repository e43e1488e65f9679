"""The step "clips": short videos of things that move, with sounds or a voice, and questions.

train.jsonl                2,000 clips, a conversation of 3 to 5 questions about each
train_silent.jsonl         of these questions those about the picture, over the picture alone
test.jsonl                 200 single questions that need both picture and sound: compositions,
                           ways to move, words of questions, sound recordings and a voice that
                           training never has
test_one_side.jsonl        80 more that need the picture or the sound alone
test_sound_removed.jsonl   the questions of test.jsonl over the picture alone
test_picture_removed.jsonl the same over the sound alone
one_sided.json             what guessers score who have but one of the two; see clip_one_sided.py
"""

import json
import random
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unisono.conversation import AudioPart, MediaPart, Message, TextPart, VideoPart
from unisono.errors import DataError
from unisono.manifests import (
    ConversationRow,
    PairRow,
    StreamedManifest,
    open_manifest,
    write_manifest,
)
from unisono.media import SAMPLE_RATE_HZ, load_audio
from unisono.picturebook.clip_file import write_clip
from unisono.picturebook.clip_motion import FRAMES_PER_S, frames, ground_for
from unisono.picturebook.clip_one_sided import Asked, one_sided_scores
from unisono.picturebook.clip_planning import (
    PAIRED,
    Cast,
    Clip,
    Fit,
    Kind,
    Play,
    Wish,
    cast_of,
    plan,
)
from unisono.picturebook.clip_questions import (
    NEEDS,
    WAYS,
    Question,
    dialogue,
    questions,
)
from unisono.picturebook.drawing import read_drawings
from unisono.picturebook.scene_planning import Inventory, inventory, measured
from unisono.picturebook.scene_things import vocabulary
from unisono.picturebook.step import Step, draws
from unisono.picturebook.voices import TEST_VOICE, Reading, draw_voice, record, varied

TRAIN_CLIPS = 2_000
ONE_SIDE_QUESTIONS = 80
GUESSED_FROM = 4_000
"""Questions like those of the test, of which the one-sided guessers learn."""

_LEAST_HANDS = 2
_WORKERS = 2
_CHUNK = 20
_FADE_S = 0.03
_PIPER_SHARE = 0.1
_PLAYS: dict[Play, int] = {"one": 10, "two": 5, "timed": 2, "said one": 2, "said two": 2}
_FITS: dict[Fit, int] = {"same": 3, "other": 3, "any": 4}

TEST_FORMS: dict[str, int] = {
    "match": 32,
    "category and way": 48,
    "side": 33,
    "deed": 30,
    "seen and heard": 21,
    "together": 12,
    "named": 12,
    "named side": 12,
}
"""Questions of each form in test.jsonl."""

_PLAY_OF: dict[str, Play] = {
    "side": "two",
    "deed": "two",
    "together": "timed",
    "named": "said one",
    "named side": "said two",
}
_KINDS: tuple[Kind, ...] = ("animal", "instrument", "signal")
_ONE_SIDE_FORMS = tuple(form for form, needs in NEEDS.items() if needs != "both")


def build(folder: Path, data: Path) -> None:
    """Fill the folder; see `Step`.

    Raises:
        DataError: too few things can be seen and heard.
        HubError, MissingExtraError: a voice cannot be had.
    """
    stock = _stock(data)
    casts = {
        False: cast_of(stock, _sounds(data / "sounds" / "train.jsonl"), test=False),
        True: cast_of(stock, _sounds(data / "sounds" / "test_names.jsonl"), test=True),
    }
    trained = [_train_clip(casts[False], index) for index in range(TRAIN_CLIPS)]
    examined = [_examined(casts[True], form, turn) for form, turn in _tasks()]
    extra = [_one_sided(casts[True], index) for index in range(ONE_SIDE_QUESTIONS)]
    _make(folder / "train", [clip for clip, _ in trained], test=False)
    _make(folder / "test", [clip for clip, _ in (*examined, *extra)], test=True)
    write_manifest(_conversations(folder / "train", trained), folder / "train.jsonl")
    silent = _conversations(folder / "train", _seen(trained), use_audio=False)
    write_manifest(silent, folder / "train_silent.jsonl")
    _write_tests(folder, examined, extra)
    guessed = [_examined(casts[True], form, turn) for form, turn in _tasks(GUESSED_FROM)]
    scores = one_sided_scores(guessed, examined)
    (folder / "one_sided.json").write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")


STEP = Step("clips", 2, ("drawings", "sounds"), build)


def _stock(data: Path) -> Inventory:
    named = [d for d in read_drawings(data) if d.concept in vocabulary().names]
    train = [drawing for drawing in named if drawing.split == "train"]
    with ProcessPoolExecutor(_WORKERS) as pool:
        cut_outs = [one for one in pool.map(measured, train, chunksize=100) if one]
    return inventory(cut_outs, least_hands=_LEAST_HANDS)


def _sounds(path: Path) -> Iterator[PairRow]:
    manifest = open_manifest(path)
    if isinstance(manifest, StreamedManifest):  # JSONL never is
        return
    for index in range(len(manifest)):
        row = manifest[index]
        if isinstance(row, PairRow):
            yield row


def _train_clip(cast: Cast, index: int) -> tuple[Clip, list[Question]]:
    """One clip of training with its conversation; depends on its number alone."""
    draw = draws("clips", "train", index)
    play = draw.choices(list(_PLAYS), weights=list(_PLAYS.values()))[0]
    fit: Fit = "any"
    if play in ("one", "timed"):
        fit = draw.choices(list(_FITS), weights=list(_FITS.values()))[0]
    clip = plan(cast, Wish(play, fit), f"{index:05d}", draw)
    asked = questions(clip, draw, others=_others(cast, draw))
    return clip, dialogue(asked, draw.randint(3, 5), draw)


def _others(cast: Cast, draw: random.Random) -> list[str]:
    """Names to ask for in vain."""
    return draw.sample(cast.both, min(4, len(cast.both)))


def _tasks(count: int | None = None) -> Iterator[tuple[str, int]]:
    """Form and number of each question of the test; or of so many more of the same kinds."""
    total = sum(TEST_FORMS.values())
    for form, share in TEST_FORMS.items():
        first, last = (0, share) if count is None else (share, share + count * share // total)
        yield from ((form, turn) for turn in range(first, last))


def _examined(cast: Cast, form: str, turn: int) -> Asked:
    """One question of the test with its clip; every answer to its form comes equally often."""
    stem = f"{form.replace(' ', '-')}-{turn:03d}"
    draw = draws("clips", "test", stem)
    clip = plan(cast, _wish(form, turn), stem, draw)
    asked = questions(clip, draw, test=True)
    return clip, next(one for one in asked if one.form == form)


def _wish(form: str, turn: int) -> Wish:
    """What clip number `turn` of a form is to be like."""
    play = _PLAY_OF.get(form, "one")
    if form in ("match", "named"):
        return Wish(play, "other" if turn % 2 else "same")
    if form == "together":
        return Wish(play, halves=(turn % 2, turn // 2 % 2))
    if form == "category and way":
        kind, way = divmod(turn, len(WAYS))
        return Wish(play, kind=_KINDS[kind % len(_KINDS)], motion=list(WAYS)[way])
    if form == "deed":
        return Wish(play, source=turn % 3, motion=PAIRED[turn // 3 % len(PAIRED)])
    return Wish(play, source=turn % 3)


def _one_sided(cast: Cast, index: int) -> Asked:
    """A question that needs the picture or the sound, but not both."""
    form, turn = _ONE_SIDE_FORMS[index % len(_ONE_SIDE_FORMS)], index // len(_ONE_SIDE_FORMS)
    stem = f"{form.replace(' ', '-')}-{turn:03d}"
    draw = draws("clips", "test", stem)
    motion = list(WAYS)[turn % len(WAYS)] if form == "moves" else None
    wish = Wish("said one" if form == "said" else "one", motion=motion)
    for _ in range(100):
        clip = plan(cast, wish, stem, draw)
        asked = questions(clip, draw, others=_others(cast, draw), test=True)
        fitting = [one for one in asked if one.form == form]
        if fitting:
            return clip, fitting[0]
    raise DataError(f"no clip was found for a question of the form '{form}'")


def _write_tests(folder: Path, examined: Sequence[Asked], extra: Sequence[Asked]) -> None:
    row = partial(_question_row, folder / "test")
    write_manifest(map(row, examined), folder / "test.jsonl")
    write_manifest(map(row, extra), folder / "test_one_side.jsonl")
    silent = partial(_question_row, folder / "test", use_audio=False)
    write_manifest(map(silent, examined), folder / "test_sound_removed.jsonl")
    unseen = partial(_question_row, folder / "test", use_picture=False)
    write_manifest(map(unseen, examined), folder / "test_picture_removed.jsonl")


def _question_row(
    folder: Path, one: Asked, *, use_audio: bool = True, use_picture: bool = True
) -> ConversationRow:
    clip, question = one
    path = str(folder / f"{clip.stem}.mp4")
    part: MediaPart = VideoPart(video=path, use_audio=use_audio)
    if not use_picture:
        part = AudioPart(audio=path, transcript=clip.heard.said)
    fields = {
        "kind": question.form,
        "needs": question.needs,
        "template": question.template,
        "answers": list(question.answers),
    }
    messages = (
        Message(role="user", content=(part, TextPart(text=question.text))),
        Message(role="assistant", content=question.answers[0]),
    )
    return ConversationRow(clip.stem, messages, fields | _fields(clip))


def _seen(clips: Iterable[tuple[Clip, list[Question]]]) -> Iterator[tuple[Clip, list[Question]]]:
    """The clips with the questions that the picture alone answers, where there are any."""
    for clip, asked in clips:
        if seen := [question for question in asked if question.needs == "picture"]:
            yield clip, seen


def _conversations(
    folder: Path,
    clips: Iterable[tuple[Clip, Sequence[Question]]],
    *,
    use_audio: bool = True,
) -> Iterator[ConversationRow]:
    for clip, asked in clips:
        video = VideoPart(video=str(folder / f"{clip.stem}.mp4"), use_audio=use_audio)
        messages: list[Message] = []
        for question in asked:
            text = TextPart(text=question.text)
            content = (text,) if messages else (video, text)
            messages.append(Message(role="user", content=content))
            messages.append(Message(role="assistant", content=question.answers[0]))
        turns = [{"kind": one.form, "needs": one.needs, "template": one.template} for one in asked]
        yield ConversationRow(clip.stem, tuple(messages), {"turns": turns} | _fields(clip))


def _fields(clip: Clip) -> dict[str, object]:
    return {
        "play": clip.play,
        "names": list(clip.names),
        "drawings": [actor.path.stem for actor in clip.actors],
        "motions": [actor.motion for actor in clip.actors],
        "heard": clip.heard.name,
        "said": clip.heard.said,
        "layout": clip.layout,
    }


@dataclass(frozen=True)
class _Task:
    clip: Clip
    path: Path


def _make(folder: Path, clips: Sequence[Clip], *, test: bool) -> None:
    """Make clips' files; the voices first."""
    folder.mkdir()
    with tempfile.TemporaryDirectory() as spoken:
        voiced = list(_voiced(clips, Path(spoken), test=test))
        tasks = [_Task(clip, folder / f"{clip.stem}.mp4") for clip in voiced]
        with ProcessPoolExecutor(_WORKERS) as pool:
            for _ in pool.map(_made, tasks, chunksize=_CHUNK):
                pass


def _voiced(clips: Sequence[Clip], folder: Path, *, test: bool) -> Iterator[Clip]:
    """Clips whose voices' recordings are there."""
    paths = {one.stem: folder / f"{one.stem}.flac" for one in clips if one.heard.kind == "voice"}
    readings = [_reading(one, paths[one.stem], test=test) for one in clips if one.stem in paths]
    record(readings, workers=_WORKERS)
    for clip in clips:
        path = paths.get(clip.stem, clip.heard.path)
        yield replace(clip, heard=replace(clip.heard, path=path))


def _reading(clip: Clip, path: Path, *, test: bool) -> Reading:
    chance = draws("clips", "voice", clip.stem)
    if test:
        return Reading(clip.heard.said, path, TEST_VOICE)
    return varied(clip.heard.said, path, draw_voice(chance, piper=_PIPER_SHARE), chance)


def _made(task: _Task) -> None:
    clip, chance = task.clip, draws("clips", "made", task.path.parent.name, task.clip.stem)
    ground = ground_for(clip.actors, chance)
    pictures = frames(clip.actors, clip.frames, ground)
    sound = placed(load_audio(clip.heard.path), clip, chance)
    write_clip(task.path, pictures, sound, frames_per_s=FRAMES_PER_S)


def placed(sound: NDArray[np.float32], clip: Clip, chance: random.Random) -> NDArray[np.float32]:
    """[T] at 16 kHz as long as the clip: the sound somewhere in it, cut where it is too long."""
    whole = clip.frames * SAMPLE_RATE_HZ // FRAMES_PER_S
    first, last = 0, whole
    if clip.heard.half is not None:
        first, last = (0, whole // 2) if clip.heard.half == 0 else (whole - whole // 2, whole)
    cut = _faded(sound[: last - first])
    start = first + chance.randint(0, last - first - len(cut))
    return np.pad(cut, (start, whole - start - len(cut)))


def _faded(sound: NDArray[np.float32]) -> NDArray[np.float32]:
    count = min(len(sound) // 2, round(_FADE_S * SAMPLE_RATE_HZ))
    shape = np.ones(len(sound), np.float32)
    shape[:count] = np.linspace(0, 1, count)
    shape[len(sound) - count :] = np.linspace(1, 0, count)
    return sound * shape
