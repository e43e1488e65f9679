"""Sliding windows and several views, with scores that are known."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_dense import noise, tiny_segmenter
from torch import Tensor

from unisono.errors import ModelConfigError
from unisono.models.onepeace.dense.sliding import (
    mean_probabilities,
    probabilities,
    sliding_scores,
    windows,
)

SIDES = st.tuples(st.integers(1, 40), st.integers(1, 40))


@settings(max_examples=40, deadline=None)
@given(size=SIDES, crop=SIDES, data=st.data())
def test_windows_cover_every_pixel_and_stay_inside(
    size: tuple[int, int], crop: tuple[int, int], data: st.DataObject
) -> None:
    stride = tuple(data.draw(st.integers(1, c)) for c in crop)
    seen = torch.zeros(size)
    for rows, columns in windows(size, crop, stride):
        assert rows.stop - rows.start == min(crop[0], size[0])
        assert columns.stop - columns.start == min(crop[1], size[1])
        seen[rows, columns] += 1
    assert seen.min() >= 1


@settings(max_examples=40, deadline=None)
@given(size=SIDES, crop=SIDES, data=st.data())
def test_what_depends_on_the_pixel_alone_is_found_unchanged(
    size: tuple[int, int], crop: tuple[int, int], data: st.DataObject
) -> None:
    stride = tuple(data.draw(st.integers(1, c)) for c in crop)
    pixels = noise(2, 3, *size)
    found = sliding_scores(lambda x: x.sin(), pixels, crop=crop, stride=stride)
    torch.testing.assert_close(found, pixels.sin())


@pytest.mark.parametrize("head", ["mask2former", "upernet"])
@pytest.mark.parametrize("size", [(64, 64), (64, 33), (17, 40)])
def test_a_window_that_holds_the_image_is_the_whole_image(head: str, size: tuple[int, int]) -> None:
    model = tiny_segmenter(head=head)
    pixels = noise(1, 3, *size)

    def score(view: Tensor) -> Tensor:
        scores: Tensor = model(view).scores
        return scores

    with torch.no_grad():
        found = sliding_scores(score, pixels, crop=(64, 64), stride=(32, 32))
        torch.testing.assert_close(found, score(pixels), rtol=0, atol=0)
        smaller = sliding_scores(score, pixels, crop=(32, 32), stride=(16, 16))
    assert (smaller - found).abs().max() > 1e-4  # the window does matter


def test_overlaps_are_averaged() -> None:
    starts: list[float] = []

    def score(view: Tensor) -> Tensor:
        starts.append(float(view[0, 0, 0, 0]))
        return torch.full((1, 1, *view.shape[-2:]), float(len(starts)))

    pixels = torch.arange(5.0).view(1, 1, 1, 5)
    found = sliding_scores(score, pixels, crop=(1, 4), stride=(1, 3))
    assert starts == [0, 1]  # the second would begin at 3, and is shifted back inside
    assert found.flatten().tolist() == [1, 1.5, 1.5, 1.5, 2]


@pytest.mark.parametrize("stride", [(0, 1), (5, 1), (1, -1)])
def test_strides_that_leave_gaps(stride: tuple[int, int]) -> None:
    with pytest.raises(ModelConfigError, match="must move by"):
        windows((9, 9), (4, 4), stride)


def test_views_are_turned_back_resized_and_averaged() -> None:
    pixels = noise(1, 2, 6, 8)
    mirrored = [(pixels, False), (pixels.flip(-1), True)]
    found = mean_probabilities(lambda x: x, mirrored, (6, 8))
    torch.testing.assert_close(found, pixels.softmax(1))
    larger = torch.nn.functional.interpolate(pixels, scale_factor=2, mode="nearest")
    found = mean_probabilities(lambda x: x, [(pixels, False), (larger, False)], (6, 8))
    assert found.shape == (1, 2, 6, 8)
    torch.testing.assert_close(found.sum(1), torch.ones(1, 6, 8))
    expected = (pixels.softmax(1) + probabilities(larger, (6, 8))) / 2
    torch.testing.assert_close(found, expected)
