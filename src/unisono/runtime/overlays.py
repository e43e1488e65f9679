"""Answers drawn over the picture they are about: boxes, masks, maps, and a line of words."""

import colorsys
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from unisono.runtime.predictor import Answer

_STRENGTH = 0.5
_GOLDEN = 0.618033988749895
_SMALLEST_PX = 256
Colour = tuple[int, int, int]


def overlay(picture: Image.Image, answer: Answer, *, caption: str | None = None) -> Image.Image:
    """What a model found, drawn on the picture; a small picture is enlarged for it.

    Args:
        picture: that was asked about.
        answer: of it.
        caption: written below; by default the likeliest labels, or the largest classes.
    """
    drawn = picture.convert("RGB")
    scale = max(1, -(-_SMALLEST_PX // max(drawn.size)))
    if answer.segmentation is not None:
        drawn = _tinted_classes(drawn, answer.segmentation.classes.numpy())
    for place, thing in enumerate(answer.things):
        if thing.mask is not None:
            drawn = _tinted(drawn, thing.mask.cpu().numpy(), colour(place))
    drawn = drawn.resize((drawn.width * scale, drawn.height * scale), Image.Resampling.NEAREST)
    _boxes(drawn, answer, scale)
    return _captioned(drawn, answer, _words(answer) if caption is None else caption)


def colour(place: int) -> Colour:
    """Neighbouring numbers get colours far apart."""
    red, green, blue = colorsys.hsv_to_rgb(place * _GOLDEN % 1.0, 0.75, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def _tinted(picture: Image.Image, mask: NDArray[np.bool_], tint: Colour) -> Image.Image:
    pixels = np.asarray(picture, dtype=np.float32).copy()
    pixels[mask] = (1 - _STRENGTH) * pixels[mask] + _STRENGTH * np.array(tint, dtype=np.float32)
    return Image.fromarray(pixels.round().astype(np.uint8))


def _tinted_classes(picture: Image.Image, classes: NDArray[np.int64]) -> Image.Image:
    for label in np.unique(classes).tolist():
        picture = _tinted(picture, classes == label, colour(label))
    return picture


def _boxes(picture: Image.Image, answer: Answer, scale: int) -> None:
    pen, font = ImageDraw.Draw(picture), ImageFont.load_default(12)
    for place, (box, words) in enumerate(_named_boxes(answer)):
        # Corners that a model has the wrong way round are drawn all the same.
        left, right = sorted((box[0] * scale, box[2] * scale))
        top, bottom = sorted((box[1] * scale, box[3] * scale))
        pen.rectangle((left, top, right, bottom), outline=colour(place), width=2)
        if words:
            spot = (left + 3, max(0.0, top - 15))
            pen.rectangle(pen.textbbox(spot, words, font=font), fill=colour(place))
            pen.text(spot, words, fill="black", font=font)


def _named_boxes(answer: Answer) -> Iterator[tuple[tuple[float, ...], str]]:
    if answer.box is not None:
        yield answer.box, ""
    for thing in answer.things:
        yield thing.box, f"{thing.name} {thing.score:.0%}"


def _words(answer: Answer) -> str:
    shares = answer.labels or (answer.segmentation.shares() if answer.segmentation else {})
    return ", ".join(f"{name} {share:.0%}" for name, share in list(shares.items())[:4])


def _captioned(picture: Image.Image, answer: Answer, caption: str) -> Image.Image:
    """A white strip below with the words, as wide as the picture."""
    if not caption:
        return picture
    font = ImageFont.load_default(12)
    whole = Image.new("RGB", (picture.width, picture.height + 18), "white")
    whole.paste(picture)
    ImageDraw.Draw(whole).text((4, picture.height + 1), caption, fill="black", font=font)
    return whole
