"""Rows of a published data set: its index is read at once, a row is made when it is asked for."""

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from io import StringIO
from pathlib import Path
from typing import Any, TypeVar

from unisono.errors import BadRowError, DataError
from unisono.manifests.files import fingerprint
from unisono.manifests.place import Place
from unisono.manifests.row import PairRow

RecordT = TypeVar("RecordT")
MakeRow = Callable[[RecordT, str], PairRow]
"""From a record and the row's name; raises BadRowError, KeyError, TypeError or ValueError where
the record is broken."""


class Records:
    """A `Manifest` over the records of a data set.

    Attributes:
        fingerprint: of the files that the records come from.
        classes: names that the data set publishes for its labels, in its order; None if it has
            no list of them.
    """

    def __init__(
        self,
        records: Sequence[tuple[str, RecordT]],
        make: MakeRow[RecordT],
        *,
        files: Sequence[Path],
        classes: Sequence[str] | None = None,
    ) -> None:
        """Take records as they were read.

        Args:
            records: where each stands, for a person to find, and the record.
            make: a row of one.
            files: that they come from.
            classes: see above.

        Raises:
            DataError: there are no records.
        """
        if not records:
            raise DataError(f"'{files[0]}' has no rows of what was asked for")
        self._records, self._make = records, make
        self.fingerprint = fingerprint(files)
        self.classes = None if classes is None else tuple(classes)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> PairRow:
        if not 0 <= index < len(self):
            raise IndexError(f"there are {len(self)} rows, but {index} was asked for")
        name, record = self._records[index]
        try:
            return self._make(record, name)
        except BadRowError as error:
            raise BadRowError(f"{name}: {str(error).removeprefix(f'{name}: ')}") from None
        except KeyError as error:
            raise BadRowError(f"{name}: there is no {error}") from None
        except (TypeError, ValueError, AttributeError, IndexError) as error:
            raise BadRowError(f"{name}: {error}") from None


def read_json(path: Path, *wanted: str) -> dict[str, Any]:
    """A JSON object with lists under some keys.

    Raises:
        DataError: the file cannot be read, or has no such lists.
    """
    try:
        found = json.loads(path.read_bytes())
    except OSError as error:
        raise DataError(f"'{path}' cannot be read: {error.strerror}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"'{path}' is not JSON: {error}") from None
    lists = {name for name in wanted if isinstance(found, dict) and _is_list(found.get(name))}
    if missing := [name for name in wanted if name not in lists]:
        raise DataError(f"'{path}' must have a list {', '.join(missing)}, but has none")
    return dict(found)


def read_table(path: Path, *columns: str) -> list[tuple[str, dict[str, str]]]:
    """Lines of a CSV file with a header, each with its place; blank ones are passed over.

    Raises:
        DataError: it cannot be read, or lacks a column.
    """
    reader = csv.DictReader(StringIO(_text(path)))
    try:
        lines = [(f"{path.name}:{reader.line_num}", line) for line in reader]
    except csv.Error as error:
        raise DataError(f"'{path}' is no CSV: {error}") from None
    if missing := [name for name in columns if name not in (reader.fieldnames or ())]:
        raise DataError(
            f"'{path}' must have the columns {', '.join(columns)}, but lacks {', '.join(missing)}"
        )
    return lines


def read_lines(path: Path) -> list[tuple[str, str]]:
    """Lines of a text file that are not blank, each with its place.

    Raises:
        DataError: it cannot be read.
    """
    lines = enumerate(_text(path).splitlines(), 1)
    return [(f"{path.name}:{number}", line) for number, line in lines if line.strip()]


def filled(record: Mapping[str, Any], column: str) -> str:
    """A text that must be there, without white space around it.

    Raises:
        BadRowError: it is not.
    """
    value = record.get(column)
    if not isinstance(value, str) or not value.strip():
        raise BadRowError(f"{column} must be a text, but is {value!r:.80} instead")
    return value.strip()


def first_file(folder: Path, names: Sequence[str]) -> str:
    """The first of several files that is there.

    Raises:
        BadRowError: none is.
    """
    for name in names:
        path = Path(Place(folder).path(name))
        if path.is_file():
            return str(path)
    raise BadRowError(f"there is no '{folder / names[0]}', nor another of its possible names")


def inside(folder: Path, name: str) -> str:
    """A path that a data set names, below a folder.

    Raises:
        BadRowError: it leads out of it.
    """
    return Place(folder).path(name)


def one_of(value: str, known: Sequence[str], what: str) -> str:
    """A choice.

    Raises:
        DataError: it is none of those known.
    """
    if value not in known:
        raise DataError(f"{what} must be one of {', '.join(known)}, but is {value!r} instead")
    return value


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"'{path}' cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise DataError(f"'{path}' is no text in UTF-8") from None
