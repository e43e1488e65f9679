"""From a name to something that makes vectors."""

import json
import os
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig

from unisono.errors import IncompleteFileError, ModelConfigError, UnisonoError, UnknownModelError
from unisono.models import OnePeaceConfig, OnePeaceModel, OnePeaceProcessor
from unisono.runtime.embedder import Embedder


def is_embedding_model(name: str | os.PathLike[str]) -> bool:
    """Whether a folder holds a model that makes vectors, by its config.json."""
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
    """Load a representation model from a folder or a model hub.

    Args:
        name: a folder written by `save_pretrained` or `unisono convert`, or "owner/name".
        device: by default CUDA where there is one.
        dtype: of the weights; by default bfloat16 on CUDA, float32 on a CPU.

    Raises:
        UnknownModelError: there is no such model, or its files cannot be read.
        ModelConfigError: it is a model of another kind.
    """
    if not Path(name).is_dir() and str(name).count("/") != 1:
        raise UnknownModelError(
            f"there is no folder '{name}', and the catalog has no embedding model of this name"
        )
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    dtype = dtype or (torch.bfloat16 if device.type == "cuda" else torch.float32)
    try:
        config = AutoConfig.from_pretrained(name)
        if not isinstance(config, OnePeaceConfig):
            raise ModelConfigError(
                f"'{name}' is a model of type {config.model_type!r}, which makes no embeddings"
            )
        processor = OnePeaceProcessor.from_pretrained(name)
        model: Any = OnePeaceModel.from_pretrained(name, dtype=dtype)
    except UnisonoError:
        raise
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UnknownModelError(
            f"no embedding model can be read from '{name}': {reason}"
        ) from error
    return Embedder(
        model.to(device), processor, name=str(name), fingerprint=_fingerprint(name, dtype)
    )


def _fingerprint(name: str | os.PathLike[str], dtype: torch.dtype) -> str:
    """Another one whenever the vectors may be others."""
    folder = Path(name)
    if not folder.is_dir():
        return f"{name} {dtype}"
    weights = sorted(folder.glob("*.safetensors"))
    if not weights:
        raise IncompleteFileError(f"the folder '{name}' has no weights")
    states = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in weights]
    return f"{folder.resolve()} {dtype} {states}"
