"""The step "printed_words": one or two words of the lexicon, printed, to be read.

    train.jsonl              2,000 pictures: what is written, and in what colour
    test_unseen_words.jsonl  words that training never shows, in its typefaces
    test_unseen_fonts.jsonl  its words, in typefaces that it never has
    sheets/                  contact sheets, to look at

Both tests ask in words of their own.
"""

import io
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from unisono.conversation import ImagePart, Message, TextPart
from unisono.manifests import ConversationRow, write_manifest
from unisono.picturebook.backgrounds import background
from unisono.picturebook.colours import COLOURS, shade
from unisono.picturebook.contact_sheets import write_sheets
from unisono.picturebook.lexicon import lexicon
from unisono.picturebook.packages import members
from unisono.picturebook.scene import SIZE_PX
from unisono.picturebook.step import Step, draws

TRAIN_PICTURES = 2_000
TEST_PICTURES = 200
SMALLEST_PX = 18
"""Size of type."""

_LARGEST_PX = 46
_WIDEST_PX = 114
_LETTERS = range(2, 10)
_ONE_LINE_LETTERS = 9
_HELD_OUT = 0.12
_DEGREES = (-8.0, 8.0)
_LEAST_CONTRAST = 110.0  # of luminance, 0 to 255
_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
_BACKGROUNDS_TRIED = 12
_JPEG_QUALITY = 92

TRAIN_FONTS = {
    "font-liberation2": (
        *("LiberationSans-Regular.ttf", "LiberationSans-Bold.ttf", "LiberationSerif-Regular.ttf"),
        *("LiberationSerif-Bold.ttf", "LiberationMono-Regular.ttf", "LiberationMono-Bold.ttf"),
    ),
    "font-comic-neue": ("ComicNeue-Regular.otf", "ComicNeue-Bold.otf"),
    "font-quicksand": ("Quicksand-Medium.ttf", "Quicksand-Bold.ttf"),
    "font-roboto-slab": ("RobotoSlab-Regular.otf", "RobotoSlab-Bold.otf"),
    "font-cabin": ("Cabin-Regular.otf", "Cabin-Bold.otf"),
    "font-caladea": ("Caladea-Regular.ttf", "Caladea-Bold.ttf"),
}
"""Part of `sources` -> files in it."""

TEST_FONTS = {
    "font-cantarell": ("Cantarell-Regular.otf", "Cantarell-Bold.otf"),
    "font-courier-prime": ("Courier Prime.otf", "Courier Prime Bold.otf"),
    "font-old-standard": ("OldStandard-Regular.ttf", "OldStandard-Bold.ttf"),
}
"""Typefaces of `test_unseen_fonts` alone."""

TRAIN_TEMPLATES = (
    "What is written here?",
    "What does it say?",
    "Read this.",
    "What is written in the picture?",
    "Read the text in the picture.",
    "What text is this?",
)
TEST_TEMPLATES = ("What does the text say?", "Tell me what is written here.", "What can you read?")
COLOUR_TEMPLATES = (
    "What colour is the text?",
    "What color are the letters?",
    "Which colour is it written in?",
)


@dataclass(frozen=True)
class Face:
    """A typeface: its file's name, and the file."""

    name: str
    data: bytes

    def sized(self, size_px: int) -> ImageFont.FreeTypeFont:
        """The font; basic layout, so that no library of the machine changes a picture."""
        engine = ImageFont.Layout.BASIC
        return ImageFont.truetype(io.BytesIO(self.data), size_px, layout_engine=engine)


@dataclass(frozen=True)
class Print:
    """What is printed, and how.

    Attributes:
        words: one or two, as they are called in answers.
        lines: the same as printed: perhaps capital, perhaps one below the other.
        face: the typeface.
        colour: name of the letters' colour.
    """

    words: tuple[str, ...]
    lines: tuple[str, ...]
    face: Face
    colour: str


def build(folder: Path, data: Path) -> None:
    """Make all files of the step; see `Step`.

    Raises:
        HubError: a typeface cannot be had.
    """
    del data
    shown, held_out = words()
    known, unseen = faces(TRAIN_FONTS), faces(TEST_FONTS)
    tests = {"test_unseen_words": (held_out, known), "test_unseen_fonts": (shown, unseen)}
    for name, (vocabulary, type_) in {"train": (shown, known), **tests}.items():
        (folder / name).mkdir()
        count = TEST_PICTURES if name in tests else TRAIN_PICTURES
        rows = (row(folder / name, index, vocabulary, type_) for index in range(count))
        write_manifest(rows, folder / f"{name}.jsonl")
    write_sheets(folder, ("train", *tests))


