"""Fine-tuning for dense tasks: a class for every pixel, things with boxes and masks, clips.

What a model is to look at follows from its config (`crop_px`, `image_px`, `frames`); what of a
picture it sees is drawn by chance, for each row anew. A batch weighs as many units as it has rows.
Shapes: B batch, S side in pixels, F frames, N things of a picture.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from unisono.errors import BadRowError
from unisono.manifests.row import PairRow, Row
from unisono.media import load_class_map, load_image, load_video
from unisono.media.masks import decode_mask
from unisono.models.onepeace.dense import Things
from unisono.models.onepeace.dense.config import SEGMENTATION_MEAN, SEGMENTATION_STD
from unisono.models.onepeace.dense.pictures import pixels_of
from unisono.training import goals
from unisono.training.batch import Computed
from unisono.training.labels import target_of
from unisono.training.objectives.augment import View, cut_of, part_of_picture, recoloured
from unisono.training.objectives.tasks import box_corners

_TOO_MUCH_OF_ONE = 0.75
_TRIES = 10
_LEAST_SIDE_PX = 2.0
"""Of what is left of a thing in a cut: less says nothing."""

PATCH_PX = 16


@dataclass(frozen=True)
class Shown:
    """What the model sees of a row, and what is right.

    Attributes:
        pixels: [3, S, S], of a clip [3, F, S, S].
        target: classes of pixels [S, S], `Things`, or the place of a label.
        real: [S, S], where there is picture; detection only.
    """

    pixels: Tensor
    target: Any
    real: Tensor | None = None


class DenseObjective:
    """What the three have in common."""

    augments = True

    def __init__(self, config: Any, labels: Sequence[str]) -> None:
        """Prepare a stage.

        Args:
            config: of the model.
            labels: of the model, in its order.
        """
        self.config = config
        self._places = {label: place for place, label in enumerate(labels)}

    def length(self, example: Shown) -> int:
        """Patches, of all frames."""
        return int(example.pixels[0].numel()) // PATCH_PX**2

    def kind(self, example: Shown) -> str:
        """The same for all rows."""
        return "video" if example.pixels.dim() == 4 else "image"

    def _place(self, label: str, name: str) -> int:
        place = self._places.get(label)
        if place is None:
            raise BadRowError(f"{name}: {label!r} is none of the model's labels")
        return place


class Segment(DenseObjective):
    """Classes of pixels (ADE20K and its like), from random cuts of pictures."""

    def __init__(self, config: Any, settings: goals.Segmentation, labels: Sequence[str]) -> None:
        super().__init__(config, labels)
        self.settings = settings

    def prepare(self, row: Row, *, draw: int = 0) -> Shown:
        """A cut of a picture with its classes.

        Args:
            row: with a picture and the path of a map.
            draw: decides what is cut.

        Raises:
            BadRowError: something is missing, the map is of another size or has a class too many.
            MediaError: a file cannot be used.
        """
        draws = random.Random(draw)
        picture = _picture(row)
        classes = self._classes(row, picture.size)
        view = self._cut(classes, draws)
        seen = view.picture(picture)
        if self.settings.colour:
            seen = recoloured(seen, draws)
        pixels = pixels_of(seen, self.config.pixel_mean, self.config.pixel_std)
        pixels *= torch.from_numpy(view.real())  # the filling is the mean colour: 0
        target = view.classes(classes, self.config.ignore_label).astype(np.int64)
        return Shown(pixels, torch.from_numpy(target))

    def _cut(self, classes: NDArray[np.uint8], draws: random.Random) -> View:
        """Not nearly all of one class, if that can be helped: that teaches little."""
        side: int = self.config.crop_px
        height, width = classes.shape
        scale = draws.uniform(*self.settings.scale) * side / min(height, width)
        for _ in range(_TRIES):
            view = cut_of(
                (width, height), side, scale=scale, draws=draws, mirror=self.settings.mirror
            )
            seen = view.classes(classes, self.config.ignore_label)
            counts = np.bincount(seen[seen != self.config.ignore_label].ravel())
            if (counts > 0).sum() > 1 and counts.max() < _TOO_MUCH_OF_ONE * counts.sum():
                break
        return view

    def _classes(self, row: Row, size: tuple[int, int]) -> NDArray[np.uint8]:
        source = row.fields.get(self.settings.field)
        if source is None:
            raise BadRowError(f"{row.name}: there is no field {self.settings.field}, its map")
        classes = load_class_map(source)
        if classes.shape != size[::-1]:
            raise BadRowError(
                f"{row.name}: picture and map must be of one size, but are {size[0]} x {size[1]} "
                f"and {classes.shape[1]} x {classes.shape[0]}"
            )
        if self.settings.first:  # 0, which is nothing, becomes 255
            classes = classes - np.uint8(1)
        ignored = self.config.ignore_label
        if (too_many := classes[(classes >= len(self._places)) & (classes != ignored)]).size:
            raise BadRowError(
                f"{row.name}: a pixel has the value {int(too_many[0]) + self.settings.first}, but "
                f"the {len(self._places)} labels begin with {self.settings.first}"
            )
        return classes

    def collate(self, examples: Sequence[Shown]) -> tuple[Mapping[str, Any], float]:
        """Pixels [B, 3, S, S] and classes [B, S, S]."""
        inputs = {
            "pixel_values": torch.stack([one.pixels for one in examples]),
            "labels": torch.stack([one.target for one in examples]),
        }
        return inputs, float(len(examples))

    def loss(self, model: nn.Module, inputs: Mapping[str, Any], *, draw: int) -> Computed:
        """Summed over the pictures; "right" is the share of the pixels with a class."""
        labels: Tensor = inputs["labels"]
        found = model(**inputs)
        known = labels != self.config.ignore_label
        hits = (found.scores.detach().argmax(dim=1) == labels) & known
        share = hits.flatten(1).sum(1) / known.flatten(1).sum(1).clamp(min=1)
        return Computed(found.loss * len(labels), {"right": share.sum()})


class Detect(DenseObjective):
    """Things with boxes and masks (COCO and its like), with large jitter of scale."""

    def __init__(self, config: Any, settings: goals.Detection, labels: Sequence[str]) -> None:
        super().__init__(config, labels)
        self.settings = settings

    def prepare(self, row: Row, *, draw: int = 0) -> Shown:
        """A cut of a picture with what is in it.

        Args:
            row: with a picture and objects; crowds are left out. An object without a mask fills
                its box.
            draw: decides what is cut.

        Raises:
            BadRowError: something is missing or no box, or a label is none of the model's.
            MediaError: picture or mask cannot be used.
        """
        draws = random.Random(draw)
        picture = _picture(row)
        side: int = self.config.image_px
        scale = draws.uniform(*self.settings.scale) * side / max(picture.size)
        view = cut_of(picture.size, side, scale=scale, draws=draws, mirror=self.settings.mirror)
        pixels = pixels_of(view.picture(picture), self.config.pixel_mean, self.config.pixel_std)
        return Shown(pixels, self._things(row, picture.size, view), torch.from_numpy(view.real()))

    def _things(self, row: Row, size: tuple[int, int], view: View) -> Things:
        objects = row.fields.get(self.settings.field)
        if not isinstance(objects, list | tuple):
            raise BadRowError(f"{row.name}: {self.settings.field} must be a list of objects")
        classes, boxes, masks = [], [], []
        for one in objects:
            if not isinstance(one, Mapping):
                raise BadRowError(f"{row.name}: an object must be a mapping, but is {one!r:.40}")
            place = self._place(str(one.get("label")), row.name)
            whole = _mask(one, size, row.name)
            if one.get("crowd"):
                continue
            mask = view.classes(whole.astype(np.uint8), 0)
            if (box := _box_around(mask)) is None:
                continue
            classes.append(place)
            boxes.append(box)
            masks.append(torch.from_numpy(mask))
        return Things(
            torch.tensor(classes, dtype=torch.long),
            torch.tensor(boxes).reshape(-1, 4),
            torch.stack(masks) if masks else torch.zeros(0, view.side, view.side).byte(),
        )

    def collate(self, examples: Sequence[Shown]) -> tuple[Mapping[str, Any], float]:
        """Pixels [B, 3, S, S]; the things of all pictures, and how many each has [B]."""
        things = [one.target for one in examples]
        inputs = {
            "pixel_values": torch.stack([one.pixels for one in examples]),
            "pixel_mask": torch.stack([one.real for one in examples if one.real is not None]),
            "classes": torch.cat([one.classes for one in things]),
            "boxes": torch.cat([one.boxes for one in things]),
            "masks": torch.cat([one.masks for one in things]),
            "counts": torch.tensor([len(one.classes) for one in things]),
        }
        return inputs, float(len(examples))

    def loss(self, model: nn.Module, inputs: Mapping[str, Any], *, draw: int) -> Computed:
        """Summed over the pictures; "things" counts them."""
        counts = inputs["counts"].tolist()
        parts = (inputs[name].split(counts) for name in ("classes", "boxes", "masks"))
        things = [Things(*three) for three in zip(*parts, strict=True)]
        found = model(inputs["pixel_values"], inputs["pixel_mask"], things=things)
        return Computed(found.loss * len(counts), {"things": inputs["counts"].sum().float()})


class ClassifyClips(DenseObjective):
    """A class for a clip, from frames spread over all of it and one part of each."""

    def __init__(
        self, config: Any, settings: goals.VideoClassification, labels: Sequence[str]
    ) -> None:
        super().__init__(config, labels)
        self.settings = settings

    def prepare(self, row: Row, *, draw: int = 0) -> Shown:
        """Frames and their class.

        Args:
            row: with a video and a label.
            draw: decides which part of the frames is seen.

        Raises:
            BadRowError: something is missing, or the label is none of the model's.
            MediaError: the video cannot be used.
        """
        draws = random.Random(draw)
        (label,) = target_of(row, self.settings)
        place = self._place(label, row.name)
        if not isinstance(row, PairRow) or row.video is None:
            raise BadRowError(f"{row.name}: there is no video")
        wanted: int = self.config.frames
        video = load_video(row.video, frames=wanted, with_audio=False)
        # A clip with fewer frames shows some of them longer.
        chosen = video.frames[np.arange(wanted) * len(video.frames) // wanted]
        height, width = chosen.shape[1:3]
        view = part_of_picture(
            (width, height),
            self.config.image_px,
            area=self.settings.area,
            draws=draws,
            mirror=self.settings.mirror,
        )
        seen = (view.picture(Image.fromarray(frame)) for frame in chosen)
        pixels = [pixels_of(one, SEGMENTATION_MEAN, SEGMENTATION_STD) for one in seen]
        return Shown(torch.stack(pixels, dim=1), torch.tensor(place))

    def collate(self, examples: Sequence[Shown]) -> tuple[Mapping[str, Any], float]:
        """Pixels [B, 3, F, S, S] and classes [B]."""
        inputs = {
            "pixel_values": torch.stack([one.pixels for one in examples]),
            "labels": torch.stack([one.target for one in examples]),
        }
        return inputs, float(len(examples))

    def loss(self, model: nn.Module, inputs: Mapping[str, Any], *, draw: int) -> Computed:
        """Summed over the clips; "right" is the share whose likeliest label is right."""
        labels: Tensor = inputs["labels"]
        found = model(**inputs)
        hits = (found.logits.detach().argmax(dim=1) == labels).float().sum()
        return Computed(found.loss * len(labels), {"right": hits})


def _picture(row: Row) -> Image.Image:
    if not isinstance(row, PairRow) or row.image is None:
        raise BadRowError(f"{row.name}: there is no image")
    return load_image(row.image).convert("RGB")


def _mask(thing: Mapping[str, Any], size: tuple[int, int], name: str) -> NDArray[np.bool_]:
    """bool [H, W] of the whole picture."""
    width, height = size
    if thing.get("mask"):
        return decode_mask(thing["mask"], (height, width))
    left, upper, right, lower = (round(one) for one in box_corners(thing.get("box"), name))
    mask = np.zeros((height, width), dtype=bool)
    mask[max(0, upper) : max(0, lower), max(0, left) : max(0, right)] = True
    return mask


def _box_around(mask: NDArray[np.uint8]) -> tuple[float, float, float, float] | None:
    """Centre and size, as fractions of the square; None if next to nothing is there."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if not len(rows):
        return None
    upper, lower, left, right = rows[0], rows[-1] + 1, columns[0], columns[-1] + 1
    if min(lower - upper, right - left) < _LEAST_SIDE_PX:
        return None
    side = len(mask)
    centre = (left + right) / 2 / side, (upper + lower) / 2 / side
    return (*centre, (right - left) / side, (lower - upper) / side)


AnyDense = Segment | Detect | ClassifyClips


def choose_dense(settings: goals.DenseSettings, config: Any, labels: Sequence[str]) -> AnyDense:
    """The objective of a stage."""
    if isinstance(settings, goals.Segmentation):
        return Segment(config, settings, labels)
    if isinstance(settings, goals.Detection):
        return Detect(config, settings, labels)
    return ClassifyClips(config, settings, labels)
