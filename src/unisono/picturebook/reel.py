"""A reel of what was built: `python -m unisono.picturebook.reel DATA reel.mp4`.

Some twenty seconds: a picture with its caption, a sound, a scene, a clip, with what is asked of
them and what is answered.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from unisono.errors import DataError, UnisonoError
from unisono.manifests import ConversationRow, PairRow, Row, StreamedManifest, open_manifest
from unisono.media import SAMPLE_RATE_HZ, load_audio, load_image, load_video
from unisono.picturebook.clip_file import write_clip
from unisono.picturebook.clip_motion import FRAMES_PER_S
from unisono.picturebook.step import draws

WIDTH_PX, HEIGHT_PX = 320, 400
PART_S = 5.0

_SHOWN_PX = 288
_MARGIN_PX = 16
_FONT_PX = 17
_LINE_PX = 23
_GROUND, _INK, _FAINT = "white", (30, 30, 40), (120, 120, 130)

Samples = NDArray[np.float32]
_Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


@dataclass(frozen=True)
class _Part:
    """Some seconds of the reel.

    Attributes:
        frames: pictures shown one after the other, the last for the rest of the time.
        sound: [T] at 16 kHz.
        lines: what stands below: a question and an answer, or a caption.
    """

    frames: Sequence[Image.Image]
    sound: Samples
    lines: tuple[str, ...]


def reel(data: Path, path: Path) -> None:
    """Write a reel of examples, drawn by lot from the tests.

    Args:
        data: the folder of all steps; pictures, sounds, scenes and clips must be built.
        path: of the MP4 file.

    Raises:
        DataError: one of these steps is not there.
        MediaError: a medium cannot be opened.
    """
    parts = (
        _picture(_drawn(data / "pictures" / "test_unseen_drawing.jsonl")),
        _sound(_drawn(data / "sounds" / "test_names.jsonl")),
        _scene(_drawn(data / "scenes" / "test.jsonl")),
        _clip(_drawn(data / "clips" / "test.jsonl")),
    )
    frames = np.concatenate([_frames(part) for part in parts])
    sound = np.concatenate([_fitted(part.sound, round(PART_S * SAMPLE_RATE_HZ)) for part in parts])
    path.parent.mkdir(parents=True, exist_ok=True)
    write_clip(path, frames, sound, frames_per_s=FRAMES_PER_S)


def _drawn(path: Path) -> Row:
    """One row of a manifest, the same each time."""
    manifest = open_manifest(path)
    if isinstance(manifest, StreamedManifest) or not len(manifest):
        raise DataError(f"'{path}' has no rows to show")
    return manifest[draws("reel", path.parent.name).randrange(len(manifest))]


def _picture(row: Row) -> _Part:
    if not isinstance(row, PairRow) or row.image is None:
        raise DataError(f"{row.name} must be a picture with a caption, but is not")
    return _Part([load_image(row.image)], np.zeros(0, np.float32), (row.text or "",))


def _sound(row: Row) -> _Part:
    """A sound is shown as a wave, drawn as it is heard."""
    if not isinstance(row, PairRow) or row.audio is None:
        raise DataError(f"{row.name} must be a sound with its name, but is not")
    sound = load_audio(row.audio)
    return _Part(_waves(sound), sound, ("What do you hear?", row.text or ""))


def _scene(row: Row) -> _Part:
    question, answer, media = _said(row)
    return _Part([load_image(media)], np.zeros(0, np.float32), (question, answer))


def _clip(row: Row) -> _Part:
    question, answer, media = _said(row)
    video = load_video(media, frames=round(PART_S * FRAMES_PER_S))
    sound = np.zeros(0, np.float32) if video.audio is None else video.audio
    return _Part([Image.fromarray(frame) for frame in video.frames], sound, (question, answer))


def _said(row: Row) -> tuple[str, str, str]:
    """The first question and answer, and what they are about."""
    if not isinstance(row, ConversationRow):
        raise DataError(f"{row.name} must be a conversation, but is a pair")
    texts = [
        " ".join(part.text for part in message.parts if part.type == "text")
        for message in row.messages
    ]
    media = [
        str(part.image if part.type == "image" else part.video)
        for message in row.messages
        for part in message.parts
        if part.type in ("image", "video")
    ]
    if len(texts) < 2 or not media:
        raise DataError(f"{row.name} must ask about a picture or a video, but does not")
    return texts[0], texts[1], media[0]


def _frames(part: _Part) -> NDArray[np.uint8]:
    """[frames of a part, height, width, 3]."""
    count = round(PART_S * FRAMES_PER_S)
    shown = [np.asarray(_page(picture, part.lines)) for picture in part.frames[:count]]
    return np.stack([*shown, *shown[-1:] * (count - len(shown))])


def _page(picture: Image.Image, lines: Sequence[str]) -> Image.Image:
    page = Image.new("RGB", (WIDTH_PX, HEIGHT_PX), _GROUND)
    larger = picture.convert("RGB").resize((_SHOWN_PX, _SHOWN_PX), Image.Resampling.BICUBIC)
    page.paste(larger, (_MARGIN_PX, _MARGIN_PX))
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(_FONT_PX)
    top = _SHOWN_PX + 2 * _MARGIN_PX
    for number, text in enumerate(lines):
        colour = _INK if number == len(lines) - 1 else _FAINT
        for line in _broken(text, pen, font):
            pen.text((_MARGIN_PX, top), line, fill=colour, font=font)
            top += _LINE_PX
    return page


def _broken(text: str, pen: ImageDraw.ImageDraw, font: _Font) -> list[str]:
    """Text in lines that fit the page."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if lines[-1] and pen.textlength(longer, font) > WIDTH_PX - 2 * _MARGIN_PX:
            lines.append(word)
        else:
            lines[-1] = longer
    return lines


def _waves(sound: Samples) -> list[Image.Image]:
    """The wave of a sound, frame by frame as far as it has been heard."""
    heard_s = min(PART_S, len(sound) / SAMPLE_RATE_HZ)
    count = ceil(heard_s * FRAMES_PER_S)
    return [_wave(sound, (index + 1) / count) for index in range(count)]


def _wave(sound: Samples, share: float) -> Image.Image:
    picture = Image.new("RGB", (_SHOWN_PX, _SHOWN_PX), (244, 245, 248))
    pen, middle = ImageDraw.Draw(picture), _SHOWN_PX / 2
    peaks = [np.abs(piece).max(initial=0.0) for piece in np.array_split(sound, _SHOWN_PX // 3)]
    scale = 0.45 * _SHOWN_PX / max(1e-6, *peaks)
    for index, peak in enumerate(peaks):
        colour = (60, 90, 190) if index < share * len(peaks) else (200, 206, 222)
        half = max(1.0, float(peak) * scale)
        pen.line((3 * index, middle - half, 3 * index, middle + half), fill=colour, width=2)
    return picture


def _fitted(sound: Samples, length: int) -> Samples:
    cut = sound[:length]
    return np.pad(cut, (0, length - len(cut)))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns 2 if the data cannot be shown."""
    parser = argparse.ArgumentParser(prog="python -m unisono.picturebook.reel")
    parser.description = "Show some of the picturebook as a short video."
    parser.add_argument("data", type=Path, help="the folder of all steps")
    parser.add_argument("path", type=Path, help="the MP4 file to write")
    given = parser.parse_args(arguments)
    try:
        reel(given.data, given.path)
    except UnisonoError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
