import io
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from unisono import errors
from unisono.media import Limits, load_image

RED = (250, 10, 20)


def encoded(picture: Image.Image, form="PNG", **options) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, form, **options)
    return buffer.getvalue()


def noise(size=(64, 48)) -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), np.uint8))


def png_header(width: int, height: int) -> bytes:
    ihdr = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", 13) + ihdr + struct.pack(">I", zlib.crc32(ihdr))
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk
        + struct.pack(">I", 0)
        + b"IDAT"
        + struct.pack(">I", zlib.crc32(b"IDAT"))
        + b"\0\0\0\0IEND\xaeB`\x82"
    )


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF"])
def test_formats(form, tmp_path):
    data = encoded(Image.new("RGB", (32, 24), RED), form)
    path = tmp_path / "mislabelled.gif"
    path.write_bytes(data)
    for source in (data, path):
        picture = load_image(source)
        assert (picture.mode, picture.size) == ("RGB", (32, 24))
        assert np.abs(np.asarray(picture).astype(int) - RED).max() <= 6


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"]
)
def test_modes_come_out_white_where_they_are_white(mode):
    if mode in ("I;16", "I"):
        white = Image.fromarray(np.full((8, 8), 65_535, np.uint16 if mode == "I;16" else np.int32))
    elif mode == "F":
        white = Image.fromarray(np.ones((8, 8), np.float32))
    else:
        white = Image.new("RGB", (8, 8), "white").convert(mode)
    assert (np.asarray(load_image(white)) == 255).all()
    form = "PNG" if mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16") else "TIFF"
    assert (np.asarray(load_image(encoded(white, form))) == 255).all()


def test_sixteen_bit_gray_is_scaled_and_not_clipped():
    gray = Image.fromarray(np.full((4, 4), 32_768, np.uint16))
    assert (np.asarray(load_image(encoded(gray))) == 128).all()


def test_exif_orientation_is_applied():
    picture = Image.new("RGB", (40, 20), "white")
    picture.paste((0, 0, 0), (0, 0, 20, 20))  # left half black
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise: the left goes up
    upright = load_image(encoded(picture, "JPEG", exif=exif, quality=95))
    assert upright.size == (20, 40)
    assert upright.getpixel((10, 5))[0] < 30
    assert upright.getpixel((10, 35))[0] > 225


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_transparency_is_laid_on_white(mode):
    clear = Image.new("RGBA", (4, 4), (0, 0, 0, 0)).convert(mode)
    data = encoded(clear, "PNG", **({"transparency": 0} if mode == "P" else {}))
    assert load_image(data).getpixel((0, 0)) == (255, 255, 255)
    half = Image.new("RGBA", (4, 4), (0, 0, 0, 128))
    assert load_image(half).getpixel((0, 0)) == (127, 127, 127)


@pytest.mark.parametrize("shape", [(6, 5), (6, 5, 3), (6, 5, 4)])
def test_arrays(shape):
    array = np.random.default_rng(1).integers(0, 256, shape, np.uint8)
    if shape[-1] == 4:
        array[..., 3] = 255
    from_bytes, from_floats = load_image(array), load_image((array / 255).astype(np.float32))
    expected = array[..., :3] if array.ndim == 3 else np.repeat(array[..., None], 3, 2)
    assert from_bytes.size == (5, 6)
    np.testing.assert_array_equal(np.asarray(from_bytes), expected)
    np.testing.assert_array_equal(np.asarray(from_floats), expected)


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((3, 4, 5)), "must be"),
        (np.zeros(7), "must be"),
        (np.full((4, 4), np.nan), "not finite"),
        (np.full((4, 4), 1.5), "floats in"),
        (np.full((4, 4), -0.1), "floats in"),
        (np.zeros((4, 4), np.int64), "must be uint8 or float, but is int64"),
        (np.zeros((4, 4), bool), "bool"),
    ],
)
def test_arrays_that_are_no_pictures(array, words):
    with pytest.raises(errors.MediaDecodeError, match=words):
        load_image(array)


def test_nothing_in_an_array():
    with pytest.raises(errors.MediaEmptyError):
        load_image(np.zeros((0, 4, 3), np.uint8))


def test_the_callers_picture_is_left_alone():
    picture = noise()
    load_image(picture).paste((0, 0, 0), (0, 0, 64, 48))
    assert np.asarray(picture).any()


@pytest.mark.parametrize("side", [9_500, 13_000, 100_000, 2**31 - 1])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_bombs_are_refused_from_the_header(side):
    with pytest.raises(errors.MediaTooLargeError, match="pixels"):
        load_image(png_header(side, side))


def test_the_pixel_limit_is_exact():
    limits = Limits(max_pixels=64 * 48)
    assert load_image(noise(), limits=limits).size == (64, 48)
    for source in (noise((65, 48)), encoded(noise((65, 48))), np.zeros((48, 65), np.uint8)):
        with pytest.raises(
            errors.MediaTooLargeError, match="65 × 48 = 3,120 pixels; the limit is 3,072"
        ):
            load_image(source, limits=limits)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "BMP"])
@pytest.mark.parametrize("part", [0.5, 0.9])
def test_truncated_files(form, part):
    data = encoded(noise(), form)
    with pytest.raises(errors.MediaTruncatedError, match="cut short"):
        load_image(data[: int(len(data) * part)])


@pytest.mark.parametrize(
    "data", [b"x", b"hello " * 100, bytes(1000), b"%!PS-Adobe-3.0 EPSF-3.0\n" * 9]
)
def test_what_is_no_picture(data):
    with pytest.raises(errors.MediaDecodeError, match=r"^image \([\d,]+ bytes\)"):
        load_image(data)


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "AVIF"])
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damage_raises_media_errors_only(form):
    data, rng = encoded(noise(), form), random.Random(form)
    faults = []
    for _ in range(60):
        damaged = bytearray(data[: rng.randrange(1, len(data))] if rng.random() < 0.4 else data)
        for _ in range(rng.randrange(1, 8)):
            damaged[rng.randrange(min(len(damaged), 200))] ^= 1 << rng.randrange(8)
        try:
            assert load_image(bytes(damaged)).mode == "RGB"
        except errors.MediaError as error:
            faults.append(str(error))
    assert faults
    assert not any("\n" in fault for fault in faults)
    assert load_image(data).size == (64, 48)
