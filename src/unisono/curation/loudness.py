"""Stage "silence": how loud a clip is, step by step; silent ones are of no use here.

Shapes: T samples, S steps.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from unisono.curation.records import Case, Loudness, Outcome, present
from unisono.curation.store import Store
from unisono.media import SAMPLE_RATE_HZ, load_audio

STEP_S = 0.1
_FLOOR_DB = -100.0
NO_SOUND, SILENT = "no sound", "silent"


@dataclass(frozen=True)
class Silence:
    """Measure the sound.

    Attributes:
        least_db: a clip whose loudest step is below it is silent.
    """

    least_db: float = -45.0

    name: ClassVar[str] = "silence"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("clip",)
    gives: ClassVar[str] = "loudness"
    record: ClassVar[type] = Loudness

    def run(self, case: Case, store: Store) -> Outcome:
        """A `Loudness`."""
        sound = store.sound(present(case.clip))
        if sound is None:
            return Outcome(None, NO_SOUND)
        found = levels(load_audio(sound))
        loudest = max(found)
        metrics = {"loudest_db": loudest}
        if loudest < self.least_db:
            return Outcome(None, SILENT, f"at most {loudest:.1f} dBFS", metrics)
        return Outcome(Loudness(found), metrics=metrics)


def levels(samples: NDArray[np.float32]) -> tuple[float, ...]:
    """[T] -> [S] root mean squares in dB of full scale, at least -100."""
    size = round(STEP_S * SAMPLE_RATE_HZ)
    padded = np.pad(samples.astype(np.float64), (0, -len(samples) % size))
    power = np.square(padded.reshape(-1, size)).mean(axis=1)
    decibels = 10 * np.log10(np.maximum(power, 1e-10))
    return tuple(round(max(float(one), _FLOOR_DB), 1) for one in decibels)
