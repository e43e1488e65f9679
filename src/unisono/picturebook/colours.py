"""The basic colour names, and the one that a cut-out has if it clearly has one.

A colour is judged in hue, saturation and value, as a person would name it on white paper. What
lies between two names (beige, turquoise, olive) has none, so that nothing is asked about it.
Legend: H height, W width of a picture in px.
"""

import colorsys
import random

import numpy as np
from numpy.typing import NDArray
from PIL import Image

COLOURS = (
    *("red", "orange", "yellow", "green", "blue", "purple", "pink"),
    *("brown", "black", "grey", "white"),
)
"""The names a thing's colour may have."""

CLEAR_SHARE = 0.6
"""A thing has a colour if that covers more than this share of its opaque pixels."""

OPAQUE_ALPHA = 128
_NAMELESS = len(COLOURS)
_Pixels = NDArray[np.float32]
_HSV_UNITS = np.array([360 / 256, 1 / 255, 1 / 255], dtype=np.float32)  # of Pillow's bytes

# Hue in degrees, saturation, value: what `recoloured` makes of a thing.
_PURE = {
    "red": (0.0, 0.85, 0.85),
    "orange": (27.0, 0.9, 0.98),
    "yellow": (52.0, 0.85, 0.97),
    "green": (120.0, 0.75, 0.65),
    "blue": (218.0, 0.8, 0.85),
    "purple": (276.0, 0.65, 0.7),
    "pink": (335.0, 0.42, 0.98),
    "brown": (25.0, 0.7, 0.48),
    "black": (0.0, 0.0, 0.12),
    "grey": (0.0, 0.0, 0.55),
    "white": (0.0, 0.0, 0.97),
}
_HUE_SWING = 6.0  # shading within a recoloured thing may not lead to the next name


def colour_shares(picture: Image.Image) -> dict[str, float]:
    """The share of each colour name in the opaque pixels; what has no name is missing.

    Args:
        picture: RGBA.
    """
    opaque = np.asarray(picture.getchannel("A")) >= OPAQUE_ALPHA
    counts = np.bincount(_named(_hsv(picture))[opaque], minlength=_NAMELESS + 1)
    total = max(1, int(counts.sum()))
    return {name: float(counts[i]) / total for i, name in enumerate(COLOURS)}


def colour_of(picture: Image.Image) -> str | None:
    """The name of the one colour that covers a cut-out (RGBA), or None if no colour does."""
    name, share = max(colour_shares(picture).items(), key=lambda item: item[1])
    return name if share > CLEAR_SHARE else None


def recoloured(picture: Image.Image, colour: str) -> Image.Image | None:
    """A cut-out (RGBA) painted over in another colour: lights, shades and other colours stay.

    Returns:
        The same drawing in that colour, or None if it has no clear colour to replace or would
        not clearly have the new one.
    """
    old = colour_of(picture)
    if old is None:
        return None
    hsv = _hsv(picture)
    covered = _named(hsv) == COLOURS.index(old)
    hsv[covered] = _painted(hsv[covered], _PURE[colour])
    new = _rgb(hsv)
    new.putalpha(picture.getchannel("A"))
    return new if colour_of(new) == colour else None


def shade(colour: str, draw: random.Random) -> tuple[int, int, int]:
    """Some RGB that everybody would call by a colour's name."""
    hue, saturation, value = _PURE[colour]
    varied = [hue + draw.uniform(-5, 5), saturation * draw.uniform(0.9, 1), value]
    varied[2] = min(0.99, value * draw.uniform(0.95, 1.05))
    red, green, blue = colorsys.hsv_to_rgb(varied[0] / 360 % 1, *varied[1:])
    return round(255 * red), round(255 * green), round(255 * blue)


def _painted(hsv: _Pixels, target: tuple[float, float, float]) -> _Pixels:
    """Pixels [N, 3] moved so that their median is the target colour; their shading is kept."""
    hue, saturation, value = target
    middle = np.median(hsv, axis=0)
    swing = np.clip((hsv[:, 0] - middle[0] + 180) % 360 - 180, -_HUE_SWING, _HUE_SWING)
    new = np.empty_like(hsv)
    new[:, 0] = (hue + swing) % 360
    new[:, 1] = np.clip(saturation + 0.3 * saturation * (hsv[:, 1] - middle[1]), 0, 1)
    new[:, 2] = np.clip(value + 0.4 * value * (hsv[:, 2] - middle[2]), 0, 1)
    return new


def _hsv(picture: Image.Image) -> _Pixels:
    """[H, W, 3]: hue in degrees, saturation and value in [0, 1]."""
    pixels = np.asarray(picture.convert("RGB").convert("HSV"), dtype=np.float32)
    return pixels * _HSV_UNITS


def _rgb(hsv: _Pixels) -> Image.Image:
    """The way back from `_hsv`."""
    return Image.fromarray(np.uint8(np.clip(np.rint(hsv / _HSV_UNITS), 0, 255)), "HSV").convert(
        "RGB"
    )


def _named(hsv: _Pixels) -> NDArray[np.int64]:
    """The index in COLOURS of every pixel's colour name, [H, W, 3] -> [H, W]; or _NAMELESS."""
    h, s, v = np.moveaxis(hsv, -1, 0)
    reddish = (h < 12) | (h >= 345)
    rules = [
        ("black", (v < 0.2) | ((v < 0.3) & (s < 0.35))),
        ("white", (v > 0.88) & (s < 0.08)),
        ("grey", (s < 0.13) & (v <= 0.88)),
        ("", s < 0.13),
        ("pink", reddish & (v > 0.75) & (s < 0.6)),
        ("brown", reddish & ((v < 0.5) | (s < 0.45))),
        ("red", reddish),
        ("", (h < 68) & (s < 0.3) & (v > 0.6)),  # beige
        ("brown", (h < 45) & ((v < 0.72) | ((s < 0.5) & (v < 0.85)))),
        ("orange", (h < 41) & (s > 0.5)),
        ("yellow", (h >= 41) & (h < 68) & (v > 0.7)),
        ("green", (h >= 68) & (h < 168)),
        ("", (h < 68) | ((h >= 168) & (h < 186))),  # olive, skin; turquoise
        ("blue", h < 252),
        ("purple", h < 300),
        ("pink", v > 0.72),
        ("purple", h < 335),
    ]
    names = [*COLOURS, ""]
    return np.select(
        [rule for _, rule in rules], [names.index(name) for name, _ in rules], _NAMELESS
    )
