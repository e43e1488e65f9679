"""Sizes, borders and patches, down to pictures of absurd shapes."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from unisono.errors import MediaEmptyError, ModelConfigError
from unisono.models.ola.processor_image import (
    OLA_SIZES,
    PictureSizes,
    _Layout,
    frame_pictures,
    image_pictures,
    pixel_patches,
)
from unisono.models.ola.vision import patchify

SMALL = PictureSizes(
    lowres_area=16**2,
    lowres_unit=8,
    highres_max_area=64**2,
    highres_unit=8,
    video_min_area=16**2,
    video_max_area=32**2,
    video_unit=8,
)


def noise(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_the_defaults_are_those_of_the_official_inference_script() -> None:
    assert (
        PictureSizes(
            lowres_area=147_456,
            lowres_unit=32,
            highres_max_area=2_359_296,
            highres_unit=32,
            video_min_area=82_944,
            video_max_area=230_400,
            video_unit=64,
            border=127,
            mean=(0.5, 0.5, 0.5),
            std=(0.5, 0.5, 0.5),
        )
        == OLA_SIZES
    )


def test_a_picture_that_fits_keeps_its_pixels_in_the_middle_of_a_grey_border() -> None:
    raw = noise(41, 30)
    _, high = image_pictures(Image.fromarray(raw), SMALL)
    assert high.shape == (32, 48, 3)
    assert np.array_equal(high[1:31, 3:44], raw)
    border = np.ones(high.shape[:2], dtype=bool)
    border[1:31, 3:44] = False
    assert (high[border] == 127).all()


def test_the_low_resolution_is_made_of_the_high_one_with_its_border() -> None:
    low, high = image_pictures(Image.fromarray(noise(41, 30)), SMALL)
    scale = math.sqrt(SMALL.lowres_area / (48 * 32))
    size = int(48 * scale) // 8 * 8, int(32 * scale) // 8 * 8
    expected = Image.fromarray(high).resize(size, Image.Resampling.BICUBIC)
    assert np.array_equal(low, np.asarray(expected))


def test_a_large_picture_is_scaled_down_and_has_no_border() -> None:
    picture = Image.fromarray(noise(300, 200))
    _, high = image_pictures(picture, SMALL)
    assert high.shape == (48, 72, 3)
    assert np.array_equal(high, np.asarray(picture.resize((72, 48), Image.Resampling.BICUBIC)))


def test_modes_other_than_rgb_are_converted() -> None:
    grey = Image.fromarray(noise(16, 16)[..., 0])
    _, high = image_pictures(grey, SMALL)
    assert high.shape == (16, 16, 3)
    assert np.array_equal(high[..., 0], np.asarray(grey))


@pytest.mark.parametrize(
    ("given_size", "made"),
    [((8, 10), (16, 8)), ((20, 30), (32, 24)), ((90, 60), (24, 32)), ((16, 16), (16, 16))],
)
def test_frames_are_enlarged_bordered_or_scaled_down(
    given_size: tuple[int, int], made: tuple[int, int]
) -> None:
    frames = np.stack([noise(*given_size)] * 3)
    out = frame_pictures(frames, SMALL)
    assert out.shape == (3, *made, 3)
    assert np.array_equal(out[0], frame_pictures(frames[:1], SMALL)[0])
    assert (out == 127).all(axis=3).any() == (given_size == (20, 30))


@pytest.mark.parametrize(
    ("width", "height"),
    [(1, 1), (1, 5000), (5000, 1), (20000, 1), (1, 400_000), (3_000_000, 1), (30, 90_000)],
)
def test_absurd_pictures_are_legal_and_bounded(width: int, height: int) -> None:
    raw = np.zeros((height, width, 3), dtype=np.uint8)
    low, high = image_pictures(Image.fromarray(raw))
    frame = frame_pictures(raw[None])[0]
    for picture, unit in ((low, 32), (high, 32), (frame, 64)):
        assert min(picture.shape[:2]) >= unit
        assert picture.shape[0] % unit == picture.shape[1] % unit == 0
        assert picture.min() < 127  # the picture itself is still to be seen in the border
    assert high[..., 0].size <= 2 * OLA_SIZES.highres_max_area
    assert frame[..., 0].size <= 2 * OLA_SIZES.video_max_area
    # The low one may be a strip one unit high; it comes from the high one, which is bounded.
    assert low[..., 0].size <= math.sqrt(2 * OLA_SIZES.highres_max_area * OLA_SIZES.lowres_area)


def test_strips_the_official_code_can_make_are_the_same_here() -> None:
    low, high = image_pictures(Image.fromarray(noise(5000, 1)))
    assert high.shape == (32, 5024, 3)
    assert np.array_equal(high[15, 12:5012], noise(5000, 1)[0])
    assert low.shape == (32, 4800, 3)


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 1_000_000), st.integers(1, 1_000_000), st.sampled_from([0, 288**2]))
def test_every_layout_is_legal_and_bounded(width: int, height: int, min_area: int) -> None:
    unit, max_area = 64, 480**2
    layout = _Layout.between((width, height), min_area, max_area, unit)
    for content, canvas in zip(layout.content, layout.canvas, strict=True):
        assert 1 <= content <= canvas
        assert canvas >= unit
        assert canvas % unit == 0
    assert math.prod(layout.canvas) <= 2 * max_area
    if width * height > max_area and min(width, height) > 0.1 * max(width, height):
        assert layout.content == layout.canvas
        assert 0.5 * max_area < math.prod(layout.canvas) <= max_area


def test_patches_are_those_of_the_normalised_picture_in_the_order_given() -> None:
    sizes = PictureSizes(mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.4))
    pictures = [noise(8, 12), noise(8, 12) // 2, noise(16, 4), noise(8, 12) // 3]
    patches, grids = pixel_patches(pictures, 4, sizes)
    assert grids.tolist() == [[3, 2], [3, 2], [1, 4], [3, 2]]
    assert patches.dtype == torch.float32
    for part, picture in zip(patches.split(grids.prod(1).tolist()), pictures, strict=True):
        values = (picture.astype(np.float32) / 255 - sizes.mean) / sizes.std
        expected, _ = patchify(torch.from_numpy(values.transpose(2, 0, 1)).float(), 4)
        torch.testing.assert_close(part, expected, atol=1e-6, rtol=1e-6)


def test_a_unit_that_the_patch_does_not_divide_is_refused() -> None:
    with pytest.raises(ModelConfigError, match=r"patch size \(14\).*32 x 64"):
        pixel_patches([noise(32, 64)], 14)


def test_nothing_to_see_is_refused() -> None:
    with pytest.raises(MediaEmptyError, match="0 x 4"):
        image_pictures(Image.new("RGB", (0, 4)))
    with pytest.raises(MediaEmptyError, match="4 x 0"):
        frame_pictures(np.zeros((2, 0, 4, 3), dtype=np.uint8))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"lowres_unit": 0}, "lowres_unit must be at least 1"),
        ({"video_unit": 512}, "video_min_area must be at least the square of video_unit"),
        ({"video_max_area": 70_000}, "video_max_area must be at least video_min_area"),
        ({"hires_unit": 32}, "unknown fields: hires_unit"),
    ],
)
def test_sizes_that_contradict_each_other_are_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(ModelConfigError, match=said):
        PictureSizes.from_dict(fields)


def test_sizes_come_from_json() -> None:
    sizes = PictureSizes.from_dict({"mean": [0.1, 0.2, 0.3], "lowres_area": 64**2})
    assert sizes == PictureSizes(mean=(0.1, 0.2, 0.3), lowres_area=64**2)
    assert PictureSizes.from_dict(None) == OLA_SIZES
