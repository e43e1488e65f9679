"""Reads official checkpoints without running anything they bring along.

Official `.pt` files are pickles inside torch's zip (fairseq: a dict with `model`, and `cfg` or
`args` holding omegaconf or argparse objects); the vision branch's `.pkl` is a bare pickle. Of
their classes only tensors and plain containers are made; every other name becomes an `Inert`
object, whose contents can be looked at and which can do nothing.
"""

import io
import pickle
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor

from unisono.errors import ModelConfigError


class Inert:
    """Stands for an object of a class that is not on the allow-list: data, no behaviour."""

    def __new__(cls, *args: Any, **kwargs: Any) -> "Inert":
        """Take anything; remember it."""
        made = super().__new__(cls)
        made.__dict__["arguments"] = args
        return made

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """Nothing is set up: the pickle brings the state."""

    def __call__(self, *args: Any, **kwargs: Any) -> "Inert":
        """A function's result is as inert as the function."""
        return Inert()

    def __setstate__(self, state: Any) -> None:
        self.__dict__["state"] = state

    def __hash__(self) -> int:
        return id(self)

    def append(self, item: Any) -> None:
        """Items that a pickle adds to a list of its own kind are left out."""

    def extend(self, items: Any) -> None:
        """See `append`."""

    def __setitem__(self, key: Any, value: Any) -> None:
        """See `append`."""


def _storage(data: bytes) -> Any:
    """A tensor's storage inside a bare pickle; torch's own function would unpickle freely."""
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


def _tensor_builders() -> dict[tuple[str, str], Any]:
    names = ("_rebuild_tensor", "_rebuild_tensor_v2", "_rebuild_parameter")
    return {("torch._utils", name): getattr(torch._utils, name) for name in names}


ALLOWED: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("torch.storage", "_load_from_bytes"): _storage,
    **_tensor_builders(),
    **{("torch", str(t).removeprefix("torch.")): t for t in (torch.float16, torch.bfloat16)},
    **{("torch", name): getattr(torch, name) for name in ("Size", "device")},
    **{("builtins", t.__name__): t for t in (dict, list, set, tuple, int, float, bool, str)},
}
"""(module, name) -> what a checkpoint may make; storages are torch's own affair."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        return ALLOWED.get((module, name), Inert)


class _Restricted:
    """What `torch.load` takes for the pickle module."""

    __name__ = "restricted"
    Unpickler = _Unpickler
    UnpicklingError = pickle.UnpicklingError

    @staticmethod
    def load(file: BinaryIO, **kwargs: Any) -> Any:
        return _Unpickler(file, **kwargs).load()


@dataclass(frozen=True)
class OfficialFile:
    """An official checkpoint.

    Attributes:
        state: the weights, by their official names.
        cfg: the model's configuration as plain values; empty if the file has none.
    """

    state: dict[str, Tensor]
    cfg: dict[str, Any]


def read_official(path: Path) -> OfficialFile:
    """Read a `.pt` or `.pkl` checkpoint.

    Raises:
        ModelConfigError: it is not a checkpoint, or has no weights.
    """
    try:
        content = _load(path)
    except (pickle.UnpicklingError, RuntimeError, EOFError, AttributeError, TypeError) as error:
        raise ModelConfigError(f"{path.name!r} is not a checkpoint: {error}") from error
    if not isinstance(content, dict):
        raise ModelConfigError(
            f"{path.name!r} must hold a dict, but holds {type(content).__name__}"
        )
    state = content.get("model") or content.get("state_dict") or content
    weights = {k: v for k, v in state.items() if isinstance(v, Tensor)} if _mapping(state) else {}
    if not weights:
        raise ModelConfigError(f"{path.name!r} holds no weights under 'model' or 'state_dict'")
    return OfficialFile({k: v.detach() for k, v in weights.items()}, _model_cfg(content))


def _mapping(value: Any) -> bool:
    return isinstance(value, Mapping)


def _load(path: Path) -> Any:
    with path.open("rb") as file:
        head = file.read(4)
        file.seek(0)
        # torch's zip, or the magic number that its old format begins with
        if head[:2] == b"PK" or _is_old_torch(path):
            return torch.load(
                file, map_location="cpu", pickle_module=_Restricted, weights_only=False
            )
        return _Restricted.load(file)


def _is_old_torch(path: Path) -> bool:
    with path.open("rb") as file:
        return pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)[2:-1] in file.read(32)


def _model_cfg(content: Mapping[str, Any]) -> dict[str, Any]:
    cfg = plain(content.get("cfg")) or {}
    model = cfg.get("model") if isinstance(cfg, dict) else None
    return model if isinstance(model, dict) else plain(content.get("args")) or {}


def plain(value: Any) -> Any:
    """Dicts, lists and numbers out of inert objects: omegaconf's nodes, argparse's namespaces."""
    if isinstance(value, Inert):
        state = value.__dict__.get("state")
        inner = state if isinstance(state, dict) else {}
        for name in ("_content", "_val"):
            if name in inner:
                return plain(inner[name])
        return {k: plain(v) for k, v in inner.items() if not str(k).startswith("_")}
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value if isinstance(value, str | int | float | bool | None) else None
