"""The step "drawings": every picture of a thing in the packages, cut out, sized, with its split."""

import io
import json
import warnings
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import get_args

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from unisono.errors import MediaError, MissingExtraError
from unisono.picturebook.clipart import clipart
from unisono.picturebook.drawing import Split
from unisono.picturebook.emoji import emoji
from unisono.picturebook.found import Found
from unisono.picturebook.leak_pictures import Looks, looks, same_pictures
from unisono.picturebook.splits import split_of
from unisono.picturebook.stamps import stamps
from unisono.picturebook.step import Step

SIDE_PX = 192
Row = dict[str, object]
_LARGEST_PIXELS = 50_000_000
_LEAST_SIDE_PX = 8
_UNREADABLE = (OSError, ValueError, Image.DecompressionBombError, Image.DecompressionBombWarning)
_WHITE_ENOUGH = 12
"""How far from white a pixel without transparency may be and still be background."""


def pictures() -> Iterator[Found]:
    """Every picture of every source.

    Raises:
        HubError: a package cannot be had.
    """
    return chain(stamps(), emoji(), clipart())


def build(folder: Path, data: Path) -> None:
    """Fill the folder: PNG files and drawings.jsonl."""
    del data
    with ProcessPoolExecutor(2) as pool:
        rows = [row for row in pool.map(_Cut(folder), _usable(), chunksize=64) if row is not None]
    kept = _apart(folder, rows)
    trained = {row["concept"] for row in kept if row["split"] == "train"}
    kept = [row for row in kept if row["split"] != "unseen_drawing" or row["concept"] in trained]
    with (folder / "drawings.jsonl").open("w", encoding="utf-8") as file:
        for row in kept:
            file.write(json.dumps(row, ensure_ascii=False) + "\n")
    names = {row["name"] for row in kept}
    for row in rows:
        if row["name"] not in names:
            (folder / f"{row['name']}.png").unlink()


STEP = Step("drawings", 2, (), build)


def _apart(folder: Path, rows: Sequence[Row]) -> list[Row]:
    """The rows without pictures that are of two splits, under different names.

    A picture of an unseen concept stays, and what trains goes; an unseen drawing goes itself.
    """
    by_split = {split: [r for r in rows if r["split"] == split] for split in get_args(Split)}
    dropped: set[object] = set()
    seen = {
        split: looks([folder / f"{r['name']}.png" for r in of]) for split, of in by_split.items()
    }
    training = np.arange(len(by_split["train"]))
    while found := _pairs(seen["unseen_concept"], seen["train"].chosen(training)):
        gone = {int(training[other]) for _, other in found}
        training = np.array([i for i in training if i not in gone])
        dropped |= {by_split["train"][i]["name"] for i in gone}
    for one, _ in _pairs(seen["unseen_drawing"], seen["train"].chosen(training)):
        dropped.add(by_split["unseen_drawing"][one]["name"])
    return [row for row in rows if row["name"] not in dropped]


def _pairs(asked: Looks, known: Looks) -> list[tuple[int, int]]:
    views = (asked, asked.mirrored())
    return [(one, other) for view in views for one, other, _ in same_pictures(view, known)]


def _usable() -> Iterator[tuple[Found, Split]]:
    """Each picture once, with its split."""
    names: set[str] = set()
    for found in pictures():
        split = split_of(found)
        if split is not None and found.name not in names:
            names.add(found.name)
            yield found, split


@dataclass(frozen=True)
class _Cut:
    """Makes one picture's file and row; None for what cannot be used."""

    folder: Path

    def __call__(self, one: tuple[Found, Split]) -> Row | None:
        found, split = one
        try:
            image = cut_out(found.picture)
        except MediaError:
            return None
        image.save(self.folder / f"{found.name}.png", compress_level=6)
        return {
            "name": found.name,
            "concept": found.concept,
            "hand": found.hand,
            "group": found.group,
            "split": split,
            "captions": dict(found.captions),
            "keywords": list(found.keywords),
            "photograph": found.photograph,
        }


def cut_out(picture: bytes) -> Image.Image:
    """A picture as RGBA, cropped to what is drawn; its longer side at most `SIDE_PX`.

    Raises:
        MediaError: it cannot be read, is empty, tiny, or too large to be opened.
    """
    image = _opened(picture)
    if min(image.getchannel("A").tobytes()) > 250:
        image.putalpha(_drawn(image))
    box = image.getchannel("A").point(lambda alpha: 255 * (alpha > 8)).getbbox()
    if box is None:
        raise MediaError("the picture is empty")
    image = image.crop(box)
    image.thumbnail((SIDE_PX, SIDE_PX), Image.Resampling.LANCZOS)
    if min(image.size) < _LEAST_SIDE_PX:
        raise MediaError("the picture is too small")
    return image


def _drawn(image: Image.Image) -> Image.Image:
    """The mask of what is not the white around a drawing that has no transparency."""
    white = Image.new("RGB", image.size, "white")
    difference = ImageChops.difference(image.convert("RGB"), white).convert("L")
    mask = difference.point(lambda value: 255 * (value > _WHITE_ENOUGH))
    marked = mask.copy()
    width, height = image.size
    for corner in ((0, 0), (width - 1, 0), (0, height - 1), (width - 1, height - 1)):
        if marked.getpixel(corner) == 0:
            ImageDraw.floodfill(marked, corner, 128)
    return marked.point(lambda value: 255 * (value != 128))


def _opened(picture: bytes) -> Image.Image:
    if picture.lstrip()[:5] in {b"<svg ", b"<?xml", b"<!DOC"} or b"<svg" in picture[:2000]:
        picture = _rendered(picture)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(io.BytesIO(picture)) as image:
                return _of_bearable_size(image).convert("RGBA")
    except _UNREADABLE as error:
        raise MediaError(f"the picture cannot be read: {error}") from error


def _of_bearable_size(image: Image.Image) -> Image.Image:
    if image.width * image.height > _LARGEST_PIXELS:
        raise MediaError("the picture is too large")
    return image


def _rendered(svg: bytes) -> bytes:
    try:
        from resvg_py import svg_to_bytes
    except ImportError as error:
        raise MissingExtraError("resvg-py", "picturebook") from error

    try:
        return bytes(
            svg_to_bytes(svg_string=svg.decode("utf-8"), width=2 * SIDE_PX, skip_system_fonts=True)
        )
    except (ValueError, UnicodeDecodeError) as error:
        raise MediaError(f"the drawing cannot be read: {error}") from error
