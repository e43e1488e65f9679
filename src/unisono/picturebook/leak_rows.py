"""The manifests of a data folder as the leak check reads them: media, texts and named values."""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from unisono.errors import DataError

Medium = Literal["image", "audio", "video"]

MEDIA: tuple[Medium, ...] = ("image", "audio", "video")
_SPEECH = "speech"
"""The step whose tests are of sentences never said; names are said again, by other voices."""
_OF_OTHERS = frozenset({"conversations"})
"""Steps whose media are other steps', named from the folder of them all."""
_NOT_MANIFESTS = frozenset({"drawings", "vocabulary"})


@dataclass(frozen=True)
class Said:
    """One row of a manifest.

    Attributes:
        where: "scenes/test.jsonl:17".
        step: the folder of the manifest.
        manifest: its name without suffix.
        test: whether it is of a test split.
        media: kind and path of each medium.
        texts: everything written in it: captions, questions, answers, transcripts.
        sentences: what tests are to bring new: texts of speech, and questions.
        values: all strings in fields, by the field's name, however deep they lie.
    """

    where: str
    step: str
    manifest: str
    test: bool
    media: tuple[tuple[Medium, Path], ...]
    texts: tuple[str, ...]
    sentences: tuple[str, ...]
    values: Mapping[str, frozenset[str]]


def read_rows(data: Path) -> list[Said]:
    """The rows of all manifests of all steps; "test" in a manifest's name makes it a test.

    Raises:
        DataError: the folder has no manifests, or a line is no JSON.
    """
    manifests = [
        path
        for path in sorted(data.glob("*/*.jsonl"))
        if path.parent.name not in _NOT_MANIFESTS and not path.parent.name.endswith(".unfinished")
    ]
    if not manifests:
        raise DataError(f"there are no manifests in the steps of '{data}'")
    return [row for path in manifests for row in _rows(path)]


def _rows(path: Path) -> Iterator[Said]:
    test = "test" in path.stem.split("_")
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file, start=1):
            where = f"{path.parent.name}/{path.name}:{number}"
            yield _said(_parsed(line, where), path, where, test)


def _parsed(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as error:
        raise DataError(f"{where} is not JSON: {error}") from None
    if not isinstance(row, dict):
        raise DataError(f"{where} must be an object, but is not")
    return row


def _said(row: dict[str, Any], path: Path, where: str, test: bool) -> Said:
    messages = row.pop("messages", [])
    parts = [part for message in messages for part in _parts(message)]
    folder = path.parent.parent if path.parent.name in _OF_OTHERS else path.parent
    media = tuple(
        (kind, folder / holder[kind])
        for holder in (row, *parts)
        for kind in MEDIA
        if isinstance(holder.get(kind), str)
    )
    captions = [row["text"]] if isinstance(row.get("text"), str) else []
    words = [part[key] for part in parts for key in ("text", "transcript") if part.get(key)]
    asked = [
        text
        for message in messages
        if message["role"] == "user"
        for part in _parts(message)
        for key in ("text", "transcript")
        if (text := part.get(key))
    ]
    return Said(
        where=where,
        step=path.parent.name,
        manifest=path.stem,
        test=test,
        media=media,
        texts=(*captions, *words),
        sentences=tuple(captions if path.parent.name == _SPEECH else asked),
        values=_values(row),
    )


def _parts(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    content = message["content"]
    return [{"text": content}] if isinstance(content, str) else content


def _values(row: Mapping[str, Any]) -> Mapping[str, frozenset[str]]:
    found: dict[str, set[str]] = {}
    for name, value in _leaves(row):
        found.setdefault(name, set()).add(value)
    return {name: frozenset(values) for name, values in found.items()}


def _leaves(row: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in row.items():
        if name == "masks":  # long, and without words
            continue
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, str):
                yield name, one
            elif isinstance(one, dict):
                yield from _leaves(one)


def paths_of(rows: Iterable[Said], kind: Medium) -> dict[Path, str]:
    """Path -> where it is first named, of the media of a kind."""
    found: dict[Path, str] = {}
    for row in rows:
        for medium, path in row.media:
            if medium == kind:
                found.setdefault(path, row.where)
    return found
