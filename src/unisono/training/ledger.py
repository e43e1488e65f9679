"""Rows that were of no use: counted, named in a file, and too many of them end the run."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any, BinaryIO

from unisono.errors import DataError, TooManyBadRowsError

ENOUGH = 100
"""Rows that must have been drawn before a share says anything."""


class Ledger:
    """Counts what was drawn and what was bad."""

    def __init__(self, path: Path, share: float, rows: int | None = None) -> None:
        """Begin, or go on with what an earlier run wrote.

        Args:
            path: JSONL of bad rows: name, source, reason; each row once.
            share: of the drawn rows that may be bad, once `ENOUGH` were drawn.
            rows: of all sources; when so many were drawn and all were bad, that is enough too,
                whatever the share. None for `ENOUGH`.
        """
        self._path, self._share, self._rows = path, share, rows or ENOUGH
        self._drawn, self._bad = 0, 0
        self._reasons: Counter[str] = Counter()
        self._known = _names_in(path)

    def good(self) -> None:
        """A row was drawn and can be used."""
        self._drawn += 1

    def bad(self, name: str, source: str, error: Exception) -> None:
        """A row was drawn and cannot be used.

        Raises:
            TooManyBadRowsError: it was one too many.
            DataError: the file of bad rows cannot be written.
        """
        self._drawn += 1
        self._bad += 1
        reason = " ".join(str(error).split()).removeprefix(f"{name}: ")
        self._reasons[f"{source}: {type(error).__name__}"] += 1
        if name not in self._known:
            self._known.add(name)
            self._write({"name": name, "source": source, "reason": reason})
        too_many = self._drawn >= ENOUGH and self._bad > self._share * self._drawn
        nothing_good = self._drawn >= self._rows and self._bad == self._drawn
        if too_many or nothing_good:
            ((kind, count),) = self._reasons.most_common(1)
            raise TooManyBadRowsError(
                f"{self._bad} of {self._drawn} rows are of no use ({self._bad / self._drawn:.1%}, "
                f"guards.bad_rows allows {self._share:.1%}); most often {kind} ({count}), last "
                f"{name}: {reason}; all are in '{self._path}'"
            )

    def state(self) -> list[int]:
        """Drawn, bad."""
        return [self._drawn, self._bad]

    def restore(self, state: Any) -> None:
        """Go on with these counts."""
        self._drawn, self._bad = (int(x) for x in state)

    def _write(self, said: dict[str, str]) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with open(self._path, "a+b") as file:
                # A line that a crash cut short must not swallow this one.
                start = "\n" if _is_torn(file) else ""
                line = json.dumps(said, ensure_ascii=False)
                file.write(f"{start}{line}\n".encode())
        except OSError as error:
            raise DataError(f"'{self._path}' cannot be written: {error.strerror}") from error


def _is_torn(file: BinaryIO) -> bool:
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - 1))
    return end > 0 and file.read() != b"\n"


def _names_in(path: Path) -> set[str]:
    """Of the rows an earlier run wrote; a line that a crash cut short is passed over."""
    names = set()
    for line in path.read_bytes().splitlines() if path.is_file() else ():
        try:
            names.add(json.loads(line)["name"])
        except (ValueError, KeyError, TypeError):
            continue
    return names
