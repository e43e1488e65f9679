"""Recordings of animals, instruments and things, out of packages, cut to clips of 2 to 4 s.

A recording is named "package:path": the packages are listed in splits/sounds.toml, the path is
below the package's folder, or ends a path inside a Qt resource file there:
"gcompris:instruments.rcc/trumpet.ogg".
"""

import random
import struct
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from unisono.errors import DataError
from unisono.media import SAMPLE_RATE_HZ, load_audio, resample
from unisono.picturebook.packages import members

Samples = NDArray[np.float32]  # [T], mono, in [-1, 1]

MIN_CLIP_S, MAX_CLIP_S = 2.0, 3.6
PEAK = 0.7

_RESOURCES = ".rcc"
_SILENCE = 0.02  # of the peak
_LOUD_ENOUGH = 0.5  # of the whole recording's root mean square
_TRIES = 12
_SPEEDS = (0.85, 1.18)
_GAINS_DB = (-9.0, 0.0)
_NOISES_DB = (-78.0, -52.0)  # below full scale


@dataclass(frozen=True)
class Package:
    """Where recordings are: a part of the picturebook's sources, and a folder in it."""

    part: str
    folder: str


def read_recordings(names: Iterable[str], packages: Mapping[str, Package]) -> dict[str, Samples]:
    """Recordings as 16 kHz mono without the silence at their ends, by name.

    Raises:
        DataError: there is no such package, or a package has no such recording.
        HubError: a package cannot be had.
        MediaError: a recording cannot be decoded.
    """
    wanted: dict[str, set[str]] = {}
    for name in names:
        wanted.setdefault(name.partition(":")[0], set()).add(name.partition(":")[2])
    sounds: dict[str, Samples] = {}
    for package, paths in wanted.items():
        if package not in packages:
            raise DataError(f"no package of recordings is called '{package}'")
        for path, data in _files(packages[package], paths):
            sounds[f"{package}:{path}"] = trimmed(load_audio(data))
    missing = [f"{k}:{path}" for k, paths in wanted.items() for path in paths]
    if missing := sorted(set(missing) - set(sounds)):
        raise DataError(f"the packages have no recording {', '.join(missing)}")
    return sounds


def _files(package: Package, paths: set[str]) -> Iterator[tuple[str, bytes]]:
    files = {_file_of(path) for path in paths}
    inside = partial(_is_among, {package.folder + file for file in files})
    for member, data in members(package.part, inside):
        file = member.removeprefix(package.folder)
        if not file.endswith(_RESOURCES):
            yield file, data
            continue
        resources = dict(qt_resources(data))
        for path in sorted(path for path in paths if _file_of(path) == file):
            end = path.removeprefix(file)
            yield from ((path, body) for name, body in resources.items() if name.endswith(end))


def _file_of(path: str) -> str:
    head, mark, _ = path.partition(_RESOURCES)
    return head + mark


def _is_among(files: set[str], member: str) -> bool:
    return member in files


def qt_resources(data: bytes) -> Iterator[tuple[str, bytes]]:
    """The files in a Qt resource file (`rcc -binary`; qresource.cpp, "qres", version 1 to 3).

    Yields:
        A file's path and its bytes. Those that are packed with zstd are passed over.

    Raises:
        DataError: it is none.
    """
    if data[:4] != b"qres":
        raise DataError("not a Qt resource file: it does not begin with 'qres'")
    try:
        version, tree, bodies, names = struct.unpack_from(">4I", data, 4)
        yield from _Resources(data, 22 if version >= 2 else 14, tree, bodies, names).walk(0, "")
    except (struct.error, zlib.error, RecursionError) as error:
        raise DataError(f"the Qt resource file is broken: {error}") from None


