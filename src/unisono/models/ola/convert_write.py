"""Shards on disk: written tensor by tensor, taken up again where it stopped, and read back.

A file has its final name only when it is whole: it is written beside it and renamed. The format
is safetensors'; the library's own writer wants all tensors of a file at once, this one never
holds more than one.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from safetensors import SafetensorError, safe_open

from unisono.errors import IncompleteFileError
from unisono.models.ola.convert_plan import Shard, as_bytes, read_sources, same_bits
from unisono.models.ola.convert_sources import DTYPES

INDEX = "model.safetensors.index.json"
PART = ".part"
"""What the name of a file that is being written ends with."""

Advance = Callable[[int], None]
"""Told the bytes done since it was last called."""

_NAMES = {dtype: name for name, dtype in DTYPES.items()}
_HEADER_UNIT = 8
"""The header is filled up with spaces to a multiple of this many bytes."""


@contextmanager
def replacing(path: Path) -> Iterator[IO[bytes]]:
    """Write a file beside `path`, which it becomes when the block ends well."""
    part = path.with_name(path.name + PART)
    try:
        with part.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file, whole or not at all."""
    with replacing(path) as file:
        file.write(as_json(content))


def as_json(content: Mapping[str, Any]) -> bytes:
    """The bytes of `write_json`."""
    return json.dumps(content, indent=2, ensure_ascii=False).encode() + b"\n"


def shard_header(shard: Shard) -> bytes:
    """What stands before the tensors' bytes: its own length, and where each tensor is."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    start = 0
    for tensor in shard.tensors:
        end = start + tensor.size_bytes
        header[tensor.key] = {
            "dtype": _NAMES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [start, end],
        }
        start = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _HEADER_UNIT)
    return len(text).to_bytes(8, "little") + text


def shard_size_bytes(shard: Shard) -> int:
    """The size of the file."""
    return len(shard_header(shard)) + sum(tensor.size_bytes for tensor in shard.tensors)


def is_written(shard: Shard, folder: Path) -> bool:
    """Whether the file is there and of the right size; a half one has another name."""
    path = folder / shard.name
    return path.is_file() and path.stat().st_size == shard_size_bytes(shard)


def write_shard(shard: Shard, folder: Path, advance: Advance) -> None:
    """Write one file.

    Raises:
        ModelConfigError: copies of one tensor differ.
        OSError: the disk is full, say.
    """
    with replacing(folder / shard.name) as file:
        file.write(shard_header(shard))
        for planned, tensor in read_sources(shard.tensors):
            file.write(as_bytes(tensor).numpy().data)
            advance(planned.size_bytes)


def verify_shard(shard: Shard, folder: Path, advance: Advance) -> None:
    """Read a file and what it was made of once more, and compare every bit.

    A file that fails is removed, so that the next run writes it again.

    Raises:
        IncompleteFileError: a tensor is missing or differs.
    """
    path = folder / shard.name
    try:
        with safe_open(path, framework="pt") as file:
            wrong = _first_difference(shard, file, advance)
    except SafetensorError as error:
        wrong = str(error)
    if wrong is not None:
        path.unlink()
        raise IncompleteFileError(
            f"{path} differs from what it was made of ({wrong}) and was removed; run again"
        )


def _first_difference(shard: Shard, file: Any, advance: Advance) -> str | None:
    if set(file.keys()) != {tensor.key for tensor in shard.tensors}:
        return "other tensors"
    for planned, expected in read_sources(shard.tensors):
        if not same_bits(file.get_tensor(planned.key), expected):
            return planned.key
        advance(planned.size_bytes)
    return None


def write_index(shards: Sequence[Shard], folder: Path) -> None:
    """Write what tells which shard a tensor is in; one shard needs none."""
    if len(shards) == 1:
        return
    weight_map = {tensor.key: shard.name for shard in shards for tensor in shard.tensors}
    total = sum(tensor.size_bytes for shard in shards for tensor in shard.tensors)
    index = {
        "metadata": {"total_size": total},
        "weight_map": dict(sorted(weight_map.items())),
    }
    write_json(folder / INDEX, index)
