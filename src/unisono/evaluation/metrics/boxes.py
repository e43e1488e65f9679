"""Boxes: how far they overlap, and how often a phrase's box is found.

Boxes are x1, y1, x2, y2 in any unit. Shapes: N pairs, A, B boxes.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from unisono.evaluation.score import Score, Values


def corners(boxes: ArrayLike) -> Values:
    """x, y, width, height [..., 4] -> x1, y1, x2, y2."""
    values = np.asarray(boxes, dtype=np.float64)
    return np.concatenate([values[..., :2], values[..., :2] + values[..., 2:]], axis=-1)


def box_iou(boxes: ArrayLike, others: ArrayLike, *, crowd: ArrayLike | None = None) -> Values:
    """Intersection over union of every box with every other: [A, 4], [B, 4] -> [A, B].

    A box whose corners are the wrong way round is empty, and overlaps nothing.

    Args:
        boxes: those found.
        others: those that are there.
        crowd: [B], which of them stand for many: of these, the share of the found box that lies
            in it (COCO).
    """
    one, other = (np.asarray(x, dtype=np.float64).reshape(-1, 4) for x in (boxes, others))
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0.0), axis=-1)
    areas, other_areas = (
        np.prod(np.maximum(x[:, 2:] - x[:, :2], 0.0), axis=-1) for x in (one, other)
    )
    union = areas[:, None] + other_areas[None] - shared
    if crowd is not None:
        union = np.where(np.asarray(crowd, dtype=bool)[None], areas[:, None], union)
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def grounding_accuracy(
    boxes: ArrayLike,
    found: Sequence[ArrayLike | None],
    *,
    threshold: float = 0.5,
    names: Sequence[str] | None = None,
) -> Score:
    """Share of N boxes that are found with at least so much overlap (RefCOCO's accuracy@0.5).

    Args:
        boxes: [N, 4].
        found: a box each, or None where there is none: wrong.
        threshold: intersection over union from which on a box is right.
        names: of the samples.
    """
    right = [
        one is not None and float(box_iou(box, np.asarray(one))[0, 0]) >= threshold
        for box, one in zip(_listed(boxes), found, strict=True)
    ]
    return Score.of(right, names=names)


def _listed(boxes: ArrayLike) -> list[NDArray[np.float64]]:
    return list(np.asarray(boxes, dtype=np.float64).reshape(-1, 4))
