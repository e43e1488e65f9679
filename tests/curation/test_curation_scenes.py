"""Cuts are found where they are, and clips cover a video in allowed lengths."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from unisono.curation.scenes import change, histogram, spans

LENGTH_S = (5.0, 60.0)
times = st.floats(0, 500, allow_nan=False)


@given(st.lists(times, max_size=30), st.floats(5, 500), st.data())
def test_clips_cover_the_video(cuts: list[float], duration_s: float, data: st.DataObject) -> None:
    levels = data.draw(st.lists(st.floats(-90, 0), max_size=50))
    inside = sorted(cut for cut in cuts if 0 < cut < duration_s)
    found = spans(inside, duration_s, LENGTH_S, levels, 0.1)
    assert (found[0][0], found[-1][1]) == (0.0, duration_s)
    assert all(first[1] == second[0] for first, second in pairwise(found))
    assert all(5 - 1e-6 <= end - start <= 60 + 1e-6 for start, end in found)


def test_scenes_are_clips_and_short_ones_are_joined() -> None:
    assert spans([10, 30], 45, LENGTH_S) == [(0, 10), (10, 30), (30, 45)]
    assert spans([10, 12], 45, LENGTH_S) == [(0, 10), (10, 45)]
    assert spans([41], 45, LENGTH_S) == [(0, 45)]
    assert spans([2], 4.9, LENGTH_S) == []


def test_a_long_scene_is_divided_where_it_is_quiet() -> None:
    levels = np.full(1000, -20.0)
    levels[485] = -60.0  # 48.5 s; the middle is at 50 s
    assert spans([], 100, LENGTH_S, levels.tolist(), 0.1) == [
        (0, pytest.approx(48.55)),
        (pytest.approx(48.55), 100),
    ]
    levels[485], levels[400] = -20.0, -60.0  # too far from the middle
    ((_, border_s), _) = spans([], 100, LENGTH_S, levels.tolist(), 0.1)
    assert border_s == pytest.approx(50, abs=0.06)


def test_lengths_that_do_not_go_together() -> None:
    with pytest.raises(ValueError, match="at least twice the shortest"):
        spans([], 10, (5.0, 8.0))


def test_colours_that_change() -> None:
    red = np.zeros((8, 8, 3), np.uint8) + np.array([200, 0, 0], np.uint8)
    half = red.copy()
    half[:4] = (0, 200, 0)
    assert change(histogram(red), histogram(red)) == 0
    assert change(histogram(red), histogram(half)) == pytest.approx(0.5)
    assert change(histogram(red), histogram(255 - red)) == pytest.approx(1)
    assert change(histogram(red), histogram(red + 9)) == 0  # hardly another colour
