"""Semantic segmentation: how far regions overlap, class by class.

Shapes: N images, H, W sides in pixels, K classes.
"""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from unisono.evaluation.score import Score, Values

Map = NDArray[np.integer]
"""[H, W], the class of each pixel."""


def confusion(truth: Map, predicted: Map, classes: int, *, ignored: int | None = 255) -> Values:
    """[K, K] pixels of the row's class that are taken for the column's.

    Args:
        truth: pixels whose class is not below `classes`, or is `ignored`, are not looked at.
        predicted: of the same size; a class beyond the K is as wrong as any.
        classes: K.
        ignored: None for none.

    Raises:
        ValueError: the sizes differ.
    """
    if truth.shape != predicted.shape:
        raise ValueError(
            f"maps must be of one size, but are {truth.shape} and {predicted.shape} instead"
        )
    looked = (truth >= 0) & (truth < classes)
    if ignored is not None:
        looked &= truth != ignored
    wild = (predicted < 0) | (predicted >= classes)
    column = np.where(wild, classes, predicted)[looked].astype(np.int64)
    pairs = truth[looked].astype(np.int64) * (classes + 1) + column
    counts = np.bincount(pairs, minlength=classes * (classes + 1))
    return counts.reshape(classes, classes + 1).astype(np.float64)


def areas(counts: Values) -> tuple[Values, Values]:
    """A confusion -> intersections [K] and unions [K] in pixels."""
    classes = len(counts)
    shared = np.diag(counts[:, :classes])
    return shared, counts.sum(axis=1) + counts[:, :classes].sum(axis=0) - shared


def mean_iou(
    pairs: Iterable[tuple[Map, Map]],
    classes: int,
    *,
    ignored: int | None = 255,
    names: Sequence[str] | None = None,
) -> Score:
    """mIoU: of each class the intersection over the union, summed over all images; their mean.

    Classes that are nowhere, neither in truth nor in prediction, are left out of the mean, as
    mmsegmentation does.

    Args:
        pairs: truth and prediction of N images.
        classes, ignored: see `confusion`.
        names: of the images.
    """
    found = [areas(confusion(*pair, classes, ignored=ignored)) for pair in pairs]
    shared = np.array([one for one, _ in found]).reshape(-1, classes)
    unions = np.array([one for _, one in found]).reshape(-1, classes)
    return Score.of(shared, weights=unions, names=names, aggregate="class_mean")


def class_iou(score: Score) -> Values:
    """[K] of a score of `mean_iou`; nan for classes that are nowhere."""
    shared, unions = score.amounts.sum(axis=0), score.weights.sum(axis=0)
    return np.asarray(
        np.divide(shared, unions, out=np.full_like(shared, np.nan), where=unions != 0)
    )
