"""Where scenes begin, and how they become clips of a length. Knows numbers only.

A cut is where the colours of a picture change at once: half the L1 distance of two colour
histograms, 0 for equal ones and 1 for pictures without a common colour. Slow fades are no cuts.

Shapes: B bins of a histogram, S steps of loudness.
"""

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

_BITS = 2  # of a colour channel: 4 x 4 x 4 colours
_REACH_S = 2.0
"""How far the border of a long scene's parts is moved to a pause."""


def histogram(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    """[H, W, 3] -> [B], the share of pixels of each colour."""
    levels = (picture >> (8 - _BITS)).astype(np.int64)
    colours = (levels[..., 0] << 2 * _BITS) | (levels[..., 1] << _BITS) | levels[..., 2]
    counts = np.bincount(colours.ravel(), minlength=1 << 3 * _BITS)
    return np.asarray(counts / colours.size, dtype=np.float32)


def change(before: NDArray[np.float32], after: NDArray[np.float32]) -> float:
    """Of two histograms [B]: 0 for equal ones, 1 for those that share nothing."""
    return float(np.abs(before - after).sum()) / 2


def spans(
    cuts: Sequence[float],
    duration_s: float,
    length_s: tuple[float, float],
    levels_db: Sequence[float] = (),
    step_s: float = 0.1,
) -> list[tuple[float, float]]:
    """Clips that cover a video: scenes, short ones joined to the next, long ones divided.

    Args:
        cuts: times, ascending.
        duration_s: of the video.
        length_s: the shortest and the longest clip; the longest is at least twice the shortest.
        levels_db: [S] loudness; a long scene is divided where it is quiet, not within a word.
        step_s: of the loudness.

    Returns:
        Beginnings and ends; none for a video shorter than the shortest clip.

    Raises:
        ValueError: the lengths do not allow it.
    """
    shortest_s, longest_s = length_s
    if not 0 < 2 * shortest_s <= longest_s:
        raise ValueError(
            f"the longest clip must be at least twice the shortest, but they are {longest_s:g} s "
            f"and {shortest_s:g} s"
        )
    if duration_s < shortest_s:
        return []
    edges = [0.0]
    for cut in cuts:
        if cut - edges[-1] >= shortest_s and duration_s - cut >= shortest_s:
            edges.append(cut)
    edges.append(duration_s)
    return [
        part
        for start, end in pairwise(edges)
        for part in _divided(start, end, length_s, _Quiet(levels_db, step_s))
    ]


class _Quiet:
    """Finds the quietest moment."""

    def __init__(self, levels_db: Sequence[float], step_s: float) -> None:
        self._levels, self._step_s = np.asarray(levels_db), step_s

    def moment(self, wanted_s: float, low_s: float, high_s: float) -> float:
        """The middle of the quietest step near a time and within bounds; nearer ones first."""
        middles = (np.arange(len(self._levels)) + 0.5) * self._step_s
        near = np.flatnonzero((middles >= low_s) & (middles <= high_s))
        if not len(near):
            return wanted_s
        order = np.lexsort((np.abs(middles[near] - wanted_s), self._levels[near]))
        return float(middles[near[order[0]]])


def _divided(
    start_s: float, end_s: float, length_s: tuple[float, float], quiet: _Quiet
) -> list[tuple[float, float]]:
    shortest_s, longest_s = length_s
    parts = int(np.ceil((end_s - start_s) / longest_s - 1e-9))
    edges = [start_s]
    for left in range(parts - 1, 0, -1):
        wanted_s = edges[-1] + (end_s - edges[-1]) / (left + 1)
        # What is left must still fit into as many clips, none too short.
        low_s = max(wanted_s - _REACH_S, edges[-1] + shortest_s, end_s - left * longest_s)
        high_s = min(wanted_s + _REACH_S, edges[-1] + longest_s, end_s - left * shortest_s)
        edges.append(quiet.moment(wanted_s, low_s, high_s))
    return list(pairwise([*edges, end_s]))
