"""Overlaps, average precision and mIoU agree with pycocotools, scikit-learn and plain loops."""

import contextlib
import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from sklearn.metrics import average_precision_score, confusion_matrix, jaccard_score

from unisono.evaluation import interval, interval_of, paired_difference
from unisono.evaluation.metrics import (
    Thing,
    answer_share,
    box_iou,
    class_iou,
    confusion,
    detection_scores,
    grounding_accuracy,
    mean_average_precision,
    mean_iou,
    vqa_accuracy,
)
from unisono.evaluation.score import Score

SIDE = 128
LABELS = ("cat", "dog", "owl")
Images = list[list[Thing]]


def rectangle(box: tuple[int, int, int, int]) -> np.ndarray:
    x, y, w, h = box
    mask = np.zeros((SIDE, SIDE), dtype=bool)
    mask[y : y + h, x : x + w] = True
    return mask


# Few positions and scores, so that boxes coincide, ties are many and areas fall on the borders.
SPOTS = st.sampled_from([0, 5, 32, 33, 60])
SIDES = st.sampled_from([1, 8, 32, 33, 64])
BOXES = st.tuples(SPOTS, SPOTS, SIDES, SIDES)
SCORES = st.sampled_from([0.1, 0.5, 0.9]) | st.floats(0.01, 1.0)


def things(*, scored: bool) -> st.SearchStrategy[Images]:
    def made(label: str, box: tuple[int, int, int, int], score: float, crowd: bool) -> Thing:
        mask = rectangle(box)
        crowd = crowd and not scored
        return Thing(label, box, mask, score, None if scored else float(mask.sum()), crowd)

    one = st.builds(made, st.sampled_from(LABELS), BOXES, SCORES, st.booleans())
    return st.lists(st.lists(one, max_size=7), min_size=3, max_size=3)


def as_coco(images: Images, *, scored: bool) -> list[dict[str, Any]]:
    return [
        {
            "id": 100 * place + number + 1,
            "image_id": place + 1,
            "category_id": LABELS.index(thing.label) + 1,
            "bbox": list(map(float, thing.box or ())),
            "segmentation": coco_mask.encode(np.asfortranarray(thing.mask.astype(np.uint8))),
            **({"score": thing.score} if scored else {}),
            **({} if scored else {"area": thing.area, "iscrowd": int(thing.crowd)}),
        }
        for place, image in enumerate(images)
        for number, thing in enumerate(image)
        if thing.mask is not None
    ]


def judged(truth: Images, found: Images, kind: str) -> dict[str, float]:
    """What pycocotools says."""
    with contextlib.redirect_stdout(io.StringIO()):
        there = COCO()
        there.dataset = {
            "info": {},
            "images": [{"id": i + 1, "height": SIDE, "width": SIDE} for i in range(len(truth))],
            "categories": [{"id": i + 1, "name": label} for i, label in enumerate(LABELS)],
            "annotations": as_coco(truth, scored=False),
        }
        there.createIndex()
        listed = as_coco(found, scored=True)
        if kind == "bbox":
            listed = [{k: v for k, v in one.items() if k != "segmentation"} for one in listed]
        evaluation = COCOeval(there, there.loadRes(listed), kind)
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    names = ("ap", "ap50", "ap75", "small", "medium", "large")
    values = dict(zip(names, evaluation.stats[:6], strict=True))
    return {**values, "recall": evaluation.stats[8]}


def compared(truth: Images, found: Images, kind: str) -> None:
    mine = detection_scores(truth, found, by="box" if kind == "bbox" else "mask")
    for name, value in judged(truth, found, kind).items():
        expected = float("nan") if value == -1 else value
        assert getattr(mine, name) == pytest.approx(expected, abs=1e-12, nan_ok=True), name


@pytest.mark.parametrize("kind", ["bbox", "segm"])
@given(truth=things(scored=False), found=things(scored=True))
@settings(max_examples=30, deadline=None)
def test_ap_is_that_of_pycocotools(kind: str, truth: Images, found: Images) -> None:
    if any(found):  # pycocotools cannot read an empty list
        compared(truth, found, kind)


