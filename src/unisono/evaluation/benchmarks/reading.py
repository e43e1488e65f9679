"""The files that benchmarks are published in: tables of records, with media in them or beside them.

TSV with base64 pictures (VLMEvalKit), Parquet with encoded pictures (the Hugging Face hub), JSON
arrays, JSON objects of records, and JSON lines.
"""

import base64
import binascii
import csv
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from unisono.errors import BadRowError, DataError, MissingExtraError
from unisono.manifests.files import fingerprint
from unisono.manifests.row import Row

Record = Mapping[str, Any]
"""One line of a published file: column -> value."""

MakeRow = Callable[[str, Record, Path], Row]
"""From the row's name, the record, and the folder that its paths are relative to."""


class BenchmarkRows:
    """Rows by number, each made when it is asked for."""

    def __init__(self, paths: Sequence[Path], make: MakeRow, media: Path | None = None) -> None:
        """Open published files.

        Args:
            paths: .tsv, .json, .jsonl or .parquet.
            make: a row of a record.
            media: folder that paths in records are relative to; None for each file's own.

        Raises:
            DataError: a file is missing, empty, or of no such kind.
            MissingExtraError: Parquet needs `datasets`.
        """
        self._tables = [(path, _opened(path)) for path in paths]
        self._make, self._media = make, media
        self.fingerprint = fingerprint(list(paths))
        if not len(self):
            raise DataError(f"'{paths[0]}' has no records")

    def __len__(self) -> int:
        return sum(len(table) for _, table in self._tables)

    def __getitem__(self, index: int) -> Row:
        for path, table in self._tables:
            if index < len(table):
                folder = self._media or path.parent
                return self._make(f"{path.name}:{index + 1}", table[index], folder)
            index -= len(table)
        raise IndexError(f"there are {len(self)} rows")


def field(name: str, record: Record, *columns: str) -> Any:
    """The first of some columns that a record has.

    Raises:
        BadRowError: it has none of them.
    """
    for column in columns:
        if is_said(value := record.get(column)):
            return value
    raise BadRowError(f"{name}: the record has no {' or '.join(columns)}")


def options(record: Record, letters: str = "ABCDEFGHI") -> dict[str, str]:
    """The columns A, B, C … that a record has, as far as they are filled."""
    found = {letter: record.get(letter) for letter in letters}
    return {letter: str(text) for letter, text in found.items() if is_said(text)}


def listed(name: str, value: Any) -> list[Any]:
    """A list, also where a file has it as text ("['a', 'b']").

    Raises:
        BadRowError: it is none.
    """
    if isinstance(value, str):
        value = _parsed(value)
    if not isinstance(value, list | tuple):
        raise BadRowError(f"{name}: there must be a list, but there is {value!r:.60} instead")
    return list(value)


def picture(name: str, value: Any, folder: Path) -> bytes | str:
    """A picture for `unisono.media`: encoded bytes, or a path.

    Args:
        name: of the row.
        value: base64, {"bytes": …, "path": …}, bytes, or a path.
        folder: that paths are relative to.

    Raises:
        BadRowError: it is none of these.
    """
    if isinstance(value, Mapping):
        value = value.get("bytes") or value.get("path")
    if isinstance(value, bytes):
        return value
    if not isinstance(value, str) or not value:
        raise BadRowError(f"{name}: there must be a picture, but there is {value!r:.60} instead")
    if len(value) < 1024 and (folder / value).is_file():
        return str(folder / value)
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise BadRowError(f"{name}: there is no picture '{value:.60}'") from None


def is_said(value: Any) -> bool:
    """Whether a field is filled: not None, NaN, or an empty text."""
    return value is not None and str(value).strip().lower() not in ("", "nan")


def _parsed(text: str) -> Any:
    import ast

    try:
        return json.loads(text)
    except ValueError:
        try:
            return ast.literal_eval(text)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return text


def _opened(path: Path) -> "Sequence[Record] | _Parquet":
    readers: dict[str, Callable[[Path], Sequence[Record] | _Parquet]]
    readers = {".tsv": _tsv, ".json": _json, ".jsonl": _lines, ".parquet": _Parquet}
    read = readers.get(path.suffix.lower())
    if read is None:
        raise DataError(f"a benchmark must be {', '.join(readers)}, but is '{path}'")
    try:
        return read(path)
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"'{path}' cannot be read: {error}") from error


def _tsv(path: Path) -> list[Record]:
    csv.field_size_limit(sys.maxsize)  # pictures are in it
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t"))


def _json(path: Path) -> list[Record]:
    """An array, or an object whose values are the records (MathVista)."""
    found = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(found, dict):
        values = list(found.values())
        keyed = all(isinstance(value, dict) for value in values)
        found = [{"key": key, **value} for key, value in found.items()] if keyed else _inner(values)
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise ValueError("it must hold a list of records")
    return found


def _inner(values: Sequence[Any]) -> Any:
    """The one list in an object that has one, {"data": […], …}."""
    lists = [value for value in values if isinstance(value, list)]
    return lists[0] if len(lists) == 1 else None


def _lines(path: Path) -> list[Record]:
    with path.open(encoding="utf-8") as file:
        return [json.loads(line) for line in file if line.strip()]


class _Parquet:
    """Records by number; the file is mapped, not read whole."""

    def __init__(self, path: Path) -> None:
        try:
            parquet: Any = import_module("pyarrow.parquet")
        except ImportError as error:
            raise MissingExtraError("Parquet", "eval") from error
        self._table = parquet.read_table(path, memory_map=True)

    def __len__(self) -> int:
        return int(self._table.num_rows)

    def __getitem__(self, index: int) -> Record:
        (record,) = self._table.slice(index, 1).to_pylist()
        found: Record = record
        return found

    def __iter__(self) -> Iterator[Record]:
        return (self[index] for index in range(len(self)))
