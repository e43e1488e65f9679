"""Stage "embed": a clip's frames and sound as vectors, and hashes of key frames.

Shapes: D width of the embeddings.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from PIL import Image

from unisono.curation.records import Case, Outcome, Vectors, present
from unisono.curation.stage import Model
from unisono.curation.store import Store
from unisono.media import load_image
from unisono.media.video import spread
from unisono.runtime.embedder import Embedder

_KEY_FRAMES = 3
_DIGITS = 4
"""Of a vector's numbers: far finer than any threshold, and small on disk."""


@dataclass(frozen=True)
class Embed:
    """Look and hear as a representation model does.

    Attributes:
        embedder: the model.
    """

    embedder: Model[Embedder]

    name: ClassVar[str] = "embed"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("clip",)
    gives: ClassVar[str] = "vectors"
    record: ClassVar[type] = Vectors

    def run(self, case: Case, store: Store) -> Outcome:
        """A `Vectors`; without a sound's where the model or the clip has none."""
        clip, embedder = present(case.clip), self.embedder.get()
        frames = [load_image(frame) for frame in store.frames(clip)]
        sound = store.sound(clip)
        picture = _rounded(embedder.embed([{"video": frames}])[0])
        heard: tuple[float, ...] = ()
        if sound is not None and "audio" in embedder.model.config.modalities:
            heard = _rounded(embedder.embed([{"audio": sound}])[0])
        # Not the first and the last one, which fades may have darkened.
        places = spread(len(frames), _KEY_FRAMES + 2)[1:-1]
        keys = [frames[place] for place in places] or frames[:1]
        return Outcome(Vectors(picture, heard, tuple(map(difference_hash, keys))))


def difference_hash(picture: Image.Image) -> str:
    """64 bits in hex: whether each of 8 x 8 fields is brighter than the one on its right.

    Sizes, compression and brightness hardly change it.
    """
    small = picture.convert("L").resize((9, 8), Image.Resampling.BOX)
    fields = np.asarray(small, dtype=np.int16)
    return np.packbits(fields[:, :-1] > fields[:, 1:]).tobytes().hex()


def distance(first: str, second: str) -> float:
    """Share of bits that differ, between two hashes."""
    return (int(first, 16) ^ int(second, 16)).bit_count() / (4 * len(first))


def _rounded(vector: np.ndarray) -> tuple[float, ...]:
    return tuple(round(float(one), _DIGITS) for one in vector)
