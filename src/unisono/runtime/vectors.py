"""Vectors on disk: one .npz at the end, and parts on the way that survive an interruption.

Shapes: N vectors, D width.
"""

import hashlib
import os
import shutil
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float32]

_INTERVAL_S = 5.0
"""At most so much work is lost when the process is killed."""


class VectorFile:
    """Collects vectors by key and writes them to one file.

    Until `finish`, they lie in numbered parts in a folder beside it; a later run with the same
    path and model finds them there.

    Attributes:
        path: of the .npz to be.
        known: key -> vector, those of earlier runs included.
    """

    def __init__(self, path: Path, model: str) -> None:
        """Take up what an interrupted run left.

        Args:
            path: of the file to be written.
            model: what makes the vectors; another model's are not taken up.
        """
        self.path = path
        self.model = model
        fingerprint = hashlib.sha256(model.encode()).hexdigest()[:8]
        self._folder = path.with_name(f"{path.name}.partial-{fingerprint}")
        self.known: dict[str, Vector] = {}
        self._new: dict[str, Vector] = {}
        self._saved_at = time.monotonic()
        self._parts = 0
        for part in sorted(self._folder.glob("*.npz")):
            self._parts = int(part.stem)
            self.known |= _read(part)

    def add(self, key: str, vector: Vector) -> None:
        """Note a vector; now and then, write those that are new."""
        self.known[key] = self._new[key] = vector
        if time.monotonic() - self._saved_at > _INTERVAL_S:
            self.save()

    def save(self) -> None:
        """Write what is new as one more part."""
        if self._new:
            self._parts += 1
            self._folder.mkdir(parents=True, exist_ok=True)
            part = self._folder / f"{self._parts:06d}.npz"
            _write(part, keys=np.array(list(self._new)), vectors=np.stack(list(self._new.values())))
            self._new = {}
        self._saved_at = time.monotonic()

    def finish(self, names: Mapping[str, str], kinds: Mapping[str, str]) -> int:
        """Write the file and remove the parts.

        Args:
            names: key -> name, of all items; those without a vector are left out.
            kinds: key -> kind.

        Returns:
            The number of vectors written as `vectors` [N, D], beside `names`, `kinds` and `model`.
        """
        keys = [key for key in names if key in self.known]
        width = len(next(iter(self.known.values()))) if self.known else 0
        vectors = np.array([self.known[key] for key in keys], dtype=np.float32)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        _write(
            self.path,
            names=np.array([names[key] for key in keys], dtype=str),
            kinds=np.array([kinds[key] for key in keys], dtype=str),
            vectors=vectors.reshape(len(keys), width),
            model=np.array(self.model),
        )
        shutil.rmtree(self._folder, ignore_errors=True)
        return len(keys)


def _write(path: Path, **arrays: NDArray[np.generic]) -> None:
    """Whole or not at all."""
    half = path.with_name(f".{path.name}.{os.getpid()}.half")
    try:
        with half.open("wb") as file:
            np.savez(file, allow_pickle=False, **arrays)
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


def _read(part: Path) -> dict[str, Vector]:
    """The vectors of a part; none of one that a crash of the machine left unreadable."""
    try:
        with np.load(part, allow_pickle=False) as arrays:
            keys, vectors = arrays["keys"].tolist(), arrays["vectors"]
    except (OSError, ValueError, KeyError, zipfile.BadZipFile):
        return {}
    return dict(zip(keys, vectors, strict=True))
