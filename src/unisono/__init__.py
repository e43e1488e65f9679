"""Unisono: models that read, see, hear and speak.

    import unisono
    assistant = unisono.load("ola-nano")
    print(assistant.chat("What is the capital of France?").text)

Importing this package loads neither torch nor transformers; `load` does.
"""

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from unisono.errors import UnisonoError

if TYPE_CHECKING:
    from unisono.runtime import (
        Assistant,
        Finished,
        GenerationSettings,
        Reply,
        Session,
        SpeechChunk,
        TextDelta,
        load,
    )

try:
    __version__ = version("unisono")
except PackageNotFoundError:  # a source tree on the path, not installed
    __version__ = "0.0.0"

_FROM_RUNTIME = (
    "Assistant",
    "Finished",
    "GenerationSettings",
    "Reply",
    "Session",
    "SpeechChunk",
    "TextDelta",
    "load",
)

__all__ = [
    "Assistant",
    "Finished",
    "GenerationSettings",
    "Reply",
    "Session",
    "SpeechChunk",
    "TextDelta",
    "UnisonoError",
    "load",
]


def __getattr__(name: str) -> Any:
    if name in _FROM_RUNTIME:
        return getattr(import_module("unisono.runtime"), name)
    raise AttributeError(f"module 'unisono' has no attribute {name!r}")
