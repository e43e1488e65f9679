"""The journal of a stage: a line of JSON a step, without gaps or repetitions even after a crash."""

import json
import logging
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unisono.errors import CheckpointError

_LOG = logging.getLogger(__name__)

TIMES = frozenset({"seconds", "waited"})
"""What differs between a run and its repetition; all else is equal."""


class Journal:
    """An open journal; only one rank has it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab")

    def write(self, line: Mapping[str, Any]) -> None:
        """Add a line; numbers that are none become null.

        Raises:
            CheckpointError: the disk is full.
        """
        values = {key: _finite(value) for key, value in line.items()}
        try:
            self._file.write(json.dumps(values).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise self._unwritable(error) from error

    def position(self) -> int:
        """Bytes that are safely on the disk: what a checkpoint notes.

        Raises:
            CheckpointError: the disk is full or fails.
        """
        try:
            os.fsync(self._file.fileno())
        except OSError as error:
            raise self._unwritable(error) from error
        return self._file.tell()

    def cut_back(self, position: int) -> None:
        """Forget the lines behind a position: their steps will be done again."""
        size = self.path.stat().st_size
        if size < position:
            _LOG.warning("the journal '%s' has lost lines; it goes on behind them", self.path)
        self._file.truncate(min(size, position))
        self._file.seek(0, os.SEEK_END)

    def _unwritable(self, error: OSError) -> CheckpointError:
        return CheckpointError(f"the journal '{self.path}' cannot be written: {error.strerror}")

    def close(self) -> None:
        """Close the file; what could not be written was already reported."""
        try:
            self._file.close()
        except OSError:
            _LOG.warning("the last line of the journal '%s' is lost", self.path)


def read_journal(path: Path) -> Iterator[dict[str, Any]]:
    """The lines of a journal; one that a crash has cut short ends it."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        for line in file:
            try:
                yield json.loads(line)
            except ValueError:
                return


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(one) for key, one in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value
