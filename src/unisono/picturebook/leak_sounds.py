"""Sounds that are the same recording, louder or softer, duller or brighter, earlier or later.

Half seconds of one recording are looked up among those of all others by their coarse shape in time
and pitch; the most alike are laid upon each other and compared moment by moment.

Legend: T samples, M moments, B bands, S pieces of half a second, D numbers of a coarse shape.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unisono.errors import MediaError
from unisono.media import SAMPLE_RATE_HZ, load_audio
from unisono.picturebook.leak_workers import for_all

Samples = NDArray[np.float32]
Floats = NDArray[np.float32]

_WINDOW = 1024
_HOP = 512
_FINE_HOP = 128
_BANDS = 24
_LOWEST_HZ, _HIGHEST_HZ = 120.0, 7500.0
_DEEPEST = 5.0  # powers of ten below the loudest: what is quieter counts as this
_PIECE = 16  # moments: half a second
_SPACING = 2  # moments between the pieces that are known
_TIME_ORDERS, _PITCH_ORDERS = 4, 8
_FLATTEST = 0.15  # a piece that varies less is silence or a hum
_ALIKE = 0.85
_CANDIDATES = 2  # of each recording, its pieces that have the most alike counterpart
_BLOCK, _KNOWN_BLOCK = 512, 2**16
_SLACK = 8  # fine moments by which a coarse match may be off
_FURTHEST = 0.16
"""Difference up to which recordings are the same, as a share of how much one varies."""
_LEAST_S = 0.4
_ABOVE = 0.3  # powers of ten above the floor, for a band to be compared
_FAR_OFF = 1.0  # powers of ten
_TO_DEVIATION = 1.4826  # of the median of what is normally distributed


@dataclass(frozen=True)
class Pieces:
    """Coarse shapes of half seconds of many recordings.

    Attributes:
        shapes: float32 [S, D], each of length 1.
        owner: [S], the recording's number.
        start: [S], in moments of `_HOP` samples.
    """

    shapes: Floats
    owner: NDArray[np.int64]
    start: NDArray[np.int64]


def same_sounds(asked: Sequence[Path], known: Sequence[Path]) -> Iterator[tuple[int, int, float]]:
    """Recordings of `asked` that are, wholly or for half a second, among `known`.

    Args:
        asked: sound files, or videos; those without sound are passed over.
        known: the same.

    Yields:
        For each of them its number, that of the most like it, and how far they are apart; see
        `apart`.
    """
    ours, theirs = pieces(asked), pieces(known)
    if not len(ours.shapes) or not len(theirs.shapes):
        return
    likely = list(_likely(ours, theirs))
    tasks = [(asked[one], known[other], shift) for one, other, shift in likely]
    distances = for_all(_compared, tasks)
    best: dict[int, tuple[float, int]] = {}
    for (one, other, _), apart in zip(likely, distances, strict=True):
        best[one] = min(best.get(one, (apart, other)), (apart, other))
    for one, (apart, other) in sorted(best.items()):
        if apart <= _FURTHEST:
            yield one, other, apart


def pieces(paths: Sequence[Path]) -> Pieces:
    """The pieces of all recordings."""
    shapes = for_all(_read, paths)
    kept = [np.flatnonzero(some.any(axis=1)) for some in shapes]
    return Pieces(
        np.concatenate([some[at] for some, at in zip(shapes, kept, strict=True)] or [_NONE]),
        np.repeat(np.arange(len(paths)), [len(at) for at in kept]),
        _SPACING * np.concatenate([*kept, np.zeros(0, np.int64)]),
    )


def apart(one: Samples, other: Samples, shift: int) -> float:
    """How far two recordings are apart where they overlap.

    Args:
        one, other: [T] at 16 kHz.
        shift: how many samples later the same is heard in `other`, within some 60 ms.

    Returns:
        The difference's deviation by the deviation within `one`: 0 for the same, about 1 for
        unrelated ones, infinite where they hardly overlap.
    """
    ours, theirs = bands(one, _FINE_HOP), bands(other, _FINE_HOP)
    middle = round(shift / _FINE_HOP)
    return min(_apart(ours, theirs, later) for later in range(middle - _SLACK, middle + _SLACK + 1))


def bands(sound: Samples, hop: int) -> Floats:
    """[T] -> [M, B]: powers of ten of the energy, none further below the loudest than another."""
    if len(sound) < _WINDOW:
        return np.zeros((0, _BANDS), np.float32)
    windows = np.lib.stride_tricks.sliding_window_view(sound, _WINDOW)[::hop]
    power = np.abs(np.fft.rfft(windows * np.hanning(_WINDOW).astype(np.float32))) ** 2
    energy = np.log10(np.add.reduceat(power, _EDGES, axis=1)[:, :_BANDS] + 1e-12)
    return np.asarray(np.maximum(energy, energy.max() - _DEEPEST), np.float32)


def _edges() -> NDArray[np.int64]:
    """First bins of the bands, and of what is above."""
    edges_hz = np.geomspace(_LOWEST_HZ, _HIGHEST_HZ, _BANDS + 1)
    return np.round(edges_hz * _WINDOW / SAMPLE_RATE_HZ).astype(np.int64)


def _cosines(orders: int, length: int) -> Floats:
    """[orders, length]: the first rows of a cosine transform."""
    at = np.pi / length * np.outer(np.arange(orders), np.arange(length) + 0.5)
    return np.asarray(np.cos(at) * np.sqrt(2 / length), np.float32)


_EDGES = _edges()
_TIME, _PITCH = _cosines(_TIME_ORDERS, _PIECE), _cosines(_PITCH_ORDERS, _BANDS)
_NONE = np.zeros((0, _TIME_ORDERS * _PITCH_ORDERS - 2), np.float32)


def _read(path: Path) -> Floats:
    try:
        return _shapes(bands(load_audio(str(path)), _HOP))
    except MediaError:
        return _NONE


def _shapes(energy: Floats) -> Floats:
    """[M, B] -> [S, D]: without loudness and tilt, which come first; zeros where all is flat."""
    if len(energy) < _PIECE:
        return _NONE
    cut = np.lib.stride_tricks.sliding_window_view(energy, _PIECE, axis=0)[::_SPACING]
    coarse = np.einsum("sbm,tm,pb->stp", cut, _TIME, _PITCH, optimize=True)
    shapes = coarse.reshape(len(cut), -1)[:, 2:]
    length = np.linalg.norm(shapes, axis=1, keepdims=True)
    varied = length > _FLATTEST * np.sqrt(_PIECE * _BANDS)
    return np.where(varied, shapes / np.maximum(length, 1e-9), 0).astype(np.float32)


def _likely(ours: Pieces, theirs: Pieces) -> Iterator[tuple[int, int, int]]:
    """Numbers of recordings that may be the same, and by how many samples the other is later."""
    cosine, match = _nearest(ours.shapes, theirs.shapes)
    order = np.lexsort((-cosine, ours.owner))
    taken: dict[int, int] = {}
    for at in order:
        one = int(ours.owner[at])
        if cosine[at] >= _ALIKE and taken.get(one, 0) < _CANDIDATES:
            taken[one] = taken.get(one, 0) + 1
            shift = _HOP * int(theirs.start[match[at]] - ours.start[at])
            yield one, int(theirs.owner[match[at]]), shift


def _nearest(ours: Floats, theirs: Floats) -> tuple[Floats, NDArray[np.int64]]:
    """For each shape the cosine and the number of the one most like it."""
    cosine = np.full(len(ours), -1.0, np.float32)
    match = np.zeros(len(ours), np.int64)
    for first in range(0, len(ours), _BLOCK):
        some = slice(first, first + _BLOCK)
        for begin in range(0, len(theirs), _KNOWN_BLOCK):
            alike = ours[some] @ theirs[begin : begin + _KNOWN_BLOCK].T
            best = alike.argmax(axis=1)
            value = np.take_along_axis(alike, best[:, None], axis=1)[:, 0]
            better = value > cosine[some]
            cosine[some] = np.where(better, value, cosine[some])
            match[some] = np.where(better, best + begin, match[some])
    return cosine, match


def _compared(task: tuple[Path, Path, int]) -> float:
    one, other, shift = task
    return apart(load_audio(str(one)), load_audio(str(other)), shift)


def _apart(ours: Floats, theirs: Floats, later: int) -> float:
    """Where both are loud enough, once gain and tilt are taken out of the difference.

    The median does not mind that a part of what one has was cut from the other.
    """
    start, stop = max(0, -later), min(len(ours), len(theirs) - later)
    here, there = ours[start : max(start, stop)], theirs[start + later : max(start, stop) + later]
    loud = (here > ours.min(initial=np.inf) + _ABOVE) & (
        there > theirs.min(initial=np.inf) + _ABOVE
    )
    if loud.any(axis=1).sum() * _FINE_HOP < _LEAST_S * SAMPLE_RATE_HZ:
        return np.inf
    difference, place = (here - there)[loud], np.nonzero(loud)[1]
    for _ in range(2):  # the second time without what cannot be the same
        near = np.abs(difference - np.median(difference)) <= _FAR_OFF
        slope = np.polynomial.polynomial.polyfit(place[near], difference[near], 1)
        difference = difference - np.polynomial.polynomial.polyval(place, slope)
    return float(_TO_DEVIATION * np.median(np.abs(difference)) / max(0.1, here[loud].std()))
