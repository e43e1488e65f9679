"""Small JPEGs by which people recognise what was found."""

import io
import itertools

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIDE_PX = 128
_WAVE_PX = (128, 64)
_PAPER, _INK = (244, 244, 240), (60, 90, 140)


def jpeg(picture: Image.Image) -> bytes:
    """A picture with its longer side at most 128 px; transparent parts are white."""
    small = picture.copy()
    small.thumbnail((SIDE_PX, SIDE_PX))
    if "A" in small.getbands():
        ground = Image.new("RGB", small.size, "white")
        ground.paste(small, mask=small.getchannel("A"))
        small = ground
    buffer = io.BytesIO()
    small.convert("RGB").save(buffer, "JPEG", quality=80)
    return buffer.getvalue()


def waveform_jpeg(samples: NDArray[np.float32]) -> bytes:
    """A sound as it goes up and down; quiet ones are drawn as high as loud ones."""
    width, height = _WAVE_PX
    picture = Image.new("RGB", _WAVE_PX, _PAPER)
    draw = ImageDraw.Draw(picture)
    for x, peak in enumerate(peaks(np.abs(samples), width)):
        half = max(0.5, peak * (height / 2 - 2))
        draw.line([(x, height / 2 - half), (x, height / 2 + half)], fill=_INK)
    return jpeg(picture)


def peaks(loudness: NDArray[np.float32], columns: int) -> NDArray[np.float64]:
    """[T] -> [columns] the greatest of each column's stretch, the loudest of all being 1."""
    edges = np.linspace(0, len(loudness), columns + 1).astype(int)
    stretches = itertools.pairwise(edges)
    found = np.array([loudness[a : max(b, a + 1)].max(initial=0.0) for a, b in stretches])
    return found / max(float(found.max()), 1e-6)
