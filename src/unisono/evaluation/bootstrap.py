"""How sure a score is: bootstrap intervals, and the comparison of two models sample by sample.

The samples are what is drawn again, so they must be independent: one row a speaker or a picture,
not twenty.

Shapes: N samples, R resamples.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unisono.evaluation.score import OF_CLASSES, Score, Values, aggregated, from_totals

Method = Literal["percentile", "bca"]

RESAMPLES = 2000
_NUMBERS_AT_ONCE = 2**21
"""Drawn in one go: 16 MB of them."""


@dataclass(frozen=True)
class Interval:
    """Where the metric of the population is, with a probability of `level`."""

    low: float
    high: float
    level: float


@dataclass(frozen=True)
class Difference:
    """A second model's score minus a first one's, on the same samples.

    Attributes:
        value: in the metric's unit.
        interval: of it; None as in `interval`.
        p_value: two-sided, of no difference.
        count: samples.
    """

    value: float
    interval: Interval | None
    p_value: float
    count: int


def interval(
    score: Score,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
    method: Method = "percentile",
) -> Interval | None:
    """A bootstrap confidence interval (Efron and Tibshirani 1993, chapters 13 and 14).

    Args:
        score: of N samples.
        level: its coverage.
        resamples: how often N samples are drawn, with replacement.
        seed: the same one gives the same interval.
        method: "bca" corrects for bias and skew; of a median, only "percentile" is sound.

    Returns:
        None where nothing can be said: fewer than two samples, or all of them alike. (20 right
        answers of 20 do not prove that all are right.)

    Raises:
        ValueError: "bca" of a median or of a mean of classes.
    """
    if method == "bca" and (score.aggregate == "median" or score.aggregate in OF_CLASSES):
        raise ValueError(
            f"method must be 'percentile' for a {score.aggregate}, but is 'bca' instead"
        )
    if _says_nothing(score.amounts, score.weights):
        return None
    drawn = np.concatenate(
        [
            aggregated(score, score.amounts[places], score.weights[places])
            for places in _places(len(score), resamples, seed, width=_width(score))
        ]
    )
    tail = (1.0 - level) / 2
    probabilities = np.array([tail, 1.0 - tail])
    if method == "bca":
        probabilities = _bca(probabilities, drawn, score)
    return _between(drawn, probabilities, level)


def paired_difference(
    first: Score,
    second: Score,
    *,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Difference:
    """What changes from a first to a second model, both scored on the same samples.

    The interval draws samples, both models' values of each together. The p-value is that of a
    permutation test: were the models alike, each sample's two values could be swapped (for a mean:
    the sign of its difference flipped) without changing anything.

    Raises:
        ValueError: the scores are of different samples.
    """
    if first.names != second.names or first.aggregate != second.aggregate:
        raise ValueError("both scores must be of the same metric and samples, in the same order")
    if not len(first):
        return Difference(float("nan"), None, 1.0, 0)
    value = second.value - first.value
    found = None
    if not _says_nothing(second.amounts - first.amounts, second.weights - first.weights):
        drawn = np.concatenate(
            [
                aggregated(second, second.amounts[p], second.weights[p])
                - aggregated(first, first.amounts[p], first.weights[p])
                for p in _places(len(first), resamples, seed, width=_width(first))
            ]
        )
        tail = (1.0 - level) / 2
        found = _between(drawn, np.array([tail, 1.0 - tail]), level)
    p_value = _permutation_p(first, second, value, resamples=resamples, seed=seed)
    return Difference(value, found, p_value, len(first))


def _says_nothing(amounts: Values, weights: Values) -> bool:
    return len(amounts) < 2 or bool(np.ptp(amounts) == 0 and np.ptp(weights) == 0)


def interval_of(
    metric: Callable[[NDArray[np.int64]], float],
    count: int,
    *,
    level: float = 0.95,
    resamples: int = 200,
    seed: int = 0,
) -> Interval | None:
    """A percentile interval of any metric of a set of samples, the AP of detections say.

    Args:
        metric: of the samples at these places; a place may come twice.
        count: of samples.
        level, resamples, seed: see `interval`.

    Returns:
        None for fewer than two samples, or a metric that is always the same.
    """
    if count < 2:
        return None
    lines = (line for places in _places(count, resamples, seed) for line in places)
    drawn = np.array([metric(line) for line in lines])
    if len(set(drawn[np.isfinite(drawn)].tolist())) < 2:
        return None
    tail = (1.0 - level) / 2
    return _between(drawn, np.array([tail, 1.0 - tail]), level)


def _width(score: Score) -> int:
    """Numbers that a sample has."""
    return int(np.prod(score.amounts.shape[1:], dtype=int))


def _places(
    count: int, resamples: int, seed: int, *, width: int = 1
) -> Iterator[NDArray[np.int64]]:
    """[some, N] places of drawn samples, R lines in all."""
    generator = np.random.default_rng(seed)
    for lines in _lines(count * width, resamples):
        yield generator.integers(0, count, (lines, count))


def _lines(count: int, resamples: int) -> Iterator[int]:
    """R, in portions that fit into memory."""
    most = max(1, _NUMBERS_AT_ONCE // max(1, count))
    for start in range(0, resamples, most):
        yield min(most, resamples - start)


def _between(drawn: Values, probabilities: Values, level: float) -> Interval | None:
    known = drawn[np.isfinite(drawn)]
    if not len(known):
        return None
    low, high = np.quantile(known, probabilities)
    return Interval(float(low), float(high), level)


def _bca(probabilities: Values, drawn: Values, score: Score) -> Values:
    """Which quantiles of the resamples to take (Efron and Tibshirani 1993, eq. 14.10-14.15)."""
    normal = NormalDist()
    # Half of those that are equal: a metric of few samples has few different values.
    below = np.mean(drawn < score.value) + np.mean(drawn == score.value) / 2
    edge = 0.5 / len(drawn)
    bias = normal.inv_cdf(float(np.clip(below, edge, 1 - edge)))
    left_out = from_totals(
        score, score.amounts.sum() - score.amounts, score.weights.sum() - score.weights
    )
    deviations = np.nanmean(left_out) - left_out
    spread = np.nansum(deviations**2) ** 1.5
    skew = np.nansum(deviations**3) / (6 * spread) if spread else 0.0
    shifted = [bias + normal.inv_cdf(float(p)) for p in probabilities]
    return np.array([normal.cdf(bias + z / (1 - skew * z)) for z in shifted])


def _permutation_p(
    first: Score, second: Score, value: float, *, resamples: int, seed: int
) -> float:
    """Share of random swaps that differ as much as was seen, the real one counted among them."""
    if np.isnan(value):
        return 1.0
    # Another stream than the interval's, from the same seed.
    generator = np.random.default_rng([seed, 1])
    extreme = 0
    for lines in _lines(len(first) * _width(first), resamples):
        swapped = generator.random((lines, len(first))) < 0.5
        extreme += int(np.sum(np.abs(_swapped(first, second, swapped)) >= abs(value) - 1e-12))
    return (extreme + 1) / (resamples + 1)


def _swapped(first: Score, second: Score, swapped: NDArray[np.bool_]) -> Values:
    """[R, N] -> the difference [R] when these samples' two values are swapped."""
    if first.aggregate == "median" or first.aggregate in OF_CLASSES:
        return _swapped_whole(first, second, swapped)
    moved = swapped.astype(np.float64) @ np.stack(
        [second.amounts - first.amounts, second.weights - first.weights], axis=1
    )
    amounts, weights = moved[:, 0], moved[:, 1]
    return from_totals(
        second, second.amounts.sum() - amounts, second.weights.sum() - weights
    ) - from_totals(first, first.amounts.sum() + amounts, first.weights.sum() + weights)


def _swapped_whole(first: Score, second: Score, swapped: NDArray[np.bool_]) -> Values:
    """As `_swapped`, for metrics that are not of sums, or of sums of each class."""
    lines = swapped.reshape(swapped.shape + (1,) * (first.amounts.ndim - 1))
    one = [np.where(lines, getattr(second, n), getattr(first, n)) for n in ("amounts", "weights")]
    other = [np.where(lines, getattr(first, n), getattr(second, n)) for n in ("amounts", "weights")]
    return aggregated(second, other[0], other[1]) - aggregated(first, one[0], one[1])
