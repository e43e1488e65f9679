"""What the whole-input tasks of `benchmarks/tasks.py` are: rows, what is encoded, targets."""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from unisono.media import load_audio, load_video

Row = Mapping[str, Any]
Loss = Literal["one", "several", "box", "choice", "pairs"]
Block = tuple[str, dict[str, Any]]
"""The modality that the head reads, and inputs that are encoded jointly."""

FRAMES = 8
HEARD = 4 * 16_000
"""Samples of a sound that are heard, at 16 kHz."""


@dataclass(frozen=True)
class Bench:
    """One task.

    Attributes:
        train, test: manifests below the data folder, and how many rows of each are used at most.
        blocks: of a row what is encoded; the head sees the blocks side by side, but those of a
            "choice" one by one, and of "pairs" each by a projection of its own.
        loss: what the head learns.
        field: of a row, where the right answer stands.
        metric: that decides.
        media: below the data folder, what the rows' paths are relative to.
        trained: the encoder learns with the head, as published: what two inputs have to do with
            each other is not in tokens that nobody trained to say it.
    """

    train: tuple[str, int]
    test: tuple[str, int]
    blocks: Callable[[Row, Path], list[Block]]
    loss: Loss
    field: str
    metric: str
    media: str = "."
    trained: bool = False


def rows_of(bench: Bench, folder: Path, split: str) -> list[dict[str, Any]]:
    """Rows of a split that have an answer, drawn by a fixed seed."""
    name, most = bench.train if split == "train" else bench.test
    lines = (folder / "tasks" / name if "/" not in name else folder / name).read_text()
    rows = [json.loads(line) for line in lines.splitlines()]
    rows = [row for row in rows if row.get(bench.field) not in (None, "", [])]
    return random.Random(name).sample(rows, min(most, len(rows)))


def labels_of(bench: Bench, rows: Sequence[Row]) -> list[str]:
    """Classes, in a fixed order."""
    listed = (
        [row[bench.field]] if bench.loss in ("one", "pairs") else row[bench.field] for row in rows
    )
    return sorted({label for labels in listed for label in labels})


def _picture(row: Row, folder: Path) -> list[Block]:
    return [("image", {"image": folder / row["image"]})]


def _asked(row: Row, folder: Path) -> list[Block]:
    return [("text", {"text": row["text"], "image": folder / row["image"]})]


def _phrase(row: Row, folder: Path) -> list[Block]:
    return [("image", {"text": row["text"], "image": folder / row["image"]})]


def _two(row: Row, folder: Path) -> list[Block]:
    pictures = (folder / row["image"], folder / row["image_2"])
    return [("text", {"text": row["text"], "image": one}) for one in pictures]


def _sound(row: Row, folder: Path) -> list[Block]:
    return [("audio", {"audio": load_audio(folder / row["audio"])[:HEARD]})]


def _choices(row: Row, folder: Path) -> list[Block]:
    ((_, heard),) = _sound(row, folder)
    return [("text", {"text": f"{row['text']} answer: {one}", **heard}) for one in row["choices"]]


def _named(row: Row, folder: Path) -> list[Block]:
    return [("text", {"text": row["text"]}), *_picture(row, folder)]


def _clip(row: Row, folder: Path) -> list[Block]:
    from PIL import Image

    frames = load_video(folder / row["video"], frames=FRAMES, with_audio=False).frames
    return [("image", {"image": Image.fromarray(one)}) for one in frames]


def _clip_heard(row: Row, folder: Path) -> list[Block]:
    return [*_clip(row, folder), *_sound({"audio": row["video"]}, folder)]


_DRAWINGS = (("pictures/train_plain.jsonl", 6000), ("pictures/test_unseen_drawing.jsonl", 1601))
_SOUNDS = (("sounds_train.jsonl", 2000), ("sounds_test.jsonl", 1000))
_CLIPS = (("actions_train.jsonl", 800), ("actions_test.jsonl", 1000))
_SEEN, _BOTH = ("questions_train.jsonl", 3000), ("questions_test.jsonl", 800)

TASKS: Mapping[str, Bench] = {
    "image classification": Bench(*_DRAWINGS, _picture, "one", "group", "accuracy", "pictures"),
    "retrieval": Bench(*_DRAWINGS, _named, "pairs", "text", "recall@1", "pictures"),
    "visual grounding": Bench(
        ("phrases_train.jsonl", 3000),
        ("phrases_test.jsonl", 800),
        _phrase,
        "box",
        "box",
        "overlap",
        trained=True,
    ),
    "VQA": Bench(_SEEN, _BOTH, _asked, "one", "answer", "accuracy", trained=True),
    "NLVR2": Bench(
        ("pairs_train.jsonl", 2500),
        ("pairs_test.jsonl", 800),
        _two,
        "one",
        "label",
        "accuracy",
        trained=True,
    ),
    "audio classification": Bench(*_SOUNDS, _sound, "one", "label", "accuracy"),
    "audio tagging": Bench(*_SOUNDS, _sound, "several", "labels", "mAP"),
    "audio QA": Bench(
        ("sounds_train.jsonl", 800), _SOUNDS[1], _choices, "choice", "choice", "accuracy"
    ),
    "video: what moves how": Bench(*_CLIPS, _clip, "one", "label", "accuracy"),
    "video: what is heard, by its pictures": Bench(*_CLIPS, _clip, "one", "heard", "accuracy"),
    "video: what is heard, with sound": Bench(*_CLIPS, _clip_heard, "one", "heard", "accuracy"),
}
