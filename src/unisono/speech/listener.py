"""What a listener is: speech in, words out. Knows no recogniser."""

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from unisono.speech.voice import Pcm

LISTENER_RATE_HZ = 16_000
"""Samples per second every listener expects."""


@dataclass(frozen=True, slots=True)
class Word:
    """One word heard; `text` keeps its punctuation but no spaces around it."""

    text: str
    start_s: float
    end_s: float
    probability: float
    """The recogniser's own, in [0, 1]."""


@dataclass(frozen=True, slots=True)
class Transcript:
    """Everything heard in one waveform; `text` is "" when nobody spoke."""

    text: str
    words: tuple[Word, ...]
    """In order; empty when word times were not asked for."""
    language: str
    """ISO 639-1 code ("en"); "" when nobody spoke and no language was given."""
    language_probability: float
    """1.0 for a language that was given, 0.0 when none was found."""
    duration_s: float
    """Of the waveform, silence included."""


@runtime_checkable
class Listener(Protocol):
    """Writes down what is said in a waveform."""

    def listen(
        self, waveform: Pcm, *, language: str | None = None, word_times: bool = True
    ) -> Transcript:
        """Return the words spoken in `waveform`, float32 mono 16 kHz [T].

        Args:
            waveform: the sound; empty or silent gives an empty transcript.
            language: ISO 639-1 code when known; None lets the listener find it.
            word_times: whether `Transcript.words` is wanted (it costs time).

        Raises:
            ValueError: the waveform is not one-dimensional.
        """
        ...
