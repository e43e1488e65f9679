"""The files of the demonstration, drawn from the tests before anything was trained:

    python -m unisono.picturebook.examples data/picturebook examples/picturebook

Five are the conversation of `make demo`, twenty more are asked one by one. Only what may be passed
on under a permissive licence is drawn: the files are in the repository.
"""

import argparse
import shutil
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from unisono.conversation import AudioPart, MediaPart, Message, TextPart
from unisono.errors import DataError
from unisono.manifests import ConversationRow, open_manifest, write_manifest
from unisono.picturebook.step import draws
from unisono.picturebook.voices import TEST_VOICE

SEED = "examples, 2026-11-23"

FREE_HANDS = (
    *("emojione", "fluent", "fluent-flat", "fxemoji", "noto", "noto-v1", "openclipart"),
    "twemoji",
)
FREE_SOUNDS = ("csound-soundfont", "fluidr3mono-gm-soundfont", "sonic:")


def _free_drawings(row: ConversationRow) -> bool:
    return all(name.startswith(FREE_HANDS) for name in row.fields["drawings"])


def _free_sound(row: ConversationRow) -> bool:
    return str(row.fields["source"]).startswith(FREE_SOUNDS)


def _free_voice(row: ConversationRow) -> bool:
    return bool(row.fields["voice"] == TEST_VOICE)


def _narrated(row: ConversationRow) -> bool:
    """Other clips have sounds of any licence."""
    return bool(row.fields["said"]) and _free_drawings(row)


@dataclass(frozen=True)
class Kind:
    """One kind of example.

    Attributes:
        name: of it, and of its files.
        split: manifest of a test that it is drawn from.
        demo: how many are in the demonstration.
        more: how many are asked besides.
        free: whether the files of a row may be passed on.
    """

    name: str
    split: str
    demo: int
    more: int
    free: Callable[[ConversationRow], bool]


KINDS = (
    Kind("picture", "scenes/test.jsonl", 2, 8, _free_drawings),
    Kind("sound", "sounds/questions_test.jsonl", 1, 4, _free_sound),
    Kind("spoken", "spoken_questions/test.jsonl", 1, 4, _free_voice),
    Kind("clip", "clips/test.jsonl", 1, 4, _narrated),
)


def drawn(data: Path) -> Iterator[tuple[str, ConversationRow]]:
    """A name and a row for each example, those of the demonstration first of their kind.

    No two of a kind have the same answer as far as there are enough of them.

    Raises:
        DataError: a test is not there, or has too few rows.
    """
    for kind in KINDS:
        rows = [row for row in _rows(data / kind.split) if kind.free(row)]
        draws(SEED, kind.name).shuffle(rows)
        wanted = kind.demo + kind.more
        if len(rows) < wanted:
            raise DataError(f"{kind.split} must have {wanted} free rows, but has {len(rows)}")
        for number, row in enumerate(_answered_differently(rows)[:wanted]):
            where = "demo" if number < kind.demo else "more"
            yield f"{where}-{kind.name}-{number + 1}", row


def write(data: Path, folder: Path) -> list[str]:
    """Copy the examples' files, and write `demo.jsonl` and `more.jsonl` beside them.

    Returns:
        Their names.

    Raises:
        DataError: a test is not there, has too few rows, or a file cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = {name: _copied(name, row, folder) for name, row in drawn(data)}
    for where in ("demo", "more"):
        rows = [row for name, row in made.items() if name.startswith(where)]
        write_manifest(rows, folder / f"{where}.jsonl")
    return list(made)


def _rows(path: Path) -> list[ConversationRow]:
    opened: Any = open_manifest(path)
    return list(opened)


def _answered_differently(rows: Sequence[ConversationRow]) -> list[ConversationRow]:
    """The first row of every answer, then the second ones, and so on."""
    times: dict[str, int] = {}
    order = []
    for row in rows:
        answer = str(row.messages[-1].content)
        times[answer] = times.get(answer, 0) + 1
        order.append(times[answer])
    return [row for _, row in sorted(zip(order, rows, strict=True), key=lambda pair: pair[0])]


def _copied(name: str, row: ConversationRow, folder: Path) -> ConversationRow:
    asked, answer = row.messages
    parts = tuple(
        part if isinstance(part, TextPart) else _copied_part(part, folder / name)
        for part in asked.parts
    )
    fields = {key: row.fields[key] for key in ("kind", "answers") if key in row.fields}
    messages = (Message(role="user", content=parts), answer)
    return replace(row, name=name, messages=messages, fields=fields | {"from": row.name})


def _copied_part(part: MediaPart, stem: Path) -> MediaPart:
    medium = Path(str(getattr(part, part.type)))
    path = stem.with_suffix(medium.suffix)
    shutil.copyfile(medium, path)
    heard = {"transcript": None} if isinstance(part, AudioPart) else {}  # the listener's affair
    return part.model_copy(update={part.type: path} | heard)


def main(arguments: Sequence[str] | None = None) -> None:
    """Draw the examples."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("data", type=Path, help="the folder that `unisono picturebook` made")
    parser.add_argument("folder", type=Path, help="where the examples are put")
    given = parser.parse_args(arguments)
    for name in write(given.data, given.folder):
        print(name, file=sys.stderr)


if __name__ == "__main__":
    main()
