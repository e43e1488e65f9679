"""Backgrounds made by code: plain, shaded, patterned, and landscapes without anything in them."""

import random
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

RGB = tuple[int, int, int]
_Pixels = NDArray[np.float64]  # [H, W, 3] in [0, 255]


def background(size_px: int, draw: random.Random) -> Image.Image:
    """A square RGB picture that shows nothing one could name."""
    make = draw.choices(list(_KINDS), weights=list(_KINDS.values()))[0]
    return make(size_px, draw)


def _plain(size_px: int, draw: random.Random) -> Image.Image:
    return Image.new("RGB", (size_px, size_px), _colour(draw))


def _shaded(size_px: int, draw: random.Random) -> Image.Image:
    return _picture(_gradient(size_px, _colour(draw), _colour(draw), draw.uniform(0, 2 * np.pi)))


def _grainy(size_px: int, draw: random.Random) -> Image.Image:
    """Coarse and fine noise about one colour: plaster, paper, sand."""
    noise = np.random.default_rng(draw.getrandbits(64))
    coarse = noise.normal(0, draw.uniform(4, 14), (size_px // 8, size_px // 8, 1))
    fine = noise.normal(0, draw.uniform(2, 9), (size_px, size_px, 1))
    large = Image.fromarray(np.uint8(np.clip(coarse[..., 0] * 4 + 128, 0, 255)))
    smooth = np.asarray(large.resize((size_px, size_px), Image.Resampling.BICUBIC), dtype=float)
    return _picture(np.array(_colour(draw)) + (smooth[..., None] - 128) / 4 + fine)


def _striped(size_px: int, draw: random.Random) -> Image.Image:
    one, other = _near_pair(draw)
    down, across = np.mgrid[:size_px, :size_px]
    angle, width = draw.choice([0, np.pi / 4, np.pi / 2, 3 * np.pi / 4]), draw.uniform(5, 16)
    on = (np.cos(angle) * across + np.sin(angle) * down) // width % 2 < 1
    return _picture(np.where(on[..., None], np.array(one), np.array(other)))


def _checked(size_px: int, draw: random.Random) -> Image.Image:
    one, other = _near_pair(draw)
    down, across = np.mgrid[:size_px, :size_px] // draw.randint(8, 20)
    return _picture(np.where(((down + across) % 2 < 1)[..., None], np.array(one), np.array(other)))


def _dotted(size_px: int, draw: random.Random) -> Image.Image:
    one, other = _near_pair(draw)
    picture = Image.new("RGB", (size_px, size_px), one)
    pen, step = ImageDraw.Draw(picture), draw.randint(9, 18)
    radius = step * draw.uniform(0.15, 0.3)
    for row, y in enumerate(range(0, size_px + step, step)):
        for x in range(-(row % 2) * step // 2, size_px + step, step):
            pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=other)
    return picture


def _hills(size_px: int, draw: random.Random) -> Image.Image:
    """Sky above two or three lines of hills, meadow, sand or snow."""
    picture = _sky(size_px, draw)
    pen = ImageDraw.Draw(picture)
    ground = draw.choice([(96, 160, 74), (150, 170, 90), (214, 190, 140), (232, 238, 244)])
    for ridge in range(count := draw.randint(1, 3)):
        height = size_px * (0.5 + 0.4 * ridge / count) + draw.uniform(-6, 6)
        wave, swing = draw.uniform(0.02, 0.06), draw.uniform(2, 9)
        phase = draw.uniform(0, 6)
        line = [(x, height + swing * np.sin(wave * x + phase)) for x in range(size_px + 1)]
        shade = 0.8 + 0.25 * (ridge + 1) / count
        fill = tuple(min(255, int(channel * shade)) for channel in ground)
        pen.polygon([*line, (size_px, size_px), (0, size_px)], fill=fill)
    return picture.filter(ImageFilter.GaussianBlur(0.7))


def _sea(size_px: int, draw: random.Random) -> Image.Image:
    """Sky above water, sometimes with a strip of sand."""
    picture, horizon = _sky(size_px, draw), int(size_px * draw.uniform(0.4, 0.7))
    water = _gradient(size_px, (70, 140, 190), (20, 70, 130), np.pi / 2)
    ripple = 8 * np.sin(np.arange(size_px) * draw.uniform(0.5, 0.9))
    picture.paste(_picture(water + ripple[:, None, None]), (0, horizon))
    if draw.random() < 0.4:
        sand = Image.new("RGB", (size_px, size_px), (222, 200, 150))
        picture.paste(sand, (0, int(size_px * draw.uniform(0.8, 0.9))))
    return picture


def _room(size_px: int, draw: random.Random) -> Image.Image:
    """A wall and a floor."""
    picture = Image.new("RGB", (size_px, size_px), _colour(draw, pale=True))
    floor = int(size_px * draw.uniform(0.62, 0.85))
    boards = _gradient(size_px, (178, 132, 88), (140, 98, 62), np.pi / 2)
    boards[:: draw.randint(7, 12)] *= 0.85
    picture.paste(_picture(boards), (0, floor))
    ImageDraw.Draw(picture).rectangle((0, floor - 3, size_px, floor), fill=(240, 236, 228))
    return picture


_KINDS: dict[Callable[[int, random.Random], Image.Image], int] = {
    _plain: 5,
    _shaded: 4,
    _grainy: 3,
    _striped: 2,
    _checked: 1,
    _dotted: 2,
    _hills: 3,
    _sea: 2,
    _room: 2,
}


def _sky(size_px: int, draw: random.Random) -> Image.Image:
    high, low = draw.choice(
        [
            ((92, 164, 230), (206, 230, 250)),
            ((150, 180, 205), (225, 228, 230)),
            ((70, 60, 120), (240, 160, 120)),
            ((14, 20, 52), (52, 62, 110)),
        ]
    )
    return _picture(_gradient(size_px, high, low, np.pi / 2))


def _gradient(size_px: int, one: RGB, other: RGB, angle: float) -> _Pixels:
    down, across = np.mgrid[:size_px, :size_px]
    along = np.cos(angle) * across + np.sin(angle) * down
    share = (along - along.min()) / max(1e-9, float(np.ptp(along)))
    return np.asarray(np.array(one) + share[..., None] * (np.array(other) - np.array(one)))


def _colour(draw: random.Random, *, pale: bool = False) -> RGB:
    """Any colour; most are pale, as paper and walls are."""
    low, high = (185, 250) if pale or draw.random() < 0.6 else (20, 235)
    return draw.randint(low, high), draw.randint(low, high), draw.randint(low, high)


def _near_pair(draw: random.Random) -> tuple[RGB, RGB]:
    """Two colours for a pattern that does not shout down what stands before it."""
    one = _colour(draw)
    step = draw.choice([-1, 1]) * draw.randint(14, 40)
    red, green, blue = (max(0, min(255, channel + step)) for channel in one)
    return one, (red, green, blue)


def _picture(pixels: _Pixels) -> Image.Image:
    return Image.fromarray(np.uint8(np.clip(pixels, 0, 255)))