@cache
def words() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Words of the lexicon that training shows, and those that only the test does."""
    short = sorted(word for word in lexicon() if word.isalpha() and len(word) in _LETTERS)
    held_out = {word for word in short if draws("printed_words", word).random() < _HELD_OUT}
    return tuple(word for word in short if word not in held_out), tuple(sorted(held_out))


def faces(fonts: Mapping[str, Sequence[str]]) -> list[Face]:
    """Typefaces out of their packages.

    Raises:
        HubError: a package cannot be had.
    """
    found = [face for part, names in fonts.items() for face in _faces_in(part, names)]
    return sorted(found, key=lambda face: face.name)


def _faces_in(part: str, names: Sequence[str]) -> Iterator[Face]:
    for path, data in members(part, lambda path: Path(path).name in names):
        yield Face(Path(path).stem, data)


def row(
    folder: Path, index: int, vocabulary: Sequence[str], type_: Sequence[Face]
) -> ConversationRow:
    """Picture number `index`, saved in a folder named by its split, and what is asked about it."""
    draw, training = draws("printed_words", folder.name, index), folder.name == "train"
    said = drawn(vocabulary, type_, draw)
    path = folder / f"{index:04d}.jpg"
    printed(said, draw).save(path, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    template = draw.choice(TRAIN_TEMPLATES if training else TEST_TEMPLATES)
    turns = [(template, " ".join(said.words))]
    if training:
        turns.append((draw.choice(COLOUR_TEMPLATES), said.colour))
    return ConversationRow(
        name=f"{folder.name}/{path.stem}",
        messages=tuple(_messages(turns, path)),
        fields={
            **{"kind": "printed words", "template": template, "font": said.face.name},
            **{"words": list(said.words), "lines": list(said.lines), "colour": said.colour},
            "answers": [" ".join(said.words)],
        },
    )


def drawn(vocabulary: Sequence[str], type_: Sequence[Face], draw: random.Random) -> Print:
    """Words, typeface and colour by lot."""
    chosen = tuple(draw.sample(vocabulary, draw.choice((1, 1, 2))))
    case = draw.choice((str.lower, str.lower, str.lower, str.capitalize, str.upper))
    lines = tuple(map(case, chosen))
    one_line = len(" ".join(chosen)) <= _ONE_LINE_LETTERS and draw.random() < 0.5
    return Print(
        chosen, (" ".join(lines),) if one_line else lines, draw.choice(type_), draw.choice(COLOURS)
    )


def printed(said: Print, draw: random.Random) -> Image.Image:
    """The words upon a background against which they stand out, RGB."""
    letters = _letters(said, draw)
    ink = shade(said.colour, draw)
    picture = _behind(ink, draw)
    left, top = (draw.randint(2, SIZE_PX - 2 - length) for length in letters.size)
    picture.paste(Image.new("RGB", letters.size, ink), (left, top), letters)
    return picture


def _letters(said: Print, draw: random.Random) -> Image.Image:
    """The words as a mask, "L", cropped, turned a little."""
    wanted, degrees = draw.randint(SMALLEST_PX + 4, _LARGEST_PX), draw.uniform(*_DEGREES)
    mask = _turned(_set(said, wanted), degrees)
    if max(mask.size) > _WIDEST_PX:
        fitting = int(wanted * _WIDEST_PX / max(mask.size))
        mask = _turned(_set(said, max(SMALLEST_PX, fitting)), degrees)
    mask.thumbnail((_WIDEST_PX, _WIDEST_PX), Image.Resampling.LANCZOS)
    return mask


def _turned(mask: Image.Image, degrees: float) -> Image.Image:
    turned = mask.rotate(degrees, Image.Resampling.BICUBIC, expand=True)
    return turned.crop(turned.getbbox())


def _set(said: Print, size_px: int) -> Image.Image:
    """The lines at a size, upright, with room around them."""
    font, text = said.face.sized(size_px), "\n".join(said.lines)
    box = ImageDraw.Draw(Image.new("L", (1, 1))).multiline_textbbox((0, 0), text, font)
    mask = Image.new("L", (int(box[2] + size_px), int(box[3] + size_px)))
    corner = (size_px / 2, size_px / 2)
    ImageDraw.Draw(mask).multiline_text(corner, text, fill=255, font=font, align="center")
    return mask


def _behind(ink: tuple[int, int, int], draw: random.Random) -> Image.Image:
    """The first of some backgrounds that are all darker or all lighter than ink; or a plain one."""
    light = float(np.dot(ink, _LUMINANCE))
    for _ in range(_BACKGROUNDS_TRIED):
        picture = background(SIZE_PX, draw)
        behind = np.asarray(picture, dtype=np.float32) @ _LUMINANCE
        if max(behind.min() - light, light - behind.max()) >= _LEAST_CONTRAST:
            return picture
    low, high = (225, 255) if light < 128 else (0, 26)
    paper = draw.randint(low, high), draw.randint(low, high), draw.randint(low, high)
    return Image.new("RGB", (SIZE_PX, SIZE_PX), paper)


def _messages(turns: Sequence[tuple[str, str]], path: Path) -> Iterator[Message]:
    for number, (asked, answer) in enumerate(turns):
        text = TextPart(text=asked)
        shown = () if number else (ImagePart(image=path),)
        yield Message(role="user", content=(*shown, text))
        yield Message(role="assistant", content=answer)


STEP = Step("printed_words", 1, (), build)
