"""Hits as one picture to look over: previews in rows, each with its name, place and score.

What has no preview is drawn: a sound as its waveform, a passage as its words. A file that is gone
or broken since it was indexed is a tile with its name, and no error.
"""

import io
import os
import textwrap
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from math import ceil
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont, UnidentifiedImageError

from unisono.errors import MediaAccessError, MediaError
from unisono.media import Limits, load_audio, load_image
from unisono.retrieval.hit import Hit
from unisono.retrieval.thumbnail import peaks

CELL_PX = 160
_MARGIN_PX = 8
_FONT_PX = 12
_LINE_PX = 15
_CAPTION_LINES = 2
_INK, _FAINT, _PAPER, _WAVE = "#202020", "#707070", "#f0f0f0", "#2060a0"
_WAVE_RATE_HZ = 4000
_WAVE_LIMITS = Limits(max_seconds=600)
"""Drawing a sound is not worth decoding more of it."""
_FONT = "DejaVuSans.ttf"
"""Has the letters of more scripts than Pillow's own font."""


def contact_sheet(hits: Sequence[Hit], *, columns: int = 5, cell_px: int = CELL_PX) -> Image.Image:
    """Hits in rows, from left to right, RGB on white.

    Args:
        hits: at least one, for a sheet with something on it.
        columns: hits in a row.
        cell_px: width and height of a preview; the caption is below.

    Raises:
        ValueError: there are no columns.
    """
    if columns < 1:
        raise ValueError(f"columns must be at least 1, but is {columns} instead")
    columns = max(1, min(columns, len(hits)))
    wide = cell_px + _MARGIN_PX
    high = wide + _CAPTION_LINES * _LINE_PX
    size = (columns * wide + _MARGIN_PX, ceil(len(hits) / columns) * high + _MARGIN_PX)
    sheet = Image.new("RGB", size, "white")
    for number, hit in enumerate(hits):
        row, column = divmod(number, columns)
        left, top = _MARGIN_PX + column * wide, _MARGIN_PX + row * high
        preview = _preview(hit, cell_px)
        middle = (left + (cell_px - preview.width) // 2, top + (cell_px - preview.height) // 2)
        sheet.paste(preview, middle)
        _write_caption(sheet, hit, (left, top + cell_px), cell_px)
    return sheet


def write_contact_sheet(hits: Sequence[Hit], path: str | os.PathLike[str]) -> None:
    """Write `contact_sheet` as a PNG file.

    Raises:
        MediaAccessError: it cannot be written there.
    """
    buffer = io.BytesIO()
    contact_sheet(hits).save(buffer, "PNG")
    try:
        Path(path).write_bytes(buffer.getvalue())
    except OSError as error:
        raise MediaAccessError(f"'{path}' cannot be written: {error.strerror}") from error


def _preview(hit: Hit, side_px: int) -> Image.Image:
    """RGB, at most `side_px` wide and high."""
    if hit.thumbnail:
        try:
            return _fitted(load_image(hit.thumbnail), side_px)
        except MediaError:
            pass  # broken in the table: it is drawn like one that never was
    try:
        return _DRAWN.get(hit.modality, _name_tile)(hit, side_px)
    except (MediaError, UnidentifiedImageError):
        return _name_tile(hit, side_px)


def _picture(hit: Hit, side_px: int) -> Image.Image:
    return _fitted(load_image(hit.path), side_px)


def _waveform(hit: Hit, side_px: int) -> Image.Image:
    """The loudest sample of each column's stretch of time, up and down from the middle."""
    samples = load_audio(hit.path, sample_rate_hz=_WAVE_RATE_HZ, limits=_WAVE_LIMITS)
    start = round((hit.start_s or 0.0) * _WAVE_RATE_HZ)
    end = len(samples) if hit.end_s is None else round(hit.end_s * _WAVE_RATE_HZ)
    heights = peaks(np.abs(samples[start:end]), side_px) * (side_px / 2 - 4)
    tile = Image.new("RGB", (side_px, side_px), _PAPER)
    draw = ImageDraw.Draw(tile)
    for x, height in enumerate(heights):
        draw.line((x, side_px / 2 - height, x, side_px / 2 + height), fill=_WAVE)
    return tile


def _passage(hit: Hit, side_px: int) -> Image.Image:
    return _written(hit.text or hit.name, side_px, _INK)


def _name_tile(hit: Hit, side_px: int) -> Image.Image:
    return _written(f"{hit.modality}\n{hit.name}", side_px, _FAINT)


_DRAWN: Mapping[str, Callable[[Hit, int], Image.Image]] = {
    "image": _picture,
    "audio": _waveform,
    "text": _passage,
    "page": _passage,
}


def _written(text: str, side_px: int, colour: str) -> Image.Image:
    """As many lines of a text as there is room for."""
    tile = Image.new("RGB", (side_px, side_px), _PAPER)
    draw = ImageDraw.Draw(tile)
    letters = max(1, int((side_px - 12) / (0.6 * _FONT_PX)))
    lines = [one for line in text.splitlines() for one in textwrap.wrap(line, letters)]
    for number, line in enumerate(lines[: (side_px - 12) // _LINE_PX]):
        draw.text((6, 6 + number * _LINE_PX), line, fill=colour, font=_font())
    return tile


def _fitted(picture: Image.Image, side_px: int) -> Image.Image:
    picture = picture.convert("RGB")
    picture.thumbnail((side_px, side_px))
    return picture


def _write_caption(sheet: Image.Image, hit: Hit, at: tuple[int, int], wide_px: int) -> None:
    draw = ImageDraw.Draw(sheet)
    place = f"  {hit.place}" if hit.place else ""
    for line, colour in ((hit.name, _INK), (f"{hit.score:.3f}{place}", _FAINT)):
        draw.text(at, _cut(draw, line, wide_px), fill=colour, font=_font())
        at = (at[0], at[1] + _LINE_PX)


def _cut(draw: ImageDraw.ImageDraw, text: str, wide_px: int) -> str:
    """A text of one line, with "…" for an end that does not fit."""
    text = " ".join(text.split())
    if draw.textlength(text, font=_font()) <= wide_px:
        return text
    while text and draw.textlength(text + "…", font=_font()) > wide_px:
        text = text[:-1]
    return text + "…"


@cache
def _font() -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    try:
        return ImageFont.truetype(_FONT, _FONT_PX)
    except OSError:
        return ImageFont.load_default(_FONT_PX)
