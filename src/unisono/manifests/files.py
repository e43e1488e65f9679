"""Manifests in text files: JSONL (a row a line) and JSON (one array, as LLaVA writes it)."""

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unisono.errors import BadRowError, DataError
from unisono.manifests.lines import Lines
from unisono.manifests.parse import parse_row
from unisono.manifests.place import Place
from unisono.manifests.row import Row


class JsonLines:
    """A row a line; nothing but the places of the lines is in memory."""

    def __init__(self, path: Path, media: Path | None, title: str) -> None:
        """Index a file.

        Args:
            path: of it.
            media: folder that paths in rows are relative to; None for the file's own.
            title: what it is called in the names of rows.

        Raises:
            DataError: it cannot be read.
        """
        self._lines, self._title = Lines(path), title
        self._place = Place(media or path.parent)
        self.fingerprint = fingerprint([path])

    def __len__(self) -> int:
        return len(self._lines)

    def __getitem__(self, index: int) -> Row:
        name = f"{self._title}:{self._lines.number(index)}"
        try:
            said = json.loads(self._lines[index])
        except (ValueError, RecursionError) as error:
            raise BadRowError(f"{name}: not JSON: {error}") from None
        return parse_row(said, name, self._place)


class JsonArray:
    """One JSON array of rows; it is read whole, as JSON cannot be entered in its middle."""

    def __init__(self, path: Path, media: Path | None, title: str) -> None:
        """Read a file; the arguments are those of `JsonLines`.

        Raises:
            DataError: it cannot be read, or is no array.
        """
        self._title, self._place = title, Place(media or path.parent)
        self.fingerprint = fingerprint([path])
        try:
            rows: Any = json.loads(path.read_bytes())
        except OSError as error:
            raise DataError(f"manifest '{path}' cannot be read: {error.strerror}") from None
        except (ValueError, RecursionError) as error:
            raise DataError(f"manifest '{path}' is not JSON: {error}") from None
        if not isinstance(rows, list):
            raise DataError(f"manifest '{path}' must be an array of rows, but is one {_kind(rows)}")
        self._rows = rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Row:
        return parse_row(self._rows[index], f"{self._title}:[{index}]", self._place)


def holds_lines(path: Path) -> bool:
    """Whether a .json file has a row a line, as some data sets do, instead of one array.

    Raises:
        DataError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            if file.read(1) != b"{":
                return False
            file.seek(0)
            return isinstance(json.loads(file.readline()), dict) and bool(file.readline())
    except OSError as error:
        raise DataError(f"manifest '{path}' cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError):
        return False


def fingerprint(paths: Sequence[Path]) -> str:
    """Of files: a hash of their names, sizes and times of change.

    Raises:
        DataError: one of them is missing.
    """
    known = hashlib.sha256()
    for path in paths:
        try:
            state = path.stat()
        except OSError as error:
            raise DataError(f"manifest '{path}' cannot be read: {error.strerror}") from None
        known.update(f"{path.name}:{state.st_size}:{state.st_mtime_ns}\n".encode())
    return known.hexdigest()


def titles(paths: Sequence[Path]) -> list[str]:
    """What each file is called in the names of rows: its name, where that tells them apart."""
    names = [path.name for path in paths]
    if len(set(names)) == len(set(paths)):
        return names
    absolute = [os.path.abspath(path) for path in paths]
    above = os.path.commonpath(absolute)
    return [os.path.relpath(path, above) for path in absolute]


def _kind(value: Any) -> str:
    return "object" if isinstance(value, dict) else type(value).__name__
