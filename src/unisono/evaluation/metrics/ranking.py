"""How far up a list the right answers stand: recall@k and ranks, from similarities.

Shapes: Q queries, G items of the gallery, D width of the vectors.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unisono.evaluation.score import Score, Values

Right = Sequence[Sequence[int]]
"""For each query the places in the gallery of its right answers, at least one."""

_SIMILARITIES_AT_ONCE = 2**24


@dataclass(frozen=True, eq=False)
class Ranking:
    """Where the best right answer of each query stands.

    Attributes:
        ahead: [Q] wrong items with a higher similarity.
        tied_wrong: [Q] wrong items with the same similarity.
        tied_right: [Q] right items with that similarity, at least 1.
    """

    ahead: NDArray[np.int64]
    tied_wrong: NDArray[np.int64]
    tied_right: NDArray[np.int64]


def rank(similarities: NDArray[np.floating], right: Right) -> Ranking:
    """Ranking from similarities [Q, G].

    Raises:
        ValueError: a query has no right answer, or there are not as many as queries.
    """
    if len(similarities) != len(right) or not all(len(places) for places in right):
        raise ValueError("every query must have a right answer")
    is_right = np.zeros(similarities.shape, dtype=bool)
    for query, places in enumerate(right):
        is_right[query, list(places)] = True
    best = np.where(is_right, similarities, -np.inf).max(axis=1, keepdims=True)
    tied = similarities == best
    return Ranking(
        np.sum((similarities > best) & ~is_right, axis=1),
        np.sum(tied & ~is_right, axis=1),
        np.sum(tied & is_right, axis=1),
    )


def rank_vectors(
    queries: NDArray[np.floating],
    gallery: NDArray[np.floating],
    right: Right,
    *,
    chunk: int | None = None,
) -> Ranking:
    """Ranking by dot products, never with all Q x G of them in memory.

    Args:
        queries: [Q, D].
        gallery: [G, D].
        right: see `Right`.
        chunk: queries compared at a time; by default as many as take 64 MB.
    """
    step = chunk or max(1, _SIMILARITIES_AT_ONCE // max(1, len(gallery)))
    parts = [
        rank(queries[start : start + step] @ gallery.T, right[start : start + step])
        for start in range(0, len(queries), step)
    ]
    return Ranking(
        np.concatenate([part.ahead for part in parts]),
        np.concatenate([part.tied_wrong for part in parts]),
        np.concatenate([part.tied_right for part in parts]),
    )


def recall_at(ranking: Ranking, k: int, *, names: Sequence[str] | None = None) -> Score:
    """Recall@k: share of queries with at least one right answer among the first k.

    Ties are broken as by lot, in expectation: a model that gives everything the same vector scores
    what chance does, and not 0 or 1.
    """
    return Score.of(1.0 - _missed(ranking, k), names=names)


def mean_rank(ranking: Ranking, *, names: Sequence[str] | None = None) -> Score:
    """Mean place of the best right answer, from 1; ties in expectation."""
    return Score.of(_places(ranking), names=names, higher_is_better=False, percent=False)


def median_rank(ranking: Ranking, *, names: Sequence[str] | None = None) -> Score:
    """Median place of the best right answer, from 1; ties in expectation."""
    places = _places(ranking)
    return Score.of(places, names=names, aggregate="median", higher_is_better=False, percent=False)


def _missed(ranking: Ranking, k: int) -> Values:
    """[Q] probability that none of the tied right items is among those of the tie that fit in k.

    Without replacement: the product over the free places i of (wrong - i) / (wrong + right - i).
    """
    free = np.maximum(k - ranking.ahead, 0)
    missed = np.ones(len(free))
    for i in _up_to(free):
        left_wrong = np.maximum(ranking.tied_wrong - i, 0)
        left = np.maximum(ranking.tied_wrong + ranking.tied_right - i, 1)
        missed = np.where(i < free, missed * left_wrong / left, missed)
    return missed


def _up_to(free: NDArray[np.int64]) -> Iterator[int]:
    return iter(range(int(free.max(initial=0))))


def _places(ranking: Ranking) -> Values:
    """[Q] expected place of the first right one among the tied, behind those ahead."""
    tied = ranking.tied_wrong + ranking.tied_right
    return np.asarray(ranking.ahead + (tied + 1) / (ranking.tied_right + 1))
