"""The lines of text files by number, of files of any size."""

import mmap
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unisono.errors import DataError

_READ_AT_ONCE = 1 << 24
_SPACES = np.frombuffer(b" \t\r\n\v\f", dtype=np.uint8)


class Lines:
    """Lines that are not blank; only where they end is in memory, 8 bytes a line.

    Reading a line opens nothing and moves no position that threads or forked processes share.
    """

    def __init__(self, path: Path) -> None:
        """Find all lines.

        Raises:
            DataError: there is no such file, or it cannot be read.
        """
        self.path = path
        try:
            self._file = os.open(path, os.O_RDONLY)
            self._ends, self._kept = _index(self._file)
        except OSError as error:
            raise DataError(f"manifest '{path}' cannot be read: {error.strerror}") from None

    def __len__(self) -> int:
        return len(self._kept)

    def number(self, index: int) -> int:
        """The line's number in the file, from 1 on, as an editor shows it."""
        return int(self._kept[index]) + 1

    def __getitem__(self, index: int) -> bytes:
        line = self._kept[index]
        start = int(self._ends[line - 1]) + 1 if line else 0
        return os.pread(self._file, int(self._ends[line]) - start, start)

    def __del__(self) -> None:
        if hasattr(self, "_file"):
            os.close(self._file)


def _index(file: int) -> tuple[NDArray[np.int64], range | NDArray[np.int64]]:
    """[N] where each line ends, and the indices of those that are not blank."""
    size = os.fstat(file).st_size
    if not size:
        return np.empty(0, np.int64), range(0)
    with mmap.mmap(file, size, access=mmap.ACCESS_READ) as view:
        newlines, spaced = _newlines(view, size)
        closed = bool(newlines.size) and newlines[-1] == size - 1
        ends = newlines if closed else np.append(newlines, size)
        blank = [line for line in spaced if line < len(ends) and _is_blank(view, ends, line)]
    return ends, np.delete(np.arange(len(ends)), blank) if blank else range(len(ends))


def _newlines(view: mmap.mmap, size: int) -> tuple[NDArray[np.int64], Sequence[int]]:
    """Where newlines stand, and which lines begin with white space: only those may be blank."""
    found, spaced, lines = [], [0] if view[0] in _SPACES else [], 0
    for start in range(0, size, _READ_AT_ONCE):
        # One byte more, to see how a line begins whose newline is the block's last.
        block = np.frombuffer(view[start : start + _READ_AT_ONCE + 1], dtype=np.uint8)
        here = np.flatnonzero(block[:_READ_AT_ONCE] == ord("\n"))
        after = block[np.minimum(here + 1, len(block) - 1)]
        spaced += (np.flatnonzero(np.isin(after, _SPACES)) + 1 + lines).tolist()
        found.append(here + start)
        lines += len(here)
    return np.concatenate(found).astype(np.int64), spaced


def _is_blank(view: mmap.mmap, ends: NDArray[np.int64], line: int) -> bool:
    start = int(ends[line - 1]) + 1 if line else 0
    return not view[start : int(ends[line])].strip()
