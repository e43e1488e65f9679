"""Sounds in windows."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from unisono.media import SAMPLE_RATE_HZ
from unisono.media.source import Waveform
from unisono.retrieval.piece import Piece
from unisono.retrieval.thumbnail import waveform_jpeg

WINDOW_S = 10.0
"""Within the 15 s that ONE-PEACE hears at most."""
_LEAST_S = 1.0
"""A shorter rest is heard with the window before it."""


def audio_pieces(samples: NDArray[np.float32]) -> Iterator[Piece]:
    """Windows of a sound [T] at 16 kHz, one behind another."""
    duration_s = len(samples) / SAMPLE_RATE_HZ
    for first, last in windows(duration_s):
        part = samples[round(first * SAMPLE_RATE_HZ) : round(last * SAMPLE_RATE_HZ)]
        yield Piece(
            "audio",
            {"audio": Waveform(part, SAMPLE_RATE_HZ)},
            start_s=first,
            end_s=last,
            duration_s=duration_s,
            thumbnail=waveform_jpeg(part),
        )


def windows(duration_s: float) -> list[tuple[float, float]]:
    """Begin and end of each, in seconds: equal windows, and a rest that is long enough."""
    count = max(1, int(duration_s // WINDOW_S))
    bounds = [number * WINDOW_S for number in range(count)]
    if duration_s - count * WINDOW_S >= _LEAST_S:
        bounds.append(count * WINDOW_S)
    return list(zip(bounds, [*bounds[1:], duration_s], strict=True))
