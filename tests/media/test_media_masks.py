"""Masks in COCO's forms become arrays, as pycocotools has them."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from unisono.errors import MediaDecodeError
from unisono.media.masks import decode_mask, encode_mask

MASKS = st.tuples(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**32 - 1)).map(
    lambda x: np.random.default_rng(x[2]).random(x[:2]) < (x[2] % 5) / 4
)


@given(MASKS)
@settings(max_examples=80, deadline=None)
def test_runs_are_those_of_pycocotools(mask: np.ndarray) -> None:
    packed = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    for counts in (packed["counts"], packed["counts"].decode(), encode_mask(mask)["counts"]):
        found = decode_mask({"size": list(mask.shape), "counts": counts}, mask.shape)
        np.testing.assert_array_equal(found, mask)
    plain = coco_mask.frPyObjects(encode_mask(mask), *mask.shape)
    np.testing.assert_array_equal(coco_mask.decode(plain), mask)


def test_long_runs() -> None:
    mask = np.zeros((700, 900), dtype=bool)
    mask[20:600, 30:850] = True
    packed = coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))
    np.testing.assert_array_equal(decode_mask(packed, (700, 900)), mask)


def test_polygons_are_nearly_those_of_pycocotools() -> None:
    draws = np.random.default_rng(0)
    for _ in range(20):
        polygons = [(draws.random(2 * n) * 60 + 2).tolist() for n in (3, 5)]
        theirs = coco_mask.decode(coco_mask.merge(coco_mask.frPyObjects(polygons, 64, 70)))
        mine = decode_mask(polygons, (64, 70))
        edge = np.abs(np.diff(np.pad(theirs.astype(int), 1), axis=0))[:, 1:-1].sum()
        assert (mine != theirs.astype(bool)).sum() <= 3 * edge
        # Three random corners may be a sliver, all of it edge.
        assert (mine & (theirs > 0)).sum() > 0.7 * theirs.sum()
    square = decode_mask([[10, 20, 40, 20, 40, 60, 10, 60]], (80, 100))
    assert abs(int(square.sum()) - 30 * 40) <= 30 + 40 + 1
    assert square[21:59, 11:39].all()


@pytest.mark.parametrize(
    "value",
    [
        None,
        "abc",
        5,
        {"size": [2, 2]},
        {"size": [2, 3], "counts": [6]},
        {"size": [2, 2], "counts": [5]},
        {"size": [2, 2], "counts": [5, -1]},
        {"size": [2, 2], "counts": ["a"]},
        {"size": [2, 2], "counts": "\x01"},
        {"size": [2, 2], "counts": "o"},
        {"size": [2, 2], "counts": [10**30]},
        [[1, 2, 3, 4]],
        [[1, 2, 3, 4, 5, "x"]],
        [[1, 2, 3, 4, 5, float("inf")]],
        [5],
    ],
)
def test_what_is_no_mask(value: Any) -> None:
    with pytest.raises(MediaDecodeError, match="a mask"):
        decode_mask(value, (2, 2))
