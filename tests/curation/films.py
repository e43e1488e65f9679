"""Small films for the tests: coloured scenes with tones, some seconds of each, in milliseconds."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from fake_embedder import COLOURS

from unisono.picturebook.clip_file import write_clip

RATE_HZ = 16_000
FRAMES_PER_S = 4
SIDE_PX = 64


def scene(colour: str, seconds: float, mark: int = 0) -> np.ndarray:
    """[F, H, W, 3] of one colour, with a bar that moves; `mark` draws it elsewhere."""
    frames = np.empty((round(seconds * FRAMES_PER_S), SIDE_PX, SIDE_PX, 3), np.uint8)
    frames[:] = COLOURS[colour]
    for number, frame in enumerate(frames):
        left = (4 * number + 13 * mark) % (SIDE_PX - 8)
        frame[8 + 7 * mark % 40 : 24 + 7 * mark % 40, left : left + 8] = 255 - frame[0, 0]
    return frames


def tone(hz: float, seconds: float, level: float = 0.3) -> np.ndarray:
    times_s = np.arange(round(seconds * RATE_HZ)) / RATE_HZ
    return (level * np.sin(2 * np.pi * hz * times_s)).astype(np.float32)


def film(path: Path, scenes: Sequence[tuple[str, float]], sound: np.ndarray, mark: int = 0) -> Path:
    """Write scenes one after the other, and a sound."""
    frames = np.concatenate([scene(colour, seconds, mark) for colour, seconds in scenes])
    write_clip(path, frames, sound, frames_per_s=FRAMES_PER_S, sample_rate_hz=RATE_HZ)
    return path
