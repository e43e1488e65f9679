"""A segmenter of one's own, from some pictures and their masks.

    python -m unisono.training.segmenter photos masks --names background cat --out my-segmenter

A picture and its mask are called the same in two folders; a mask is a PNG, grey or with a palette,
whose values are the classes: 0, 1, … in the order of the names, 255 where nothing is known. Every
fifth picture is held out and says how good the segmenter has become; with fewer than five, none.
Pictures are mirrored and cut at random, since there are few.
"""

import argparse
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from rich.progress import track
from torch import Tensor, nn

from unisono.errors import DataError, UnisonoError
from unisono.evaluation.metrics.segments import class_iou, mean_iou
from unisono.media import load_class_map, load_image
from unisono.models.onepeace.dense import OnePeaceForSegmentation, Segmenter
from unisono.models.onepeace.dense.learning_rates import published_groups
from unisono.models.onepeace.dense.pictures import pixels_of
from unisono.runtime import load_embedder

UNKNOWN = 255
HELD_OUT_EVERY = 5
SMALLEST_CUT = 0.6
"""Of a side, when a picture is cut at random."""

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff")


@dataclass(frozen=True)
class Fitting:
    """How a segmenter is trained.

    Attributes:
        source: a folder or name of a ONE-PEACE model whose encoder it gets.
        side_px: of the squares that it looks at.
        steps, batch: of the training.
        lr: at its peak; layers below learn more slowly, by the published decay.
        width: of pyramid and head.
        seed: of the head's weights and of what is drawn.
    """

    source: str = "onepeace-nano"
    side_px: int = 128
    steps: int = 300
    batch: int = 8
    lr: float = 1e-3
    width: int = 64
    seed: int = 0


@dataclass(frozen=True)
class Pair:
    """A picture with the class of every pixel, uint8 [H, W]."""

    name: str
    picture: Image.Image
    labels: NDArray[np.uint8]


@dataclass(frozen=True)
class Fitted:
    """What came of it.

    Attributes:
        model: in eval mode.
        iou: class -> intersection over union on the pictures held out; empty without any.
        held_out: their names.
    """

    model: OnePeaceForSegmentation
    iou: Mapping[str, float]
    held_out: tuple[str, ...]


def read_pairs(photos: Path, masks: Path, names: Sequence[str]) -> list[Pair]:
    """Every mask with its picture.

    Raises:
        DataError: there is no mask, a mask has no picture or another size, its file is no mask, or
            it has a class without a name.
        MediaError: a picture cannot be opened.
    """
    found = sorted(masks.glob("*.png")) if masks.is_dir() else []
    if not found:
        raise DataError(f"there are no masks (*.png) in '{masks}'")
    return [_pair(mask, photos, names) for mask in found]


def fit_segmenter(
    pairs: Sequence[Pair], names: Sequence[str], how: Fitting | None = None
) -> Fitted:
    """Train encoder, pyramid and head.

    Args:
        pairs: pictures with masks.
        names: of the classes.
        how: settings.

    Raises:
        DataError: there are fewer than two classes or no pictures.
        UnknownModelError: there is no such source.
    """
    how = how or Fitting()
    if len(names) < 2 or not pairs:
        raise DataError("a segmenter needs two classes or more and a picture with a mask")
    held = list(pairs[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY])
    seen = [pair for pair in pairs if pair not in held]
    model = _new(names, how)
    _train(model, seen, how)
    iou = _held_out_iou(model, held, names)
    return Fitted(model.eval(), iou, tuple(pair.name for pair in held))


def _pair(mask: Path, photos: Path, names: Sequence[str]) -> Pair:
    files = [photos / f"{mask.stem}{end}" for end in PICTURES + tuple(e.upper() for e in PICTURES)]
    photo = next((file for file in files if file.is_file()), None)
    if photo is None:
        raise DataError(f"the mask '{mask}' has no picture of its name in '{photos}'")
    picture = load_image(photo).convert("RGB")
    labels = load_class_map(mask)
    if labels.shape != (picture.height, picture.width):
        height, width = labels.shape
        raise DataError(
            f"mask and picture must be of one size, but '{mask}' is {width} x {height} and "
            f"'{photo}' {picture.width} x {picture.height}"
        )
    unnamed = sorted(set(np.unique(labels).tolist()) - {*range(len(names)), UNKNOWN})
    if unnamed:
        raise DataError(
            f"'{mask}' has the class {unnamed[0]}, but the {len(names)} names are for 0 to "
            f"{len(names) - 1}, and {UNKNOWN} means that nothing is known"
        )
    return Pair(mask.stem, picture, labels)


