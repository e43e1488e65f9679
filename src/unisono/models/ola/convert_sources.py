"""Files with tensors in them, read one tensor at a time: safetensors, and pickles of torch.

Knows files, not Ola: which files make a checkpoint is `convert_official`'s affair.
"""

import pickle
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from unisono.errors import IncompleteFileError, ModelConfigError

Reader = Callable[[str], Tensor]
"""A key of the file -> its tensor."""

DTYPES: dict[str, torch.dtype] = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""What the safetensors format calls them -> torch."""


@dataclass(frozen=True)
class TensorInfo:
    """What is known of a tensor before it is read."""

    dtype: torch.dtype
    shape: tuple[int, ...]


class TensorFile(Protocol):
    """A file of named tensors."""

    @property
    def path(self) -> Path:
        """Where it is."""
        ...

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """What is in it, by its key there."""
        ...

    def opened(self) -> AbstractContextManager[Reader]:
        """Open the file for reading; memory is given back when it is closed."""
        ...


class SafetensorsFile:
    """A .safetensors file.

    Raises:
        IncompleteFileError: it is cut short, or is no such file.
        ModelConfigError: a tensor is of a kind that no checkpoint of ours has.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._open() as file:
            slices = {key: file.get_slice(key) for key in file.keys()}  # noqa: SIM118 -- no dict
            self.tensors = {
                key: TensorInfo(self._dtype(key, one.get_dtype()), tuple(one.get_shape()))
                for key, one in slices.items()
            }

    @contextmanager
    def opened(self) -> Iterator[Reader]:
        """Open the file; tensors come straight from its pages."""
        with self._open() as file:
            yield file.get_tensor

    def _dtype(self, key: str, name: str) -> torch.dtype:
        if name not in DTYPES:
            raise ModelConfigError(
                f"{key} in {self.path.name} must be one of {', '.join(DTYPES)}, "
                f"but is {name} instead"
            )
        return DTYPES[name]

    def _open(self) -> Any:
        try:
            return safe_open(self.path, framework="pt")
        except (SafetensorError, OSError) as error:
            raise IncompleteFileError(f"{self.path} cannot be read: {_first_line(error)}") from None


class PickleFile:
    """A file of `torch.save`, a dict of tensors or a dict that has one inside.

    Read with `weights_only`, so that nothing in it is executed.

    Args:
        path: the file.
        part: the key under which the tensors are; None if the whole is them.

    Raises:
        IncompleteFileError: it is cut short, or is no such file.
        ModelConfigError: it holds something else than tensors.
    """

    def __init__(self, path: Path, part: str | None = None) -> None:
        self.path = path
        self._part = part
        content = load_pickle(path)
        self.facts = {key: value for key, value in content.items() if key != part}
        self.tensors = {
            key: TensorInfo(tensor.dtype, tuple(tensor.shape))
            for key, tensor in self._state(content).items()
        }

    @contextmanager
    def opened(self) -> Iterator[Reader]:
        """Open the file; tensors come straight from its pages."""
        yield self._state(load_pickle(self.path)).__getitem__

    def _state(self, content: Mapping[str, Any]) -> Mapping[str, Tensor]:
        state = content if self._part is None else content.get(self._part)
        if not isinstance(state, Mapping) or not all(isinstance(v, Tensor) for v in state.values()):
            where = f"under {self._part!r}" if self._part else "at its top"
            raise ModelConfigError(f"{self.path} must have a dict of tensors {where}")
        return state


def load_pickle(path: Path) -> Mapping[str, Any]:
    """What `torch.save` wrote, its tensors left in the file until they are looked at.

    Raises:
        IncompleteFileError: it cannot be read.
        ModelConfigError: it is no dict, or holds more than tensors and plain values.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise ModelConfigError(
            f"{path} must hold tensors and plain values only: {_first_line(error)}"
        ) from None
    except (RuntimeError, OSError, EOFError, ValueError) as error:
        raise IncompleteFileError(f"{path} cannot be read: {_first_line(error)}") from None
    if not isinstance(content, Mapping):
        raise ModelConfigError(f"{path} must hold a dict, but holds a {type(content).__name__}")
    return content


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
