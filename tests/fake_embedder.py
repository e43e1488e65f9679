"""An embedder whose vectors are made of words: no weights, no wait, and what is alike is known.

A text is the sum of its words' vectors, a picture is its colour's name, a sound is "low" or
"high", each with a little of its own content added. So the text "red" finds red pictures. Items,
fusion, video and errors are the real `Embedder`'s.
"""

import hashlib
import re
import time
from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch

from unisono.media import SAMPLE_RATE_HZ
from unisono.runtime.embedder import Embedder, Vector

COLOURS = {
    "red": (220, 30, 30),
    "green": (30, 200, 30),
    "blue": (30, 30, 220),
    "yellow": (230, 230, 30),
    "black": (0, 0, 0),
    "white": (255, 255, 255),
}
LOW_BELOW_HZ = 500
_OWN = 0.2
"""How much of its own content, besides its word, is in the vector of a picture or a sound."""


class FakeEmbedder(Embedder):
    """As `Embedder`, made of words.

    Attributes:
        pieces: how many texts, pictures and sounds were embedded, by modality.
        calls: how many batches.
    """

    def __init__(
        self,
        *,
        width: int = 64,
        name: str = "fake",
        fingerprint: str = "",
        delay_s: float = 0.0,
        modalities: Sequence[str] = ("text", "image", "audio"),
    ) -> None:
        self.model: Any = SimpleNamespace(
            config=SimpleNamespace(modalities=tuple(modalities), hidden_size=width),
            device=torch.device("cpu"),
            scale=lambda: torch.tensor(10.0),
        )
        self.processor: Any = None
        self.name = name
        self.fingerprint = fingerprint or name
        self.width = width
        self.video_frames = 4
        self.delay_s = delay_s
        self.pieces: Counter[str] = Counter()
        self.calls = 0

    def _tokens(self, modality: str, content: Any) -> int:
        return 1

    def _embed_batch(self, modality: str, contents: list[Any]) -> Vector:
        self.calls += 1
        self.pieces[modality] += len(contents)
        time.sleep(self.delay_s)
        return np.stack([self._vector(modality, content) for content in contents])

    def _vector(self, modality: str, content: Any) -> Vector:
        if modality == "text":
            words = re.findall(r"\w+", content.lower()) or [content]
            total = np.sum([word_vector(word, self.width) for word in words], axis=0)
        else:
            pixels = np.asarray(content)
            word = colour_of(pixels) if modality == "image" else pitch_of(pixels)
            own = hashlib.sha256(np.ascontiguousarray(pixels).tobytes()).hexdigest()
            total = word_vector(word, self.width) + _OWN * word_vector(own, self.width)
        return np.asarray(total / max(np.linalg.norm(total), 1e-12), dtype=np.float32)


def word_vector(word: str, width: int) -> Vector:
    """[width], of length 1 and the same in every process."""
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "little")
    vector = np.random.default_rng(seed).standard_normal(width)
    return np.asarray(vector / np.linalg.norm(vector), dtype=np.float32)


def colour_of(pixels: Any) -> str:
    """The name of the colour nearest to the mean of [H, W, 3]."""
    mean = np.asarray(pixels, dtype=np.float64).reshape(-1, 3).mean(axis=0)
    return min(COLOURS, key=lambda name: float(np.sum((mean - COLOURS[name]) ** 2)))


def pitch_of(samples: Any) -> str:
    """ "low" or "high", by the strongest frequency of [samples]."""
    strengths = np.abs(np.fft.rfft(np.asarray(samples, dtype=np.float64)))
    strongest_hz = float(np.argmax(strengths)) * SAMPLE_RATE_HZ / max(1, len(samples))
    return "low" if strongest_hz < LOW_BELOW_HZ else "high"
