"""A metric of a set of samples, kept with what each sample adds to it.

That is all a bootstrap needs, and a comparison of two models on the same samples. Knows neither
tasks nor files.

Shapes: N samples, R resamples, K classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Values = NDArray[np.float64]
Aggregate = Literal["ratio", "perplexity", "median", "class_mean", "class_precision"]
"""Of amounts a and weights w: sum(a) / sum(w), exp(sum(a) / sum(w)), median(a); and where each
sample has K of them, the mean over classes of sum(a) / sum(w), or of the average precision of
scores a for relevances w. Classes without weight are left out."""
OF_CLASSES = ("class_mean", "class_precision")


@dataclass(frozen=True, eq=False)
class Score:
    """A metric over N samples.

    Attributes:
        names: of the samples, as their rows are called.
        amounts: [N] what a sample adds: 1 for a right answer, its wrong words, its NLL; or [N, K].
        weights: [N] what the amounts' sum is divided by: 1, its words, its tokens; or [N, K].
        aggregate: how they become one number.
        higher_is_better: what a comparison calls an improvement.
        percent: how it is shown; the value itself is a plain ratio.
    """

    names: tuple[str, ...]
    amounts: Values
    weights: Values
    aggregate: Aggregate = "ratio"
    higher_is_better: bool = True
    percent: bool = True

    @classmethod
    def of(
        cls,
        amounts: Sequence[float] | NDArray[np.generic],
        *,
        weights: Sequence[float] | NDArray[np.generic] | None = None,
        names: Sequence[str] | None = None,
        aggregate: Aggregate = "ratio",
        higher_is_better: bool = True,
        percent: bool = True,
    ) -> "Score":
        """From plain sequences; weights are 1 and names the samples' numbers by default.

        Raises:
            ValueError: they are not equally many.
        """
        values = np.asarray(amounts, dtype=np.float64)
        divisors = np.ones(values.shape) if weights is None else np.asarray(weights, np.float64)
        called = tuple(map(str, range(len(values)))) if names is None else tuple(names)
        if not len(values) == len(divisors) == len(called) or values.shape != divisors.shape:
            raise ValueError(
                f"amounts, weights and names must be equally many, but are {len(values)}, "
                f"{len(divisors)} and {len(called)} instead"
            )
        return cls(called, values, divisors, aggregate, higher_is_better, percent)

    @property
    def value(self) -> float:
        """The metric over all samples; nan where their weights are 0, or there are none."""
        if not len(self.names):
            return float("nan")
        return float(aggregated(self, self.amounts[None], self.weights[None])[0])

    def __len__(self) -> int:
        return len(self.names)


def aggregated(like: Score, amounts: Values, weights: Values) -> Values:
    """[R, N] and [R, N], or [R, N, K], -> the metric [R] of each line of samples."""
    if like.aggregate == "median":
        return np.asarray(np.median(amounts, axis=-1))
    if like.aggregate == "class_precision":
        return _class_mean(average_precision(amounts, weights))
    return from_totals(like, amounts.sum(axis=1), weights.sum(axis=1))


def from_totals(like: Score, amounts: Values, weights: Values) -> Values:
    """Sums of amounts [R] and weights [R], or [R, K] -> the metric [R].

    Not for a median or a precision, which are not of sums.
    """
    ratio = np.divide(amounts, weights, out=np.full_like(amounts, np.nan), where=weights != 0)
    if like.aggregate == "class_mean":
        return _class_mean(ratio)
    return np.exp(ratio) if like.aggregate == "perplexity" else ratio


def average_precision(scores: Values, relevant: Values) -> Values:
    """Scores and relevances (0 or 1) [R, N, K] -> [R, K]; nan for a class nothing is relevant to.

    The sum over ranks of precision times the growth of recall, where equal scores are one rank:
    no interpolation, as scikit-learn computes it.
    """
    order = np.argsort(-scores, axis=1, kind="stable")
    ranked = np.take_along_axis(scores, order, axis=1)
    hits = np.take_along_axis(relevant, order, axis=1)
    found = hits.cumsum(axis=1)
    places = np.arange(1, scores.shape[1] + 1)[None, :, None]
    # Precision at the end of each run of equal scores, for all of the run.
    ends = np.ones(ranked.shape, dtype=bool)
    ends[:, :-1] = ranked[:, 1:] != ranked[:, :-1]
    last = np.where(ends, np.arange(ranked.shape[1])[None, :, None], ranked.shape[1])
    last = np.flip(np.minimum.accumulate(np.flip(last, axis=1), axis=1), axis=1)
    precision = np.take_along_axis(found / places, last, axis=1)
    total = found[:, -1]
    summed = (precision * hits).sum(axis=1)
    return np.asarray(np.divide(summed, total, out=np.full_like(summed, np.nan), where=total != 0))


def _class_mean(values: Values) -> Values:
    """[R, K] -> [R], over the classes that have a value."""
    known = np.isfinite(values)
    count = known.sum(axis=-1)
    total = np.where(known, values, 0.0).sum(axis=-1)
    return np.asarray(np.divide(total, count, out=np.full(total.shape, np.nan), where=count != 0))