def _new(names: Sequence[str], how: Fitting) -> OnePeaceForSegmentation:
    torch.manual_seed(how.seed)
    return OnePeaceForSegmentation.from_onepeace(
        _encoder(how.source),
        id2label=dict(enumerate(names)),
        pyramid="simple",
        head="upernet",
        pyramid_width=how.width,
        upernet_width=how.width,
        crop_px=how.side_px,
        stride_px=how.side_px // 2,
        ignore_label=UNKNOWN,
    )


def _encoder(source: str) -> Any:
    """A folder of weights as it is; of a name, what the library loads."""
    return source if Path(source).is_dir() else load_embedder(source).model


def _train(model: OnePeaceForSegmentation, pairs: Sequence[Pair], how: Fitting) -> None:
    draws = random.Random(how.seed)
    optimizer = torch.optim.AdamW(published_groups(model, lr=how.lr))
    shape = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _share(step, how.steps))
    model.train()
    for _ in track(range(how.steps), "training", transient=True):
        chosen = [_cut(draws.choice(pairs), how.side_px, draws) for _ in range(how.batch)]
        pixels = [pixels_of(p, model.config.pixel_mean, model.config.pixel_std) for p, _ in chosen]
        labels = torch.stack([label for _, label in chosen])
        loss = model(torch.stack(pixels), labels=labels).loss
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        shape.step()


def _share(step: int, steps: int) -> float:
    """Of the learning rate: a tenth of the steps up, then a cosine down."""
    up = max(1, steps // 10)
    if step < up:
        return (step + 1) / up
    return 0.5 * (1 + math.cos(math.pi * (step - up) / max(1, steps - up)))


def _cut(pair: Pair, side: int, draws: random.Random) -> tuple[Image.Image, Tensor]:
    """A random part of a picture, maybe mirrored, with its classes int64 [side, side]."""
    width, height = pair.picture.size
    share = draws.uniform(SMALLEST_CUT, 1.0)
    w, h = max(1, round(share * width)), max(1, round(share * height))
    x, y = draws.randint(0, width - w), draws.randint(0, height - h)
    box = (x, y, x + w, y + h)
    picture = pair.picture.resize((side, side), Image.Resampling.BILINEAR, box=box)
    mask = Image.fromarray(pair.labels).resize((side, side), Image.Resampling.NEAREST, box=box)
    if draws.random() < 0.5:
        picture, mask = (one.transpose(Image.Transpose.FLIP_LEFT_RIGHT) for one in (picture, mask))
    return picture, torch.from_numpy(np.array(mask)).long()


def _held_out_iou(
    model: OnePeaceForSegmentation, held: Sequence[Pair], names: Sequence[str]
) -> dict[str, float]:
    if not held:
        return {}
    found = Segmenter(model).segment([pair.picture for pair in held])
    truths = (pair.labels.astype(np.int64) for pair in held)
    pairs = [(t, one.classes.numpy()) for t, one in zip(truths, found, strict=True)]
    values = class_iou(mean_iou(pairs, len(names), ignored=UNKNOWN)).tolist()
    return {name: v for name, v in zip(names, values, strict=True) if not math.isnan(v)}


def main() -> None:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("photos", type=Path)
    parser.add_argument("masks", type=Path)
    parser.add_argument("--names", nargs="+", required=True, help="of the classes 0, 1, …")
    parser.add_argument("--out", type=Path, default=Path("my-segmenter"))
    parser.add_argument("--source", default=Fitting.source, help="whose encoder it gets")
    parser.add_argument("--side", type=int, default=Fitting.side_px, help="px that it looks at")
    parser.add_argument("--steps", type=int, default=Fitting.steps)
    given = parser.parse_args()
    how = Fitting(source=given.source, side_px=given.side, steps=given.steps)
    try:
        found = fit_segmenter(read_pairs(given.photos, given.masks, given.names), given.names, how)
    except UnisonoError as error:
        parser.exit(2, f"unisono: {error}\n")
    found.model.save_pretrained(given.out)
    shares = ", ".join(f"{name} {value:.0%}" for name, value in found.iou.items())
    said = f"; overlap on {len(found.held_out)} pictures held out: {shares}" if shares else ""
    print(f"'{given.out}' is written{said}")


if __name__ == "__main__":
    main()
