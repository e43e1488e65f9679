"""Cut-outs upon a background: pixels and masks of a scene.

Legend: H height, W width, both `SIZE_PX`.
"""

import random
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unisono.picturebook.backgrounds import background
from unisono.picturebook.colours import OPAQUE_ALPHA, recoloured
from unisono.picturebook.scene import SIZE_PX, Scene, Thing

LARGEST_PX = 120
"""Cut-outs are never pasted larger than this."""

_CONTRAST = 75.0  # RGB distance between a thing and what is behind it
_BACKGROUNDS_TRIED = 16


@dataclass(frozen=True)
class Pasted:
    """A scene as a picture.

    Attributes:
        image: RGB, [H, W].
        masks: the visible pixels of each thing, [H, W], in the scene's order.
    """

    image: Image.Image
    masks: tuple[NDArray[np.bool_], ...]


@lru_cache(maxsize=512)
def cut_out(path: Path) -> Image.Image:
    """A drawing as RGBA, at most `LARGEST_PX` long."""
    with Image.open(path) as file:
        picture = file.convert("RGBA")
    shape = scaled(picture.size, LARGEST_PX)
    return picture if max(picture.size) <= LARGEST_PX else _resized(picture, shape)


@lru_cache(maxsize=512)
def painted(path: Path, colour: str) -> Image.Image | None:
    """A drawing painted over in another colour; see `recoloured`."""
    return recoloured(cut_out(path), colour)


def scaled(shape: tuple[int, int], longer_px: float) -> tuple[int, int]:
    """Width and height with the longer side as given."""
    factor = longer_px / max(shape)
    return max(1, round(shape[0] * factor)), max(1, round(shape[1] * factor))


def paste(scene: Scene, draw: random.Random) -> Pasted:
    """Paste a scene's things on a background from which all of them stand out."""
    layers = [_layer(thing) for thing in scene.things]
    image = _background(layers, draw)
    for layer in layers:
        image.paste(layer, mask=layer.getchannel("A"))
    return Pasted(image, tuple(np.asarray(layer)[..., 3] >= OPAQUE_ALPHA for layer in layers))


def _background(layers: list[Image.Image], draw: random.Random) -> Image.Image:
    """The first of some backgrounds on which all things stand out, or else the best."""
    best, best_contrast = Image.new("RGB", (SIZE_PX, SIZE_PX)), -1.0
    for _ in range(_BACKGROUNDS_TRIED):
        behind = background(SIZE_PX, draw)
        contrast = min(_contrast(layer, behind) for layer in layers)
        if contrast > best_contrast:
            best, best_contrast = behind, contrast
        if contrast >= _CONTRAST:
            break
    return best


def _layer(thing: Thing) -> Image.Image:
    """The thing alone on a transparent picture of the scene's size."""
    picture = cut_out(thing.drawing.path)
    if thing.painted and thing.colour is not None:
        picture = painted(thing.drawing.path, thing.colour) or picture
    if thing.flipped:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    layer = Image.new("RGBA", (SIZE_PX, SIZE_PX))
    box = thing.box
    layer.paste(_resized(picture, (box.width, box.height)), (box.left, box.top))
    return layer


def _resized(picture: Image.Image, shape: tuple[int, int]) -> Image.Image:
    return picture.resize(shape, Image.Resampling.LANCZOS, reducing_gap=2.0)


def _contrast(layer: Image.Image, behind: Image.Image) -> float:
    """The median RGB distance between a thing's pixels and those behind them."""
    pixels = np.asarray(layer, dtype=np.float32)
    seen = pixels[..., 3] >= OPAQUE_ALPHA
    if not seen.any():
        return 0.0
    distance = pixels[..., :3][seen] - np.asarray(behind, dtype=np.float32)[seen]
    return float(np.median(np.sqrt((distance**2).sum(axis=1))))
