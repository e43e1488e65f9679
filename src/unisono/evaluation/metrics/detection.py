"""Average precision of detected objects, by boxes or by masks, as COCO defines it.

cocodataset.org/#detection-eval and the rules of pycocotools, which it agrees with: found objects in
the order of their scores take the free object they overlap most; crowds and objects outside of the
range of areas neither count as found nor as missed.

Shapes: D found objects, G objects that are there, T thresholds, H, W sides in pixels.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from unisono.evaluation.metrics.boxes import box_iou, corners
from unisono.evaluation.score import Values

THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0.0, 1.0, 101)
MOST_FOUND = 100
"""Of a class in an image; more are not looked at."""

RANGES: Mapping[str, tuple[float, float]] = {
    "all": (0.0, 1e10),
    "small": (0.0, 32.0**2),
    "medium": (32.0**2, 96.0**2),
    "large": (96.0**2, 1e10),
}
"""Areas in pixels."""

By = Literal["box", "mask"]


@dataclass(frozen=True, eq=False)
class Thing:
    """An object in an image, there or found.

    Attributes:
        label: its class.
        box: x, y, width, height in pixels.
        mask: bool [H, W].
        score: of a found one.
        area: of one that is there, in pixels; by default its box's, or its mask's.
        crowd: it stands for many.
    """

    label: str
    box: Sequence[float] | None = None
    mask: NDArray[np.bool_] | None = None
    score: float = 0.0
    area: float | None = None
    crowd: bool = False

    def extent(self, by: By) -> float:
        """Its area."""
        if self.area is not None:
            return self.area
        if by == "mask" and self.mask is not None:
            return float(self.mask.sum())
        return 0.0 if self.box is None else float(self.box[2] * self.box[3])


@dataclass(frozen=True)
class DetectionScores:
    """COCO's summary; nan where there is nothing to find.

    Attributes:
        ap: mean over classes and overlaps from 0.5 to 0.95.
        ap50, ap75: at these overlaps alone.
        small, medium, large: `ap` of objects of these areas.
        recall: of at most 100 found objects an image and class, over the same overlaps.
        of_class: `ap` of each class.
    """

    ap: float
    ap50: float
    ap75: float
    small: float
    medium: float
    large: float
    recall: float
    of_class: Mapping[str, float]


Images = Sequence[Sequence[Thing]]


@dataclass(frozen=True)
class _Matched:
    """A class in an image: scores [D], what they are [T, D], and how many were to be found."""

    scores: Values
    right: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    there: int


def detection_scores(truth: Images, found: Images, *, by: By = "box") -> DetectionScores:
    """How well objects are found in N images.

    Args:
        truth: what is in each image.
        found: what was found, with scores.
        by: what overlaps.

    Raises:
        ValueError: there are not as many images, or an object lacks its box or mask.
    """
    if len(truth) != len(found):
        raise ValueError(f"there are {len(truth)} images, but things found in {len(found)}")
    labels = sorted({thing.label for image in (*truth, *found) for thing in image})
    tables = {name: _tables(truth, found, labels, by, areas) for name, areas in RANGES.items()}
    precision = {name: np.array([p for p, _ in table]) for name, table in tables.items()}
    recall = np.array([r for _, r in tables["all"]])
    whole = precision["all"].reshape(-1, len(THRESHOLDS))
    return DetectionScores(
        ap=_mean(whole),
        ap50=_mean(whole[:, 0]),
        ap75=_mean(whole[:, 5]),
        small=_mean(precision["small"]),
        medium=_mean(precision["medium"]),
        large=_mean(precision["large"]),
        recall=_mean(recall),
        of_class={label: _mean(row) for label, row in zip(labels, whole, strict=True)},
    )


def _tables(
    truth: Images, found: Images, labels: Sequence[str], by: By, areas: tuple[float, float]
) -> list[tuple[Values, Values]]:
    """Of each class its average precision [T] and recall [T]; nan where nothing is to be found."""
    pairs = list(zip(truth, found, strict=True))
    return [
        _curve([_match(_of(label, t), _of(label, f), by, areas) for t, f in pairs])
        for label in labels
    ]


def _of(label: str, things: Iterable[Thing]) -> list[Thing]:
    return [thing for thing in things if thing.label == label]


def _match(
    truth: Sequence[Thing], found: Sequence[Thing], by: By, areas: tuple[float, float]
) -> _Matched:
    best = sorted(found, key=lambda thing: -thing.score)[:MOST_FOUND]
    outside = [one.crowd or not areas[0] <= one.extent(by) <= areas[1] for one in truth]
    # Objects that count first: only where none fits is another one taken.
    order = sorted(range(len(truth)), key=lambda place: outside[place])
    there = [truth[place] for place in order]
    passed_over = np.array([outside[place] for place in order], dtype=bool)
    crowd = np.array([one.crowd for one in there], dtype=bool)
    overlap = _overlap(best, there, by)
    taken = np.array([_taken(overlap, passed_over, crowd, t) for t in THRESHOLDS], dtype=int)
    taken = taken.reshape(len(THRESHOLDS), len(best))
    known = np.append(passed_over, False)  # the last is for what took nothing
    beyond = np.array([not areas[0] <= one.extent(by) <= areas[1] for one in best], dtype=bool)
    ignored = known[taken] | ((taken < 0) & beyond)
    scores = np.array([one.score for one in best], dtype=np.float64)
    return _Matched(scores, taken >= 0, ignored, int((~passed_over).sum()))


def _taken(
    overlap: Values, passed_over: NDArray[np.bool_], crowd: NDArray[np.bool_], threshold: float
) -> list[int]:
    """[D] which object each found one takes; -1 for none."""
    free = np.ones(len(passed_over), dtype=bool)
    least = min(threshold, 1 - 1e-10)
    taken = []
    for row in overlap:
        fits = (free | crowd) & (row >= least)
        counting = np.flatnonzero(fits & ~passed_over)
        among = counting if len(counting) else np.flatnonzero(fits)
        # Of equal overlaps the last, as pycocotools has it.
        place = int(among[len(among) - 1 - np.argmax(row[among][::-1])]) if len(among) else -1
        if place >= 0:
            free[place] = False
        taken.append(place)
    return taken


def _overlap(found: Sequence[Thing], there: Sequence[Thing], by: By) -> Values:
    """[D, G]."""
    crowd = np.array([one.crowd for one in there], dtype=bool)
    if not found or not there:
        return np.zeros((len(found), len(there)))
    if by == "box":
        return box_iou(corners(_boxes(found)), corners(_boxes(there)), crowd=crowd)
    one, other = _masks(found), _masks(there)
    shared = one @ other.T
    union = one.sum(axis=1)[:, None] + other.sum(axis=1)[None] - shared
    union = np.where(crowd[None], one.sum(axis=1)[:, None], union)
    return np.asarray(np.divide(shared, union, out=np.zeros_like(shared), where=union > 0))


def _boxes(things: Sequence[Thing]) -> list[Sequence[float]]:
    boxes = [thing.box for thing in things if thing.box is not None]
    if len(boxes) != len(things):
        raise ValueError("every object must have a box, but one has none")
    return boxes


def _masks(things: Sequence[Thing]) -> Values:
    masks = [thing.mask.ravel() for thing in things if thing.mask is not None]
    if len(masks) != len(things):
        raise ValueError("every object must have a mask, but one has none")
    return np.stack(masks).astype(np.float64)


def _curve(images: Sequence[_Matched]) -> tuple[Values, Values]:
    """Average precision [T] at 101 recalls, and the highest recall [T], of a class."""
    there = sum(image.there for image in images)
    if not there:
        return np.full(len(THRESHOLDS), np.nan), np.full(len(THRESHOLDS), np.nan)
    order = np.argsort(-np.concatenate([image.scores for image in images]), kind="stable")
    right = np.concatenate([image.right for image in images], axis=1)[:, order]
    counts = ~np.concatenate([image.ignored for image in images], axis=1)[:, order]
    hits, misses = (np.cumsum(x & counts, axis=1, dtype=np.float64) for x in (right, ~right))
    recalls = hits / there
    precisions = hits / np.maximum(hits + misses, np.spacing(1))
    # What is precise further on may be had for less recall too.
    precisions = np.flip(np.maximum.accumulate(np.flip(precisions, 1), axis=1), 1)
    rows = [_at_recalls(r, p) for r, p in zip(recalls, precisions, strict=True)]
    highest = recalls[:, -1] if recalls.shape[1] else np.zeros(len(THRESHOLDS))
    return np.array([row.mean() for row in rows]), highest


def _at_recalls(recalls: Values, precisions: Values) -> Values:
    places = np.searchsorted(recalls, RECALLS, side="left")
    padded = np.append(precisions, 0.0)
    return np.asarray(padded[places])


def _mean(values: Values) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")