@pytest.mark.parametrize("seed", range(3))
def test_ap_of_many_is_that_of_pycocotools(seed: int) -> None:
    draws = np.random.default_rng(seed)

    def image(count: int, *, near: list[Thing] | None) -> list[Thing]:
        made = []
        for i in range(count):
            x, y, w, h = draws.uniform([0, 0, 2, 2], [90, 90, 120, 120])
            if near:
                box = np.asarray(near[i % len(near)].box, dtype=float)
                x, y, w, h = np.maximum(box + draws.normal(0, 4, 4), 0.5)
            label, score = draws.choice(LABELS), float(draws.random())
            blank = np.zeros((1, 1), dtype=bool)
            area = None if near else w * h
            crowd = not near and draws.random() < 0.1
            made.append(Thing(str(label), (x, y, w, h), blank, score, area, crowd))
        return made

    truth = [image(int(draws.integers(1, 20)), near=None) for _ in range(8)]
    found = [image(150, near=one) for one in truth]  # more than are looked at
    compared(truth, found, "bbox")


def test_ap_where_nothing_is_found_or_there() -> None:
    here = Thing("cat", (0, 0, 10, 10), score=0.9)
    assert detection_scores([[here]], [[]]).ap == 0
    assert np.isnan(detection_scores([[]], [[here]]).ap)
    assert np.isnan(detection_scores([], []).ap)
    perfect = detection_scores([[here], []], [[here], []])
    assert (perfect.ap, perfect.recall, perfect.of_class) == (1, 1, {"cat": 1.0})
    with pytest.raises(ValueError, match="there are 1 images, but things found in 0"):
        detection_scores([[here]], [])
    with pytest.raises(ValueError, match="every object must have a mask"):
        detection_scores([[here]], [[here]], by="mask")


@given(
    st.lists(st.tuples(*[st.floats(-50, 50)] * 2, *[st.floats(0.1, 60)] * 2), max_size=4),
    st.lists(st.tuples(*[st.floats(-50, 50)] * 2, *[st.floats(0.1, 60)] * 2), max_size=4),
    st.lists(st.booleans(), min_size=4, max_size=4),
)
@settings(max_examples=50, deadline=None)
def test_overlap_is_that_of_pycocotools(one: Any, other: Any, crowd: list[bool]) -> None:
    crowd = crowd[: len(other)]
    one, other = (np.array(x, dtype=float).reshape(-1, 4) for x in (one, other))
    mine = box_iou(
        np.hstack([one[:, :2], one[:, :2] + one[:, 2:]]),
        np.hstack([other[:, :2], other[:, :2] + other[:, 2:]]),
        crowd=crowd,
    )
    theirs = coco_mask.iou(one, other, [int(x) for x in crowd])
    np.testing.assert_allclose(mine, np.reshape(theirs, mine.shape), atol=1e-9)


def test_boxes_that_are_none_overlap_nothing() -> None:
    boxes = [[0, 0, 2, 2], [2, 2, 0, 0], [1, 1, 1, 1]]
    np.testing.assert_allclose(np.diag(box_iou(boxes, boxes)), [1, 0, 0])
    assert box_iou([[0, 0, 2, 2]], [[1, 0, 3, 2]])[0, 0] == pytest.approx(1 / 3)


def test_grounding_counts_boxes_of_at_least_half() -> None:
    box = [0.0, 0.0, 2.0, 2.0]
    found = [[0, 0, 2, 1], [0, 0, 2, 0.99], None, [0, 0, 2, 2], [2, 2, 0, 0]]
    score = grounding_accuracy([box] * 5, found, names=list("abcde"))
    assert score.amounts.tolist() == [1, 0, 0, 1, 0]
    assert score.value == pytest.approx(0.4)
    assert grounding_accuracy([box], [[0, 0, 2, 0.6]], threshold=0.3).value == 1


MAPS = st.lists(st.integers(0, 5), min_size=12, max_size=12).map(
    lambda values: np.array([*values], dtype=np.uint8).reshape(3, 4)
)


@given(st.lists(st.tuples(MAPS, MAPS), min_size=1, max_size=4))
@settings(max_examples=30, deadline=None)
def test_miou_is_that_of_scikit_learn(pairs: list[tuple[np.ndarray, np.ndarray]]) -> None:
    """Class 5 is ignored in the truth, and wrong where it is predicted."""
    truth = np.concatenate([t.ravel() for t, _ in pairs])
    guess = np.concatenate([p.ravel() for _, p in pairs])[truth != 5]
    truth = truth[truth != 5]
    score = mean_iou(pairs, 5, ignored=5)
    there = [k for k in range(5) if k in truth or k in guess]
    if not there:
        assert np.isnan(score.value)
        return
    each = jaccard_score(truth, guess, labels=there, average=None, zero_division=0)
    assert score.value == pytest.approx(float(np.mean(each)))
    np.testing.assert_allclose(class_iou(score)[there], each)
    counts = sum(confusion(t, p, 5, ignored=5) for t, p in pairs)
    np.testing.assert_array_equal(counts, confusion_matrix(truth, guess, labels=range(6))[:5])


