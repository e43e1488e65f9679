"""The step "pictures": drawings on all sorts of ground, with captions, for contrast.

Each drawing that may train is shown several times, each time otherwise: what a model could tell it
by besides what it shows (ground, place, size, shade) means nothing. Test pictures stand on white.
`train_plain.jsonl` has the less wild ones with the plain English name of the thing: from those a
model learns several times faster at first.
"""

import random
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from PIL import Image, ImageEnhance

from unisono.manifests.row import PairRow
from unisono.manifests.writing import write_manifest
from unisono.picturebook.captions import drawn_caption
from unisono.picturebook.drawing import Drawing, read_drawings
from unisono.picturebook.step import Step, draws

SIDE_PX = 64
TIMES = 8
WILD_TIMES = 3
_UNFLIPPED = frozenset({"flags", "symbols", "town"})  # letters and signs are in them
Colour = tuple[int, int, int]


def build(folder: Path, data: Path) -> None:
    """Fill the folder: pictures, train.jsonl, and a test manifest for each kind of unseen."""
    drawings = read_drawings(data)
    training = [drawing for drawing in drawings if drawing.split == "train"]
    (folder / "train").mkdir()
    with ProcessPoolExecutor(2) as pool:
        shown = list(pool.map(partial(_shown, folder / "train"), training, chunksize=32))
    write_manifest((row for rows in shown for row in rows), folder / "train.jsonl")
    plain = (_plainly(row) for rows in shown for row in rows[:-WILD_TIMES])
    write_manifest(plain, folder / "train_plain.jsonl")
    for split in ("unseen_drawing", "unseen_concept"):
        chosen = [drawing for drawing in drawings if drawing.split == split]
        (folder / split).mkdir()
        write_manifest(_tested(folder / split, chosen), folder / f"test_{split}.jsonl")


STEP = Step("pictures", 3, ("drawings",), build)


def _shown(folder: Path, drawing: Drawing) -> list[PairRow]:
    with Image.open(drawing.path) as file:
        image = file.convert("RGBA")
    rows = []
    for time in range(TIMES):
        random_ = draws("pictures", drawing.name, time)
        path = folder / f"{drawing.name}-{time}.png"
        flips, wild = drawing.group not in _UNFLIPPED, time >= TIMES - WILD_TIMES
        varied(image, random_, flips=flips, wild=wild).save(path, compress_level=1)
        text, language = drawn_caption(drawing, random_)
        rows.append(_row(drawing, path, text, language))
    return rows


def _plainly(row: PairRow) -> PairRow:
    concept = row.fields["concept"]
    return replace(row, text=concept, fields={**row.fields, "language": "en"})


def _tested(folder: Path, drawings: list[Drawing]) -> Iterator[PairRow]:
    for drawing in drawings:
        path = folder / f"{drawing.name}.png"
        with Image.open(drawing.path) as file:
            placed(file.convert("RGBA"), Placing()).save(path, compress_level=1)
        yield _row(drawing, path, drawing.concept, "en")


def _row(drawing: Drawing, path: Path, text: str, language: str) -> PairRow:
    fields = {
        "concept": drawing.concept,
        "drawing": drawing.name,
        "hand": drawing.hand,
        "group": drawing.group,
        "language": language,
    }
    return PairRow(path.stem, text=text, image=path, fields=fields)


@dataclass(frozen=True)
class Placing:
    """How a cut-out stands in a square.

    Attributes:
        size: of its longer side, as a part of the square's.
        at: of its centre, as parts of the room there is to move in.
        ground: colours of the ground at the top and at the bottom.
    """

    size: float = 0.92
    at: tuple[float, float] = (0.5, 0.5)
    ground: tuple[Colour, Colour] = ((255, 255, 255), (255, 255, 255))


def varied(image: Image.Image, random_: random.Random, *, flips: bool, wild: bool) -> Image.Image:
    """A cut-out in a square, in a shade of its own: RGB, `SIDE_PX` wide.

    Args:
        image: RGBA.
        random_: what is drawn is drawn from it.
        flips: it may be mirrored.
        wild: of any size, anywhere, on any ground; else nearly as in a test.
    """
    if flips and random_.random() < 0.5:
        image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if wild and random_.random() < 0.5:
        angle = random_.uniform(-15, 15)
        image = image.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    placing = Placing(
        size=random_.uniform(0.5 if wild else 0.82, 1.0),
        at=(random_.random(), random_.random()),
        ground=_ground(random_, wild=wild),
    )
    picture = placed(image, placing)
    for enhancer, least, most in (
        (ImageEnhance.Brightness, 0.75, 1.2),
        (ImageEnhance.Contrast, 0.75, 1.2),
        (ImageEnhance.Color, 0.6, 1.3),
    ):
        if random_.random() < 0.4:
            picture = enhancer(picture).enhance(random_.uniform(least, most))
    return picture


def _ground(random_: random.Random, *, wild: bool) -> tuple[Colour, Colour]:
    kind = random_.random()
    if kind < (0.2 if wild else 0.6):
        return Placing.ground
    least = 0 if kind > 0.9 else 150
    first, second = (
        (random_.randint(least, 255), random_.randint(least, 255), random_.randint(least, 255))
        for _ in range(2)
    )
    return (first, second) if kind > 0.7 else (first, first)


def placed(image: Image.Image, placing: Placing) -> Image.Image:
    """A cut-out (RGBA) in a square of `SIDE_PX` (RGB)."""
    longest = max(4, round(placing.size * SIDE_PX))
    scale = longest / max(image.size)
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    small = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=2.0)
    square = Image.linear_gradient("L").resize((SIDE_PX, SIDE_PX))
    top, bottom = (Image.new("RGB", square.size, colour) for colour in placing.ground)
    picture = Image.composite(bottom, top, square)
    left, upper = (round(at * (SIDE_PX - side)) for at, side in zip(placing.at, size, strict=True))
    picture.paste(small, (left, upper), small)
    return picture
