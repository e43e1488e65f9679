"""Unisono: models that read, see, hear and speak.

    import unisono
    assistant = unisono.load("ola-nano")
    print(assistant.chat("What is the capital of France?").text)

Importing this package loads neither torch nor transformers; `load` does.
"""

import os
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from unisono.errors import UnisonoError

if TYPE_CHECKING:
    from unisono.runtime import (
        Assistant,
        Embedder,
        Finished,
        GenerationSettings,
        Predictor,
        Reply,
        Session,
        SpeechChunk,
        TextDelta,
        load,
        load_assistant,
        load_embedder,
        load_predictor,
    )

try:
    __version__ = version("unisono")
except PackageNotFoundError:  # a source tree on the path, not installed
    __version__ = "0.0.0"

_FROM_RUNTIME = (
    "Assistant",
    "Embedder",
    "Finished",
    "GenerationSettings",
    "Predictor",
    "Reply",
    "Session",
    "SpeechChunk",
    "TextDelta",
    "load",
    "load_assistant",
    "load_embedder",
    "load_predictor",
)

__all__ = [
    "Assistant",
    "Embedder",
    "Finished",
    "GenerationSettings",
    "Predictor",
    "Reply",
    "Session",
    "SpeechChunk",
    "TextDelta",
    "UnisonoError",
    "load",
    "load_assistant",
    "load_embedder",
    "load_predictor",
]


def calm_openmp() -> None:
    """Let idle OpenMP threads sleep soon instead of spinning for milliseconds.

    With GNU OpenMP's default, two decoding threads on two cores fall from 100 tokens/s to 2 as
    soon as another program wants a core; with this count they keep 85 (docs/decisions/0002).
    It is read when torch is imported, so a program that imports torch first keeps its own.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", "50000")


def __getattr__(name: str) -> Any:
    if name in _FROM_RUNTIME:
        calm_openmp()
        return getattr(import_module("unisono.runtime"), name)
    raise AttributeError(f"module 'unisono' has no attribute {name!r}")
