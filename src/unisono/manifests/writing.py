"""Rows -> files: JSONL in our own form, and JSON in LLaVA's."""

import json
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TextIO

from unisono.conversation import AudioPart, Message, Part, TextPart, VideoPart
from unisono.errors import DataError
from unisono.manifests.llava import MARK, NAME_OF_MARK
from unisono.manifests.parse import MEDIA
from unisono.manifests.row import ConversationRow, Row


def write_manifest(
    rows: Iterable[Row],
    path: str | os.PathLike[str],
    *,
    media: str | os.PathLike[str] | None = None,
) -> int:
    """Write JSONL; the file is there whole or not at all.

    Media must be paths or `data:` URLs; paths below a folder are written relative to it, others
    absolute.

    Args:
        rows: what to write.
        path: of the file.
        media: that folder, which `open_manifest` must be given too; None for the file's own.

    Returns:
        How many rows there were.

    Raises:
        DataError: a medium is no path, a field is no JSON, or the file cannot be written.
    """
    count = 0
    with _replacing(Path(path)) as file:
        for row in rows:
            file.write(_dumped(_said(row, Path(media or Path(path).parent)), row.name) + "\n")
            count += 1
    return count


def write_llava(rows: Iterable[ConversationRow], path: str | os.PathLike[str]) -> int:
    """Write conversations as one array of LLaVA's form; see `write_manifest`.

    Raises:
        DataError: as there, or a row says what that form has no words for: a sound's transcript,
            a video heard beside a sound or not heard alone, a mark meant as text.
    """
    count = 0
    with _replacing(Path(path)) as file:
        file.write("[")
        for row in rows:
            file.write(",\n" if count else "\n")
            file.write(_dumped(_llava(row, Path(path).parent), row.name))
            count += 1
        file.write("\n]\n")
    return count


def _dumped(said: dict[str, Any], name: str) -> str:
    try:
        dumped = json.dumps(said, ensure_ascii=False)
        dumped.encode()
    except (TypeError, ValueError) as error:
        raise DataError(f"{name}: a field cannot be written as JSON: {error}") from None
    return dumped


def _said(row: Row, folder: Path) -> dict[str, Any]:
    if isinstance(row, ConversationRow):
        messages = [_message(message, row.name, folder) for message in row.messages]
        return {**row.fields, "messages": messages}
    media = {kind: getattr(row, kind) for kind in MEDIA if getattr(row, kind) is not None}
    paths = {kind: _written(medium, row.name, folder) for kind, medium in media.items()}
    return {**row.fields, **({} if row.text is None else {"text": row.text}), **paths}


def _message(message: Message, name: str, folder: Path) -> dict[str, Any]:
    said: dict[str, Any] = {"role": message.role}
    if message.token_ids is not None:
        said["token_ids"] = message.token_ids
    if isinstance(message.content, str):
        return said | {"content": message.content}
    parts = []
    for part in message.content:
        fields = part.model_dump(exclude_defaults=True) | {"type": part.type}
        if not isinstance(part, TextPart):
            fields[part.type] = _written(getattr(part, part.type), name, folder)
        parts.append(fields)
    return said | {"content": parts}


def _llava(row: ConversationRow, folder: Path) -> dict[str, Any]:
    media: dict[str, list[Any]] = {}
    heard = any(isinstance(part, AudioPart) for one in row.messages for part in one.parts)
    turns = []
    for message in row.messages:
        pieces = []
        for part in message.parts:
            _check_llava(part, row.name, role=message.role, heard=heard)
            if isinstance(part, TextPart):
                pieces.append(part.text)
            else:
                medium = _written(getattr(part, part.type), row.name, folder)
                media.setdefault(part.type, []).append(medium)
                pieces.append(f"<{NAME_OF_MARK[part.type]}>")
        who = {"user": "human", "assistant": "gpt"}.get(message.role, message.role)
        turns.append({"from": who, "value": "\n".join(pieces)})
    return {**row.fields, **{k: _single(v) for k, v in media.items()}, "conversations": turns}


def _check_llava(part: Part, name: str, *, role: str, heard: bool) -> None:
    """What would be read otherwise than it is written."""
    if isinstance(part, TextPart):
        if role == "user" and (mark := MARK.search(part.text)):
            raise DataError(f"{name}: {mark[0].strip()} in a text would be read as a medium")
    elif isinstance(part, AudioPart) and part.transcript is not None:
        raise DataError(f"{name}: LLaVA's form has no place for the transcript of a sound")
    elif isinstance(part, VideoPart) and part.use_audio == heard:
        raise DataError(
            f"{name}: in LLaVA's form a video is heard if and only if the row has no other sound, "
            f"but use_audio is {part.use_audio}"
        )


def _single(media: list[Any]) -> Any:
    """One medium stands alone; but frames in a list would be taken for several videos."""
    return media[0] if len(media) == 1 and not isinstance(media[0], list) else media


def _written(medium: Any, name: str, folder: Path) -> str | list[Any]:
    if isinstance(medium, list | tuple):
        return [_written(frame, name, folder) for frame in medium]
    if not isinstance(medium, str | os.PathLike):
        raise DataError(f"{name}: only media in files can be written, not {type(medium).__name__}")
    said = os.fspath(medium)
    if said[:5].lower() == "data:":
        return said
    path, above = os.path.abspath(said), os.path.abspath(folder)
    return os.path.relpath(path, above) if Path(path).is_relative_to(above) else path


@contextmanager
def _replacing(path: Path) -> Iterator[TextIO]:
    unfinished = path.with_name(f"{path.name}.part")
    try:
        with open(unfinished, "w", encoding="utf-8") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        unfinished.replace(path)
    except OSError as error:
        unfinished.unlink(missing_ok=True)
        raise DataError(f"'{path}' cannot be written: {error.strerror}") from None
    except BaseException:
        unfinished.unlink(missing_ok=True)
        raise
