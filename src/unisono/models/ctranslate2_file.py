"""The weights file of CTranslate2, "model.bin": a list of named arrays.

Knows the bytes, not what the arrays mean. Little-endian throughout:

    uint32 version, string spec, uint32 revision
    uint32 count, then for each variable
        string name, uint8 rank, uint32 of each dimension, uint8 type, uint32 bytes, the values
    uint32 count, then for each alias: string alias, string name

A string is a uint16 length, its UTF-8 bytes and a NUL, which the length counts.
"""

import math
import struct
from dataclasses import dataclass
from mmap import ACCESS_READ, mmap
from pathlib import Path

import torch
from torch import Tensor

from unisono.errors import IncompleteFileError, ModelConfigError

_VERSION = 6
_TYPES = (
    *(torch.float32, torch.int8, torch.int16, torch.int32, torch.float16),
    torch.bfloat16,
)
"""In the order of CTranslate2's `DataType`."""

_MOST_DIMENSIONS = 8
_SCALE = "_scale"


@dataclass(frozen=True)
class _Place:
    offset: int
    shape: tuple[int, ...]
    dtype: torch.dtype

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


class Ctranslate2File:
    """The arrays of one file; values are read when they are asked for.

    Attributes:
        path: the file.
        spec: the kind of model, "WhisperSpec" say.
        revision: of that kind.
    """

    def __init__(self, path: Path) -> None:
        """Read the names, shapes and places of all arrays.

        Raises:
            IncompleteFileError: the file ends too early.
            ModelConfigError: it is no such file, or contradicts itself.
            OSError: it cannot be opened.
        """
        self.path = path
        with path.open("rb") as file:
            if path.stat().st_size == 0:
                raise IncompleteFileError(f"{path.name!r} is empty")
            self._bytes = mmap(file.fileno(), 0, access=ACCESS_READ)
        self._at = 0
        if (version := self._number("I")) != _VERSION:
            raise ModelConfigError(
                f"{path.name!r} must be a CTranslate2 model of version {_VERSION}, but says "
                f"{version}"
            )
        self.spec = self._string()
        self.revision = self._number("I")
        self._places = self._variables()
        self._add_aliases()
        if self._at != len(self._bytes):
            raise ModelConfigError(f"{path.name!r} goes on where it should end")

    def keys(self) -> list[str]:
        """All names, aliases among them, in the order of the file."""
        return list(self._places)

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of an array.

        Raises:
            ModelConfigError: there is none of this name.
        """
        return self._place(name).shape

    def tensor(self, name: str) -> Tensor:
        """The values as they are stored.

        Raises:
            ModelConfigError: there is no array of this name.
        """
        place = self._place(name)
        # A copy: the file's arrays are not aligned.
        values = bytearray(self._bytes[place.offset : place.offset + place.nbytes])
        if not values:
            return torch.empty(place.shape, dtype=place.dtype)
        return torch.frombuffer(values, dtype=place.dtype).reshape(place.shape)

    def weight(self, name: str) -> Tensor:
        """The values as real numbers: what was quantised is divided by its scales.

        CTranslate2 stores round(scale * w): int8 with a scale for each row, int16 with one.

        Raises:
            ModelConfigError: there is no array of this name.
        """
        values = self.tensor(name)
        if values.dtype not in (torch.int8, torch.int16):
            return values
        scale = self.tensor(name + _SCALE).to(torch.float32)
        rows = scale.reshape(-1, *[1] * (values.dim() - 1)) if scale.numel() > 1 else scale
        return values.to(torch.float32) / rows

    def _place(self, name: str) -> _Place:
        if name not in self._places:
            raise ModelConfigError(f"{self.path.name!r} has no array {name!r}")
        return self._places[name]

    def _variables(self) -> dict[str, _Place]:
        places: dict[str, _Place] = {}
        for _ in range(self._number("I")):
            name = self._string()
            if name in places:
                raise ModelConfigError(f"{self.path.name!r} has {name!r} twice")
            places[name] = self._described(name)
        return places

    def _described(self, name: str) -> _Place:
        rank = self._number("B")
        if rank > _MOST_DIMENSIONS:
            raise ModelConfigError(f"{name!r} of {self.path.name!r} has {rank} dimensions")
        shape = tuple(self._number("I") for _ in range(rank))
        kind, size = self._number("B"), self._number("I")
        if kind >= len(_TYPES):
            raise ModelConfigError(f"{name!r} of {self.path.name!r} is of unknown type {kind}")
        place = _Place(self._at, shape, _TYPES[kind])
        if place.nbytes != size:
            raise ModelConfigError(
                f"{name!r} of {self.path.name!r} must have {place.nbytes} bytes, but has {size}"
            )
        self._advance(size)
        return place

    def _add_aliases(self) -> None:
        for _ in range(self._number("I")):
            alias, name = self._string(), self._string()
            if alias in self._places:
                raise ModelConfigError(f"{self.path.name!r} has {alias!r} twice")
            self._places[alias] = self._place(name)

    def _number(self, form: str) -> int:
        start = self._advance(struct.calcsize(f"<{form}"))
        return int(struct.unpack_from(f"<{form}", self._bytes, start)[0])

    def _string(self) -> str:
        size = self._number("H")
        start = self._advance(size)
        raw = self._bytes[start : start + size]
        try:
            if not raw.endswith(b"\0"):
                raise ValueError
            return raw[:-1].decode()
        except ValueError as error:
            raise ModelConfigError(f"{self.path.name!r} is no CTranslate2 model") from error

    def _advance(self, size: int) -> int:
        """Go on by `size` bytes; where they start."""
        start, self._at = self._at, self._at + size
        if self._at > len(self._bytes):
            raise IncompleteFileError(
                f"{self.path.name!r} ends after {len(self._bytes)} bytes, in the middle of it"
            )
        return start
