"""Loaded models at work: `load` makes an `Assistant`, an `Embedder` or a `Predictor`."""

from unisono.engines import GenerationSettings
from unisono.runtime.assistant import Assistant
from unisono.runtime.embedder import Embedded, Embedder
from unisono.runtime.events import Event, Finished, SpeechChunk, TextDelta, Timings, Usage
from unisono.runtime.load import load, load_assistant
from unisono.runtime.load_embedder import load_embedder
from unisono.runtime.load_predictor import load_predictor
from unisono.runtime.predictor import Answer, Predictor
from unisono.runtime.reply import Reply, Speech
from unisono.runtime.session import Session

__all__ = [
    "Answer",
    "Assistant",
    "Embedded",
    "Embedder",
    "Event",
    "Finished",
    "GenerationSettings",
    "Predictor",
    "Reply",
    "Session",
    "Speech",
    "SpeechChunk",
    "TextDelta",
    "Timings",
    "Usage",
    "load",
    "load_assistant",
    "load_embedder",
    "load_predictor",
]
