"""From a name to something that makes vectors."""

import json
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from unisono.errors import IncompleteFileError, ModelConfigError, UnisonoError, UnknownModelError
from unisono.hub import ModelEntry, load_catalog
from unisono.models import OnePeaceConfig, OnePeaceModel, OnePeaceProcessor
from unisono.runtime.embedder import Embedder
from unisono.runtime.load_catalog import shipped, shipped_digest


def is_embedding_model(name: str | os.PathLike[str]) -> bool:
    """Whether a model makes vectors: by its entry in the catalog, or a folder's config.json."""
    if _shipped_entry(name) is not None:
        return True
    try:
        config = json.loads((Path(name) / "config.json").read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(config, dict) and config.get("model_type") == OnePeaceConfig.model_type


def load_embedder(
    name: str | os.PathLike[str] = "onepeace-nano",
    *,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
) -> Embedder:
    """Load a representation model from the catalog, a folder or a model hub.

    Args:
        name: a model of the catalog, a folder written by `save_pretrained` or `unisono convert`,
            or "owner/name".
        device: by default CUDA where there is one.
        dtype: of the weights; by default bfloat16 on CUDA, float32 on a CPU.

    Raises:
        UnknownModelError: there is no such model, or its files cannot be read.
        ModelConfigError: it is a model of another kind.
    """
    entry = _shipped_entry(name)
    if entry is None and not Path(name).is_dir() and str(name).count("/") != 1:
        raise UnknownModelError(
            f"there is no folder '{name}', and the catalog has no embedding model of this name; "
            "name a folder that `unisono convert` or `unisono train` made"
        )
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    dtype = dtype or (torch.bfloat16 if device.type == "cuda" else torch.float32)
    with nullcontext(name) if entry is None else shipped(entry) as place:
        model, processor = _read(place, str(name), dtype)
    fingerprint = f"{name} {shipped_digest(entry)} {dtype}" if entry else _fingerprint(name, dtype)
    return Embedder(model.to(device), processor, name=str(name), fingerprint=fingerprint)


def _shipped_entry(name: str | os.PathLike[str]) -> ModelEntry | None:
    """The catalog's entry, if the name is that of a representation model."""
    entry = load_catalog().models.get(str(name))
    return entry if entry is not None and entry.kind == "onepeace" else None


def _read(
    place: str | os.PathLike[str], name: str, dtype: torch.dtype
) -> tuple[Any, OnePeaceProcessor]:
    try:
        config = AutoConfig.from_pretrained(place)
        if not isinstance(config, OnePeaceConfig):
            raise ModelConfigError(
                f"'{name}' is a model of type {config.model_type!r}, which makes no embeddings"
            )
        processor = OnePeaceProcessor.from_pretrained(place)
        return OnePeaceModel.from_pretrained(place, dtype=dtype), processor
    except UnisonoError:
        raise
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UnknownModelError(
            f"no embedding model can be read from '{name}': {reason}"
        ) from error


def _fingerprint(name: str | os.PathLike[str], dtype: torch.dtype) -> str:
    """Of a model that is not shipped: another one whenever the vectors may be others."""
    folder = Path(name)
    if not folder.is_dir():
        return f"{name} {dtype}"
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise IncompleteFileError(f"the folder '{name}' has no weights")
    states = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in weights]
    return f"{folder.resolve()} {dtype} {states}"
