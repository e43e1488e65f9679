"""Pictures in, maps and instances out."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from tiny_dense import LABELS, noise, tiny_segmenter
from torch import Tensor
from torch.nn import functional

from unisono.errors import ModelConfigError
from unisono.models.onepeace.dense import Segmenter
from unisono.models.onepeace.dense.config import SEGMENTATION_MEAN, SEGMENTATION_STD
from unisono.models.onepeace.dense.instances import (
    Found,
    box_of,
    instances_of_boxes,
    instances_of_masks,
    sized_masks,
)
from unisono.models.onepeace.dense.pictures import (
    centre_pixels,
    filled_up,
    frame_pixels,
    pixels_of,
    resized,
    size_by_shorter_side,
)
from unisono.models.onepeace.dense.sliding import sliding_scores
from unisono.models.onepeace.processor_image import CLIP_MEAN, CLIP_STD

NAMES = {0: "sky", 1: "dog", 2: "cat"}


def picture(width: int, height: int, seed: int = 0) -> Image.Image:
    values = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(values)


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 400), st.integers(1, 400), st.sampled_from([32, 64, 200]))
def test_the_shorter_side_and_multiples(width: int, height: int, shorter: int) -> None:
    size = size_by_shorter_side(Image.new("L", (width, height)), shorter)
    assert all(side % 32 == 0 for side in size)
    assert shorter <= min(size) < shorter + 32
    exact = max(width, height) * shorter / min(width, height)
    assert exact - 1 <= max(size) <= exact + 33


def test_normalised_and_filled_up_with_black() -> None:
    pixels = pixels_of(Image.new("RGB", (2, 3)), CLIP_MEAN, CLIP_STD)
    whole = filled_up(pixels[None] + 1, (4, 4), CLIP_MEAN, CLIP_STD)
    assert whole.shape == (1, 3, 4, 4)
    torch.testing.assert_close(whole[0, :, :3, :2], pixels + 1)
    black = torch.tensor([-m / s for m, s in zip(CLIP_MEAN, CLIP_STD, strict=True)])
    torch.testing.assert_close(whole[0, :, 3, 3], black)
    torch.testing.assert_close(whole[0, :, 0, 2], black)
    assert torch.equal(filled_up(pixels[None], (1, 1), CLIP_MEAN, CLIP_STD)[0], pixels)


@pytest.mark.parametrize(("width", "height"), [(40, 30), (30, 40), (7, 90)])
def test_the_middle_of_a_picture(width: int, height: int) -> None:
    one = picture(width, height)
    assert centre_pixels(one, 16).shape == (3, 16, 16)
    assert frame_pixels([one, one], 16).shape == (3, 2, 16, 16)
    # A square with a white middle: up to 224 px the border is cut off, beyond it is not.
    framed = Image.new("RGB", (320, 320))
    framed.paste((255, 255, 255), (10, 10, 310, 310))
    assert centre_pixels(framed, 64).min() > 0
    assert centre_pixels(framed, 256).min() < 0


def test_maps_have_the_size_of_the_pictures() -> None:
    segmenter = Segmenter(tiny_segmenter(pyramid="simple"))
    pictures = [picture(50, 90), picture(200, 31, seed=1), picture(3, 3)]
    found = segmenter.segment(pictures, keep_probabilities=True)
    for one, source in zip(found, pictures, strict=True):
        assert one.classes.shape == (source.height, source.width)
        assert one.probabilities is not None
        torch.testing.assert_close(one.probabilities.sum(0), torch.ones(one.classes.shape))
        assert torch.equal(one.probabilities.argmax(0), one.classes)
        assert sum(one.shares().values()) == pytest.approx(1)
    assert segmenter.segment(pictures[:1])[0].probabilities is None


def test_what_the_segmenter_does_step_by_step() -> None:
    model = tiny_segmenter(pyramid="simple", head="upernet")
    one = picture(100, 40)
    found = Segmenter(model).segment([one], keep_probabilities=True)[0].probabilities
    values = pixels_of(resized(one, (64, 160)), SEGMENTATION_MEAN, SEGMENTATION_STD)[None]

    def score(view: Tensor) -> Tensor:
        scores: Tensor = model(view).scores
        return scores

    with torch.no_grad():
        scores = sliding_scores(score, values, crop=(64, 64), stride=(32, 32))
    scores = functional.interpolate(scores, size=(40, 100), mode="bilinear", align_corners=False)
    torch.testing.assert_close(found, scores.softmax(1)[0])


def test_several_views_are_averaged_and_symmetric() -> None:
    model = tiny_segmenter(pyramid="simple")
    one = picture(80, 70)
    both = Segmenter(model, scales=(0.5, 1.0), mirrored=True)
    mirror = one.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    a, b = (r.probabilities for r in both.segment([one, mirror], keep_probabilities=True))
    assert a is not None
    assert b is not None
    torch.testing.assert_close(a, b.flip(-1), atol=1e-4, rtol=1e-3)
    single = [Segmenter(model, scales=(s,)) for s in (0.5, 1.0)]
    parts = [
        s.segment([p], keep_probabilities=True)[0].probabilities
        for s in single
        for p in (one, mirror)
    ]
    expected = (parts[0] + parts[1].flip(-1) + parts[2] + parts[3].flip(-1)) / 4
    torch.testing.assert_close(a, expected, atol=1e-4, rtol=1e-3)
    for wrong in ((), (0.0,), (1.0, -1.0)):
        with pytest.raises(ModelConfigError, match="scales must be positive"):
            Segmenter(model, scales=wrong)


def test_instances_of_pictures() -> None:
    model = tiny_segmenter(pyramid="simple")
    (found,) = Segmenter(model).instances([picture(90, 50)], threshold=0.0, limit=7)
    assert 0 < len(found) <= 7
    for one in found:
        assert one.mask is not None
        assert one.mask.shape == (50, 90)
        assert one.box == box_of(one.mask)
        assert 0 <= one.label < LABELS
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    assert Segmenter(model).instances([picture(90, 50)], threshold=1.1) == [[]]
    with pytest.raises(ModelConfigError, match="finds no instances"):
        Segmenter(tiny_segmenter(pyramid="simple", head="upernet")).instances([picture(9, 9)])


def test_an_instance_is_a_class_times_its_mask() -> None:
    logits = torch.full((3, 4), -20.0)
    logits[0, 1], logits[1, 3], logits[2, 2] = 20, 20, 20  # the second query found nothing
    masks = torch.full((3, 4, 6), -9.0)
    masks[0, 1:3, 2:5] = 9
    masks[1] = 9
    found = instances_of_masks(logits, masks, NAMES, threshold=0.5, limit=10)
    assert [(one.label, one.name) for one in found] == [(1, "dog")]  # the third has no pixel
    assert found[0].box == (2, 1, 5, 3)
    assert found[0].score == pytest.approx(1 / (1 + np.exp(-9)))
    assert int(found[0].mask.sum()) == 6


def test_a_box_in_the_part_of_the_square_that_is_the_picture() -> None:
    logits = torch.tensor([[-9.0, 9.0], [-9.0, -9.0]])
    boxes = torch.tensor([[0.25, 0.25, 0.1, 0.5], [0.5, 0.5, 1, 1]])
    masks = torch.full((2, 16, 16), -9.0)
    masks[0, :8, 3:5] = 9
    # A picture of 200 x 100 at half its size in the upper half of a square of 64 px... of 100.
    found = Found(logits, boxes, masks, looked_at=(64, 64), view=(32, 64))
    (one,) = instances_of_boxes(found, NAMES, size=(100, 200), threshold=0.5, limit=5)
    assert one.name == "dog"
    assert one.box == pytest.approx((40, 0, 60, 100))
    assert one.mask is not None
    assert one.mask.shape == (100, 200)
    x1, y1, x2, y2 = box_of(one.mask)
    assert (y1, y2) == (0, 100)
    assert abs(x1 - 37.5) < 2
    assert abs(x2 - 62.5) < 2


def test_masks_lose_what_fills_up() -> None:
    masks = noise(1, 4, 4)
    whole = functional.interpolate(masks[None], size=(8, 8), mode="bilinear")[0]
    assert torch.equal(sized_masks(masks, (8, 8), (6, 8), (6, 8)), whole[:, :6])