def test_miou_by_hand() -> None:
    truth = np.array([[0, 0], [1, 255]])
    score = mean_iou([(truth, np.array([[0, 1], [1, 0]])), (truth, np.array([[0, 0], [9, 9]]))], 3)
    # Class 0: 1 + 2 of 2 + 2 pixels; class 1: 1 + 0 of 2 + 1; class 2 is nowhere.
    np.testing.assert_allclose(class_iou(score), [3 / 4, 1 / 3, np.nan])
    assert score.value == pytest.approx((3 / 4 + 1 / 3) / 2)
    with pytest.raises(ValueError, match="maps must be of one size"):
        mean_iou([(truth, truth[:1])], 3)


@given(st.integers(0, 10**6), st.integers(1, 12), st.integers(1, 4), st.booleans())
@settings(max_examples=30, deadline=None)
def test_map_is_that_of_scikit_learn(seed: int, count: int, classes: int, tied: bool) -> None:
    draws = np.random.default_rng(seed)
    relevant = draws.random((count, classes)) < 0.4
    scores = draws.normal(size=(count, classes))
    scores = np.round(scores) if tied else scores
    there = [k for k in range(classes) if relevant[:, k].any()]
    mine = mean_average_precision(relevant, scores).value
    if not there:
        assert np.isnan(mine)
        return
    each = [average_precision_score(relevant[:, k], scores[:, k]) for k in there]
    assert mine == pytest.approx(float(np.mean(each)))


def test_map_does_not_take_what_is_no_number() -> None:
    with pytest.raises(ValueError, match="scores must be numbers"):
        mean_average_precision([[1]], [[float("nan")]])
    with pytest.raises(ValueError, match="equally many"):
        mean_average_precision([[1]], [[1.0], [2.0]])


@pytest.mark.parametrize("agreed", range(5))
def test_an_answer_is_as_right_as_people_agree(agreed: int) -> None:
    people = ["Two."] * agreed + ["blue"] * (10 - agreed)
    left_out = [people[:i] + people[i + 1 :] for i in range(10)]
    by_hand = np.mean([min(1.0, sum(a == "Two." for a in rest) / 3) for rest in left_out])
    assert answer_share(people, "2") == pytest.approx(by_hand)


def test_vqa_accuracy() -> None:
    people = [["dog"] * 7 + ["puppy"] * 3, ["yes"] * 10, ["no"]]
    assert vqa_accuracy(people, ["puppy", None, "no"]).amounts.tolist() == pytest.approx(
        [0.9, 0, 1]
    )


# --- intervals of metrics that are no means of samples ---------------------------------------


def class_scores(seed: int, aggregate: Any, better: float = 0.0) -> Score:
    draws = np.random.default_rng(seed)
    weights = (draws.random((40, 3)) < 0.5).astype(float)
    amounts = weights * (draws.random((40, 3)) < 0.5 + better)
    if aggregate == "class_precision":
        amounts = draws.normal(size=(40, 3)) + (0.5 + 4 * better) * weights
    return Score.of(amounts, weights=weights, aggregate=aggregate)


@pytest.mark.parametrize("aggregate", ["class_mean", "class_precision"])
def test_intervals_of_means_of_classes(aggregate: Any) -> None:
    score = class_scores(0, aggregate)
    found = interval(score, resamples=300)
    assert found is not None
    assert found.low < score.value < found.high

    def value(places: np.ndarray) -> float:
        part = Score.of(score.amounts[places], weights=score.weights[places], aggregate=aggregate)
        return part.value

    again = interval_of(value, len(score), resamples=300)
    assert again is not None
    assert (again.low, again.high) == pytest.approx((found.low, found.high))
    with pytest.raises(ValueError, match=f"percentile' for a {aggregate}"):
        interval(score, method="bca")


@pytest.mark.parametrize("aggregate", ["class_mean", "class_precision"])
def test_two_models_are_told_apart_by_means_of_classes(aggregate: Any) -> None:
    first = class_scores(0, aggregate)
    amounts = np.where(first.weights > 0, first.amounts.max(), first.amounts.min())
    perfect = Score.of(amounts, weights=first.weights, aggregate=aggregate)
    better = paired_difference(first, perfect, resamples=200)
    assert better.value > 0.2
    assert better.p_value < 0.01
    assert better.interval is not None
    assert better.interval.low > 0
    assert paired_difference(first, first, resamples=200).p_value == 1


def test_an_interval_of_what_never_changes() -> None:
    assert interval_of(lambda _: 1.0, 5) is None
    assert interval_of(lambda places: float(places.mean()), 1) is None
    assert interval_of(lambda _: float("nan"), 5) is None