@dataclass(frozen=True)
class _Resources:
    data: bytes
    node_bytes: int
    tree: int
    bodies: int
    names: int

    def walk(self, index: int, above: str) -> Iterator[tuple[str, bytes]]:
        at = self.tree + index * self.node_bytes
        name, flags, first, second = struct.unpack_from(">IHII", self.data, at)
        path = f"{above}/{self._name(name)}" if index else ""
        if flags & 2:  # a folder: how many are in it, and the first of them
            for child in range(second, second + first):
                yield from self.walk(child, path)
        elif not flags & 4:  # not zstd; then `first` is country and language
            body = self._body(second)
            yield path, zlib.decompress(body[4:]) if flags & 1 else body

    def _name(self, offset: int) -> str:
        at = self.names + offset
        (length,) = struct.unpack_from(">H", self.data, at)
        return self.data[at + 6 : at + 6 + 2 * length].decode("utf-16-be", "replace")

    def _body(self, offset: int) -> bytes:
        at = self.bodies + offset
        (size,) = struct.unpack_from(">I", self.data, at)
        return self.data[at + 4 : at + 4 + size]


def trimmed(sound: Samples) -> Samples:
    """[T] without what is next to silent at both ends; all of it if it is silent."""
    (loud,) = np.nonzero(np.abs(sound) > _SILENCE * np.abs(sound).max(initial=0.0))
    return sound[loud[0] : loud[-1] + 1] if loud.size else sound


def cut(sound: Samples, chance: random.Random, *, vary: bool) -> Samples:
    """A clip of 2 to 3.6 s: a stretch of a long recording, a short one once or more.

    Args:
        sound: [T], 16 kHz.
        chance: where to cut.
        vary: whether tape speed varies too, for training.

    Returns:
        [T], neither levelled nor with noise: see `levelled`.
    """
    if vary:
        sound = resample(sound, SAMPLE_RATE_HZ, round(SAMPLE_RATE_HZ * chance.uniform(*_SPEEDS)))
    length = round(chance.uniform(MIN_CLIP_S, MAX_CLIP_S) * SAMPLE_RATE_HZ)
    if len(sound) > length:
        return _faded(_stretch(sound, length, chance))
    return _repeated(_faded(sound), length, chance)


def _stretch(sound: Samples, length: int, chance: random.Random) -> Samples:
    """Somewhere in the recording where it is not much quieter than on the whole."""
    for _ in range(_TRIES):
        first = chance.randint(0, len(sound) - length)
        stretch = sound[first : first + length]
        if _rms(stretch) >= _LOUD_ENOUGH * _rms(sound):
            return stretch
    return sound[:length]


def _repeated(sound: Samples, length: int, chance: random.Random) -> Samples:
    """With a little silence before it and, as often as it fits and chance wants, again."""
    clip = np.zeros(length, np.float32)
    at = chance.randint(0, min(length - len(sound), SAMPLE_RATE_HZ // 4))
    while at + len(sound) <= length:
        clip[at : at + len(sound)] = sound
        at += len(sound) + round(chance.uniform(0.1, 0.7) * SAMPLE_RATE_HZ)
        if chance.random() < 0.3:
            break
    return clip


def _faded(sound: Samples) -> Samples:
    """Without clicks where it was cut: 10 ms in and out."""
    ramp = np.linspace(0, 1, min(len(sound) // 2, SAMPLE_RATE_HZ // 100), dtype=np.float32)
    faded = sound.copy()
    if ramp.size:
        faded[: ramp.size] *= ramp
        faded[-ramp.size :] *= ramp[::-1]
    return faded


def levelled(sound: Samples, chance: random.Random) -> Samples:
    """[T] with its peak a little below 0.7 and faint noise, as of a room or a microphone."""
    peak = float(np.abs(sound).max(initial=1e-6))
    gain = PEAK / peak * 10 ** (chance.uniform(*_GAINS_DB) / 20)
    floor = 10 ** (chance.uniform(*_NOISES_DB) / 20)
    noise = np.random.default_rng(chance.getrandbits(64)).standard_normal(len(sound))
    return (sound * gain + floor * noise).astype(np.float32)


def _rms(sound: Samples) -> float:
    return float(np.sqrt(np.mean(np.square(sound))))
