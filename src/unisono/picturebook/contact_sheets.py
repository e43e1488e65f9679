"""Contact sheets: many small pictures with what was said about them, for a person to look over."""

from collections.abc import Iterable, Sequence
from math import ceil
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from unisono.manifests import ConversationRow, PairRow, Row, StreamedManifest, open_manifest
from unisono.media import ImageSource, load_image
from unisono.picturebook.step import draws

_MARGIN_PX = 6
_FONT_PX = 10
_LINE_PX = 13


def sheet(
    pictures: Sequence[Image.Image], captions: Sequence[str], columns: int, cell_px: int = 128
) -> Image.Image:
    """Pictures in rows, each with its caption below, every line of which is cut to fit.

    Args:
        pictures: any sizes; larger ones are scaled down to `cell_px`.
        captions: one for each; may have several lines.
        columns: pictures in a row.
        cell_px: width and height of a cell, without the caption.

    Returns:
        RGB, on white.

    Raises:
        ValueError: there are not as many captions as pictures, or no columns.
    """
    if len(pictures) != len(captions):
        raise ValueError(f"{len(pictures)} pictures need as many captions, not {len(captions)}")
    if columns < 1:
        raise ValueError(f"columns must be at least 1, but is {columns}")
    lines = max((caption.count("\n") + 1 for caption in captions), default=0)
    wide, high = cell_px + _MARGIN_PX, cell_px + _MARGIN_PX + lines * _LINE_PX
    rows = ceil(len(pictures) / columns)
    whole = Image.new("RGB", (columns * wide + _MARGIN_PX, rows * high + _MARGIN_PX), "white")
    for index, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        row, column = divmod(index, columns)
        left, top = _MARGIN_PX + column * wide, _MARGIN_PX + row * high
        whole.paste(_fitted(picture, cell_px), (left, top))
        _write(whole, caption, (left, top + cell_px), cell_px)
    return whole


def manifest_sheet(rows: Iterable[Row], count: int = 48, columns: int = 8) -> Image.Image:
    """The contact sheet of a manifest: `count` of its rows with pictures, drawn by lot.

    Raises:
        MediaError: a picture cannot be opened.
    """
    shown = [(row, source) for row in rows if (source := _picture_of(row)) is not None]
    chosen = draws("contact sheet").sample(shown, min(count, len(shown)))
    pictures = [load_image(source) for _, source in chosen]
    return sheet(pictures, [_caption(row) for row, _ in chosen], columns)


def write_sheets(folder: Path, manifests: Iterable[str]) -> list[Path]:
    """Contact sheets of manifests in a step's folder, as PNG in its sub-folder "sheets".

    Args:
        folder: of the step.
        manifests: names without suffix, "train" say; those without pictures are left out.

    Returns:
        The files.

    Raises:
        DataError: a manifest cannot be read.
        MediaError: a picture cannot be opened.
    """
    written = []
    for name in manifests:
        manifest = open_manifest(folder / f"{name}.jsonl")
        if isinstance(manifest, StreamedManifest):  # JSONL never is
            continue
        rows = [row for row in map(manifest.__getitem__, range(len(manifest))) if _shows(row)]
        if rows:
            written.append(folder / "sheets" / f"{name}.png")
            written[-1].parent.mkdir(exist_ok=True)
            manifest_sheet(rows).save(written[-1], "PNG", compress_level=9)
    return written


def _shows(row: Row) -> bool:
    return _picture_of(row) is not None


def _picture_of(row: Row) -> ImageSource | None:
    source: ImageSource | None
    if isinstance(row, PairRow):
        source = row.image
        return source
    parts = [part for message in row.messages for part in message.parts]
    source = next((part.image for part in parts if part.type == "image"), None)
    return source


def _caption(row: Row) -> str:
    """A caption as it is; of a conversation, the first questions with their answers."""
    if isinstance(row, PairRow):
        return row.text or ""
    return "\n".join(_turns(row)[:_MOST_TURNS])


_MOST_TURNS = 6


def _turns(row: ConversationRow) -> list[str]:
    said = [
        " ".join(part.text for part in message.parts if part.type == "text")
        for message in row.messages
        if message.role != "system"
    ]
    pairs = zip(said[::2], said[1::2], strict=False)
    return [line for asked, answer in pairs for line in (asked, f"  {answer}")]


def _fitted(picture: Image.Image, cell_px: int) -> Image.Image:
    """RGB on white, no larger than a cell."""
    small = picture.convert("RGBA")
    small.thumbnail((cell_px, cell_px), Image.Resampling.LANCZOS)
    cell = Image.new("RGB", (cell_px, cell_px), "white")
    cell.paste(small, ((cell_px - small.width) // 2, (cell_px - small.height) // 2), small)
    return cell


def _write(whole: Image.Image, caption: str, at: tuple[int, int], width_px: int) -> None:
    font, pen = ImageFont.load_default(_FONT_PX), ImageDraw.Draw(whole)
    for number, line in enumerate(caption.splitlines()):
        fitting = line
        while fitting and pen.textlength(fitting, font) > width_px:
            fitting = fitting[:-1]
        pen.text((at[0], at[1] + number * _LINE_PX), fitting, fill="black", font=font)
