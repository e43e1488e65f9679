"""Pictures: from any source to one upright RGB `PIL.Image`.

Knows Pillow, orientation, transparency and bit depths. Colour profiles are not applied, and
of an animation the first picture is taken. Sizes, patches and normalisation are the
processors' affair.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from unisono.errors import (
    MediaDecodeError,
    MediaEmptyError,
    MediaTooLargeError,
    MediaTruncatedError,
)
from unisono.media.framing import cut_short
from unisono.media.source import (
    DEFAULT_LIMITS,
    Limits,
    OpenedSource,
    Source,
    check_finite,
    open_source,
)

ImageSource = Source | NDArray[Any] | Image.Image

# Not every format Pillow knows: EPS, for one, would be run through Ghostscript.
_FORMATS = (
    *("PNG", "JPEG", "WEBP", "GIF", "BMP", "DIB", "TIFF", "AVIF"),
    *("JPEG2000", "PPM", "ICO", "TGA"),
)


_INDEXED = ("L", "P", "1")
"""Modes of Pillow whose values are not colours mixed of three."""


def load_image(source: ImageSource, *, limits: Limits = DEFAULT_LIMITS) -> Image.Image:
    """A picture as RGB, upright (EXIF orientation applied), transparency laid on white.

    source: a path, bytes, a `data:` URL, a `PIL.Image`, or an array [H, W], [H, W, 3] or
    [H, W, 4], uint8 or float in [0, 1].

    Raises MediaNotFoundError, MediaAccessError, MediaDecodeError, MediaTruncatedError,
    MediaEmptyError, and MediaTooLargeError (from the header, before pixels are decoded).
    """
    if isinstance(source, Image.Image):
        _check_pixels(source.size, "image", limits)
        return _decoded(source, "image")
    if isinstance(source, np.ndarray):
        return _to_rgb(_from_array(source, limits))
    with open_source(source, "image", limits) as media:
        try:
            return _load_file(media, limits)
        except MediaDecodeError:
            reason = cut_short(media.stream, media.size_bytes)
            if reason is None:
                raise
            raise MediaTruncatedError(f"{media.name} is cut short: {reason}") from None


def load_class_map(source: Source, *, limits: Limits = DEFAULT_LIMITS) -> NDArray[np.uint8]:
    """The class of every pixel, from a picture whose values (grey, or of a palette) are classes.

    Args:
        source: PNG, say; nothing that loses bits.
        limits: as for `load_image`.

    Returns:
        uint8 [H, W].

    Raises:
        MediaDecodeError: it has colours, or as `load_image`.
    """
    with open_source(source, "image", limits) as media, _open_image(media) as picture:
        _check_pixels(picture.size, media.name, limits)
        if picture.mode not in _INDEXED:
            raise MediaDecodeError(
                f"classes of pixels must be grey or of a palette, but {media.name} is "
                f"{picture.mode} instead"
            )
        _load_pixels(picture, media.name)
        return np.array(picture, dtype=np.uint8)


def image_size(source: Source, *, limits: Limits = DEFAULT_LIMITS) -> tuple[int, int]:
    """Width and height as a file's header says, before its orientation is applied.

    Raises:
        MediaError: as `load_image`, for what the header shows.
    """
    with open_source(source, "image", limits) as media, _open_image(media) as picture:
        _check_pixels(picture.size, media.name, limits)
        return picture.size


def _load_file(media: OpenedSource, limits: Limits) -> Image.Image:
    with _open_image(media) as picture:
        _check_pixels(picture.size, media.name, limits)
        return _decoded(picture, media.name)


def _open_image(media: OpenedSource) -> Image.Image:
    """Reads the header only."""
    Image.init()  # given a list of formats, Pillow does not load their plugins by itself
    try:
        return Image.open(media.stream, formats=[name for name in _FORMATS if name in Image.OPEN])
    except Image.DecompressionBombError:
        raise MediaTooLargeError(f"{media.name} has far too many pixels") from None
    except UnidentifiedImageError:
        raise MediaDecodeError(f"{media.name} is not an image that can be decoded") from None
    except Exception as error:  # Pillow's plugins let struct.error, SyntaxError and more out
        raise _damaged(media.name, error) from None


def _decoded(picture: Image.Image, name: str) -> Image.Image:
    upright = _load_pixels(picture, name)
    if 0 in upright.size:
        raise MediaEmptyError(f"{name} has no pixels")
    return _to_rgb(upright)


def _load_pixels(picture: Image.Image, name: str) -> Image.Image:
    """The same picture, upright."""
    try:
        picture.load()
        return ImageOps.exif_transpose(picture)
    except Exception as error:
        if "truncated" in str(error) or isinstance(error, EOFError):
            raise MediaTruncatedError(f"{name} is cut short: pixels are missing") from None
        raise _damaged(name, error) from None


def _damaged(name: str, error: Exception) -> MediaDecodeError:
    reason = " ".join(str(error).split()) or type(error).__name__
    return MediaDecodeError(f"{name} cannot be decoded: {reason}")


def _check_pixels(size: tuple[int, int], name: str, limits: Limits) -> None:
    width, height = size
    if width * height > limits.max_pixels:
        raise MediaTooLargeError(
            f"{name} is {width:,} × {height:,} = {width * height:,} pixels; "
            f"the limit is {limits.max_pixels:,}"
        )


def _to_rgb(picture: Image.Image) -> Image.Image:
    if picture.mode == "RGB":
        return picture.copy()
    if picture.mode.startswith("I") or picture.mode == "F":
        picture = Image.fromarray(_to_eight_bits(np.asarray(picture)))
    if picture.has_transparency_data:
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture.convert("RGBA"))
    return picture.convert("RGB")


def _to_eight_bits(gray: NDArray[Any]) -> NDArray[np.uint8]:
    """[H, W] of more than 8 bits (Pillow would clip instead of scale): 65,535 is white.

    Floats are white at 1 when none is beyond it, else at 255.
    """
    if np.issubdtype(gray.dtype, np.floating):
        white = 1.0 if np.nanmax(gray, initial=0.0) <= 1.0 else 255.0
    else:
        white = 65_535.0
    scaled = np.nan_to_num(gray.astype(np.float64)) * (255.0 / white)
    return np.clip(np.rint(scaled), 0, 255).astype(np.uint8)


def _from_array(array: NDArray[Any], limits: Limits) -> Image.Image:
    name = f"image array of shape {array.shape}"
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (3, 4)):
        raise MediaDecodeError(f"{name} must be [H, W], [H, W, 3] or [H, W, 4]")
    if array.size == 0:
        raise MediaEmptyError(f"{name} has no pixels")
    _check_pixels((array.shape[1], array.shape[0]), name, limits)
    if np.issubdtype(array.dtype, np.floating):
        check_finite(array, name)
        if array.min() < 0 or array.max() > 1:
            raise MediaDecodeError(
                f"{name} must hold floats in [0, 1], but holds "
                f"{array.min():g} to {array.max():g} instead"
            )
        array = np.rint(array.astype(np.float64) * 255).astype(np.uint8)
    if array.dtype != np.uint8:
        raise MediaDecodeError(f"{name} must be uint8 or float, but is {array.dtype} instead")
    return Image.fromarray(np.ascontiguousarray(array))
