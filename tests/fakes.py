"""Stand-ins whose work can be counted and timed: an engine with a script, a voice, a listener."""

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import tiny
import torch
from torch import Tensor

from unisono.engines import Engine, TorchEngine
from unisono.models.ola import OlaProcessor
from unisono.runtime import Assistant
from unisono.runtime.answer import Reader
from unisono.speech import Transcript

Interval = tuple[float, float]
"""`time.perf_counter()` at the beginning and at the end of a piece of work."""


@dataclass
class CountingCache:
    """Remembers only how long it is."""

    length: int = 0

    def truncate(self, length: int) -> None:
        self.length = min(length, self.length)


class ScriptedEngine(Engine):
    """Says a given text, a byte a token, taking a given time for each."""

    def __init__(self, text: str, *, step_s: float = 0.0, context_length: int = 4096) -> None:
        self._tokenizer = tiny.byte_tokenizer()
        self._script = [*self._tokenizer.encode(text), self._tokenizer.eos_token_id]
        self._index = 0
        self._step_s = step_s
        self.name, self.width, self.context_length = "scripted", 1, context_length
        self.stop_ids = frozenset({self._tokenizer.eos_token_id})
        self.intervals: list[Interval] = []

    def embed(self, ids: Sequence[int]) -> Tensor:
        return torch.tensor(list(ids), dtype=torch.float32)[:, None]

    def new_cache(self) -> CountingCache:
        return CountingCache()

    def read(self, embeddings: Tensor, cache: Any) -> Tensor:
        self._index = -1
        return self._forward(len(embeddings), cache)

    def step(self, token: int, cache: Any) -> Tensor:
        assert token == self._script[self._index]
        return self._forward(1, cache)

    def _forward(self, count: int, cache: Any) -> Tensor:
        started = time.perf_counter()
        time.sleep(self._step_s)
        self.intervals.append((started, time.perf_counter()))
        cache.length += count
        self._index += 1
        logits = torch.zeros(len(self._tokenizer))
        logits[self._script[self._index]] = 1.0
        return logits


class SpyEngine(TorchEngine):
    """A real engine that notes how many rows each `read` was given."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.rows_read: list[int] = []
        self.steps = 0

    def read(self, embeddings: Tensor, cache: Any) -> Tensor:
        self.rows_read.append(len(embeddings))
        return super().read(embeddings, cache)

    def step(self, token: int, cache: Any) -> Tensor:
        self.steps += 1
        logits = super().read(self.embed([token]), cache)
        return logits


@dataclass
class FakeVoice:
    """Says a text as `chunks` chunks of 100 samples, each holding the sentence's number."""

    chunk_s: Callable[[], float] = lambda: 0.0
    chunks: int = 2
    fails_at: int | None = None
    sample_rate_hz: int = 8000
    language: str = "en-US"
    said: list[str] = field(default_factory=list)
    intervals: list[Interval] = field(default_factory=list)
    threads: set[int] = field(default_factory=set)

    def speak(self, text: str) -> Iterator[np.ndarray]:
        number = len(self.said)
        self.said.append(text)
        self.threads.add(threading.get_ident())
        if number == self.fails_at:
            raise RuntimeError(f"the voice broke at {text!r}")
        for _ in range(self.chunks):
            started = time.perf_counter()
            time.sleep(self.chunk_s())
            self.intervals.append((started, time.perf_counter()))
            yield np.full(100, number / 100, dtype=np.float32)


@dataclass
class FakeListener:
    """Hears the same words in every sound."""

    words: str
    calls: int = 0

    def listen(self, waveform: np.ndarray, **_: Any) -> Transcript:
        self.calls += 1
        return Transcript(self.words, (), "en", 1.0, len(waveform) / 16_000)


def scripted(
    engine: ScriptedEngine,
    voice: FakeVoice | None = None,
    listener: FakeListener | None = None,
) -> Assistant:
    """An assistant that says the engine's text."""
    config = tiny.ola_config()
    if listener:
        config.hearing = "listener"
    processor = OlaProcessor(tiny.byte_tokenizer(), config)
    return Assistant(
        Reader(processor, engine),
        make_voice=(lambda: voice) if voice else None,
        make_listener=(lambda: listener) if listener else None,
        name="scripted",
    )


def assistant(
    *, voice: FakeVoice | None = None, listener: FakeListener | None = None, **kwargs: Any
) -> Assistant:
    """An assistant over a tiny random model and a `SpyEngine`; `kwargs` are `tiny.ola`'s."""
    model, processor = tiny.ola(**kwargs)
    return Assistant(
        Reader(processor, SpyEngine(model.language_model), model.encoders),
        make_voice=(lambda: voice) if voice else None,
        make_listener=(lambda: listener) if listener else None,
        name="tiny",
    )


def tone(duration_s: float = 1.0, hz: float = 440.0) -> np.ndarray:
    """A sine, float32 at 16 kHz."""
    seconds = np.arange(round(duration_s * 16_000)) / 16_000
    return (0.3 * np.sin(2 * np.pi * hz * seconds)).astype(np.float32)
