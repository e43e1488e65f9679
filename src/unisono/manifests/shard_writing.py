"""Rows with their media -> shards: Ola's JSON beside patch files, WebDataset tars, Parquet.

The media are bytes. Shards are closed when they are large enough, and the same rows give the same
bytes. `manifests.writing` has the forms whose media stay where they are.
"""

import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, Literal

from unisono.errors import DataError, MissingExtraError

SHARD_BYTES = 1 << 30
ShardForm = Literal["ola", "webdataset", "parquet"]


@dataclass(frozen=True)
class Turn:
    """A question and its answer."""

    question: str
    answer: str


@dataclass(frozen=True)
class Talk:
    """A conversation about one clip.

    Attributes:
        id: without dots and slashes: it becomes the name of files.
        frames: of the video, JPEG.
        sound: WAV; None without one.
        turns: at least one.
        fields: whatever else the row shall have, JSON values.
    """

    id: str
    frames: Sequence[bytes]
    sound: bytes | None
    turns: Sequence[Turn]
    fields: dict[str, Any] = field(default_factory=dict)

    @property
    def size_bytes(self) -> int:
        """Of the media."""
        return sum(map(len, self.frames)) + len(self.sound or b"")


def write_shards(
    talks: Iterable[Talk],
    folder: Path,
    name: str,
    form: ShardForm,
    *,
    shard_bytes: int = SHARD_BYTES,
) -> list[Path]:
    """Write conversations.

    Args:
        talks: one after the other; their media may be read when their turn comes.
        folder: of the files, which `open_manifest` reads.
        name: of the split: `train.json` with `train-00000.patch`, or `train-00000.tar`, ….
        form: of the files.
        shard_bytes: of media, after which a shard is full.

    Returns:
        The manifests: what `open_manifest` takes.

    Raises:
        DataError: a conversation says nothing, its id is no file name, or a file cannot be written.
        MissingExtraError: Parquet needs pyarrow.
    """
    if form not in _WRITERS:
        raise DataError(f"form must be one of {', '.join(_WRITERS)}, but is {form!r} instead")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _WRITERS[form](_sharded(talks, shard_bytes), folder, name)
    except OSError as error:
        raise DataError(f"'{folder}' cannot be written: {error.strerror}") from None


def _sharded(talks: Iterable[Talk], shard_bytes: int) -> Iterator[tuple[int, Talk]]:
    """Each with the number of its shard."""
    number = size = 0
    for talk in talks:
        if not talk.turns or not talk.frames:
            raise DataError(f"{talk.id}: a conversation must have frames and turns")
        if not talk.id or set(talk.id) & set("./\\"):
            raise DataError(f"an id must be a name without dots and slashes, but is {talk.id!r}")
        if size and size + talk.size_bytes > shard_bytes:
            number, size = number + 1, 0
        size += talk.size_bytes
        yield number, talk


def _ola(talks: Iterable[tuple[int, Talk]], folder: Path, name: str) -> list[Path]:
    path, rows = folder / f"{name}.json", []
    for number, talk in talks:
        patch = f"{name}-{number:05}.patch"
        with open(folder / patch, "ab") as file:
            place = file.tell()
            file.write(b"".join((*talk.frames, talk.sound or b"")))
        sizes = [len(frame) for frame in talk.frames]
        row: dict[str, Any] = {"id": talk.id}
        row["video"] = {"patch": patch, "start_num": place, "size": sizes}
        marks = "<image>"
        if talk.sound is not None:
            start = place + sum(sizes)
            row["audio"] = {"patch": patch, "start_num": start, "size": len(talk.sound)}
            marks = "<speech><image>"
        row |= talk.fields
        row["conversations"] = [
            said
            for index, turn in enumerate(talk.turns)
            for said in (
                {"from": "human", "value": ("" if index else f"{marks}\n") + turn.question},
                {"from": "gpt", "value": turn.answer},
            )
        ]
        rows.append(row)
    path.write_text(json.dumps(rows, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    return [path]


def _tars(talks: Iterable[tuple[int, Talk]], folder: Path, name: str) -> list[Path]:
    paths: list[Path] = []
    for number, shard in groupby(talks, key=itemgetter(0)):
        paths.append(folder / f"{name}-{number:05}.tar")
        with tarfile.open(paths[-1], "w", format=tarfile.PAX_FORMAT) as archive:
            for _, talk in shard:
                for member, content in _members(talk).items():
                    info = tarfile.TarInfo(member)
                    info.size = len(content)
                    archive.addfile(info, io.BytesIO(content))
    return paths


def _members(talk: Talk) -> dict[str, bytes]:
    frames = {f"{talk.id}.{n:03}.jpg": frame for n, frame in enumerate(talk.frames)}
    sound = {} if talk.sound is None else {f"{talk.id}.wav": talk.sound}
    said = {"id": talk.id, **talk.fields, "messages": _messages(talk, [*frames], [*sound])}
    told = {f"{talk.id}.json": json.dumps(said, ensure_ascii=False).encode()}
    return told | frames | sound


def _messages(talk: Talk, frames: list[Any], sounds: list[Any]) -> list[dict[str, Any]]:
    """Our own form of a conversation; the media as they are given."""
    media: list[dict[str, Any]] = [{"type": "audio", "audio": sound} for sound in sounds]
    media.append({"type": "video", "video": frames, "use_audio": False})
    messages: list[dict[str, Any]] = []
    for index, turn in enumerate(talk.turns):
        text = {"type": "text", "text": turn.question}
        messages.append({"role": "user", "content": [text] if index else [*media, text]})
        answer = [{"type": "text", "text": turn.answer}]
        messages.append({"role": "assistant", "content": answer})
    return messages


def _tables(talks: Iterable[tuple[int, Talk]], folder: Path, name: str) -> list[Path]:
    try:
        arrow, parquet = import_module("pyarrow"), import_module("pyarrow.parquet")
    except ImportError as error:
        raise MissingExtraError("pyarrow", "curate") from error
    schema = _schema(arrow)
    paths: list[Path] = []
    for number, shard in groupby(talks, key=itemgetter(0)):
        paths.append(folder / f"{name}-{number:05}.parquet")
        with parquet.ParquetWriter(paths[-1], schema) as writer:
            for _, talk in shard:
                writer.write_table(arrow.Table.from_pylist([_table_row(talk)], schema=schema))
    return paths


def _table_row(talk: Talk) -> dict[str, Any]:
    sounds = [] if talk.sound is None else [talk.sound]
    return {
        "id": talk.id,
        "fields": json.dumps(talk.fields, ensure_ascii=False, sort_keys=True),
        "messages": _messages(talk, list(talk.frames), sounds),
    }


def _schema(arrow: Any) -> Any:
    part = arrow.struct(
        [
            ("type", arrow.string()),
            ("text", arrow.string()),
            ("audio", arrow.binary()),
            ("video", arrow.list_(arrow.binary())),
            ("use_audio", arrow.bool_()),
        ]
    )
    message = arrow.struct([("role", arrow.string()), ("content", arrow.list_(part))])
    columns = [("id", arrow.string()), ("fields", arrow.string())]
    return arrow.schema([*columns, ("messages", arrow.list_(message))])


_WRITERS = {"ola": _ola, "webdataset": _tars, "parquet": _tables}
FORMS = tuple(_WRITERS)
