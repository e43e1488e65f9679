"""The dense tasks of `benchmarks/tasks.py`: maps, things with masks, things with boxes.

Pictures are scenes of 128 px; classes are six kinds of things. The encoder is frozen, so that its
last map is computed once; a pyramid and a head learn on it. Shapes: N pictures, D width, h, w sides
of the map, H, W sides in pixels.
"""

import hashlib
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from rich.progress import track
from tasks_features import encoders
from torch import Tensor, nn

from unisono.evaluation import Score
from unisono.evaluation.metrics.detection import Thing, detection_scores
from unisono.evaluation.metrics.segments import mean_iou
from unisono.media.masks import decode_mask
from unisono.models.onepeace.dense import (
    Detector,
    OnePeaceForDetection,
    OnePeaceForSegmentation,
    Things,
)
from unisono.models.onepeace.dense.config import OnePeaceMaskHeadConfig
from unisono.models.onepeace.dense.instances import Instance, instances_of_masks
from unisono.models.onepeace.dense.mask_head import MaskHead
from unisono.models.onepeace.dense.pictures import pixels_of
from unisono.models.onepeace.dense.segmentation import at_pixels

KINDS: Mapping[str, tuple[str, ...]] = {
    "animal": ("animals-nature", "animals"),
    "food": ("food-drink", "food"),
    "travel": ("travel-places", "transportation", "vehicles", "buildings"),
    "object": ("objects", "tools", "office", "education", "household", "clothes"),
    "play": ("activities", "recreation", "seasonal"),
    "person": ("people-body", "smileys-emotion", "people"),
}
NAMES = tuple(KINDS)
SIDE = 128
TRAIN, TEST, BATCH = 1000, 300, 8
THRESHOLD, LIMIT, RESAMPLES = 0.05, 20, 200


@dataclass(frozen=True)
class Scene:
    """A picture with what is in it: path, classes [N], masks bool [N, H, W]."""

    path: Path
    classes: tuple[int, ...]
    masks: np.ndarray[Any, np.dtype[np.bool_]]

    def labels(self) -> np.ndarray[Any, Any]:
        """[H, W]: 0 is nothing, class + 1 a thing; what lies above covers what is below."""
        found = np.zeros(self.masks.shape[1:], dtype=np.int64)
        for label, mask in zip(self.classes, self.masks, strict=True):
            found[mask] = label + 1
        return found


def scenes(folder: Path, split: str) -> list[Scene]:
    """Those whose things are all of a known kind, drawn by a fixed seed."""
    kinds = _kinds(folder)
    names = ("train",) if split == "train" else ("test", "test_unseen_drawing")
    lines = [x for n in names for x in (folder / f"scenes/{n}.jsonl").read_text().splitlines()]
    rows = [row for row in map(json.loads, lines) if all(n in kinds for n in row["names"])]
    count = TRAIN if split == "train" else TEST
    return [_scene(folder, row, kinds) for row in random.Random(0).sample(rows, count)]


def _kinds(folder: Path) -> Mapping[str, int]:
    """Concept -> its kind."""
    of_group = {group: place for place, groups in enumerate(KINDS.values()) for group in groups}
    lines = (folder / "pictures/train_plain.jsonl").read_text().splitlines()
    rows = (json.loads(line) for line in lines)
    return {row["concept"]: of_group[row["group"]] for row in rows if row["group"] in of_group}


def _scene(folder: Path, row: Mapping[str, Any], kinds: Mapping[str, int]) -> Scene:
    image = next(p["image"] for p in row["messages"][0]["content"] if p.get("image"))
    masks = np.array([decode_mask(one, tuple(one["size"])) for one in row["masks"]])
    return Scene(folder / "scenes" / image, tuple(kinds[n] for n in row["names"]), masks)


@torch.inference_mode()
def maps(found: Sequence[Scene], *, side: str, cache: Path) -> Tensor:
    """float16 [N, D, h, w], of a cache's file or computed and written there."""
    what = json.dumps([[str(one.path) for one in found], SIDE])
    path = cache / f"maps-{hashlib.sha256(what.encode()).hexdigest()[:16]}-{side}.npy"
    if not path.exists():
        model = segmentation(side, "upernet")
        groups = [found[i : i + BATCH] for i in range(0, len(found), BATCH)]
        parts = [_map(model, group) for group in track(groups, f"{side} encoder", transient=True)]
        np.save(path.with_suffix(".part.npy"), torch.cat(parts).half().numpy())
        path.with_suffix(".part.npy").replace(path)
    return torch.from_numpy(np.load(path))


def _map(model: OnePeaceForSegmentation, found: Sequence[Scene]) -> Tensor:
    pixels = torch.stack([_pixels(model, one) for one in found])
    backbone = model.backbone
    tokens = backbone.encode(backbone.embed(pixels)).sequences["image"]
    return tokens[:, 1:].mT.unflatten(-1, backbone.grid(pixels))


def _pixels(model: Any, scene: Scene, side: int = SIDE) -> Tensor:
    picture = Image.open(scene.path).convert("RGB").resize((side, side))
    return pixels_of(picture, model.config.pixel_mean, model.config.pixel_std)


def segmentation(side: str, head: str) -> OnePeaceForSegmentation:
    """Pyramid and head begin the same on either encoder."""
    models, _ = encoders()
    torch.manual_seed(1)
    names = NAMES if head == "mask2former" else ("nothing", *NAMES)
    small = OnePeaceMaskHeadConfig(
        width=64, heads=4, queries=12, encoder_layers=1, encoder_ffn_width=128, groups=8,
        decoder_layers=3, decoder_ffn_width=128, train_points=1024,
    )  # fmt: skip
    return OnePeaceForSegmentation.from_onepeace(
        models[side], id2label=dict(enumerate(names)), pyramid="simple", head=head,
        pyramid_width=64, upernet_width=64, mask_config=small, crop_px=SIDE, stride_px=SIDE // 2,
    ).eval()  # fmt: skip


def learned(
    model: nn.Module, parts: Sequence[nn.Module], loss: Callable[[Tensor], Tensor], steps: int
) -> None:
    """Train parts on batches of the training scenes, in a fixed order."""
    members = [p for part in parts for p in part.parameters()]
    optimizer = torch.optim.AdamW(members, lr=1e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps)
    order = torch.Generator().manual_seed(2)
    for part in parts:
        part.train()
    for _ in range(steps):
        optimizer.zero_grad()
        loss(torch.randint(TRAIN, (BATCH,), generator=order)).backward()
        nn.utils.clip_grad_norm_(members, 1.0)
        optimizer.step()
        schedule.step()
    model.eval()


@dataclass(frozen=True)
class Resampled:
    """A metric that is no mean over pictures, with the interval of a bootstrap over pictures."""

    value: float
    low: float
    high: float
    count: int

    def __len__(self) -> int:
        return self.count


Result = tuple[str, Mapping[str, Score | Resampled]]


def segmented(side: str, folder: Path, cache: Path) -> Result:
    """mIoU of seven classes, nothing among them."""
    model, train = segmentation(side, "upernet"), scenes(folder, "train")
    seen = maps(train, side=side, cache=cache)
    labels = torch.from_numpy(np.array([one.labels() for one in train]))

    def scores(found: Tensor) -> Tensor:
        whole = at_pixels(model.head(model.pyramid.maps(found.float())), torch.Size([SIDE, SIDE]))
        return nn.functional.interpolate(whole, labels.shape[-2:], mode="bilinear")

    def loss(chosen: Tensor) -> Tensor:
        return nn.functional.cross_entropy(scores(seen[chosen]), labels[chosen])

    learned(model, [model.pyramid, model.head], loss, 2000)
    model.save_pretrained(cache / f"segmenter-{side}")
    test = scenes(folder, "test")
    with torch.inference_mode():
        parts = maps(test, side=side, cache=cache).split(BATCH)
        found = torch.cat([scores(part).argmax(1) for part in parts]).numpy()
    pairs = [(one.labels(), mine) for one, mine in zip(test, found, strict=True)]
    return "mIoU", {"mIoU": mean_iou(pairs, len(NAMES) + 1)}


def instances(side: str, folder: Path, cache: Path) -> Result:
    """AP of masks."""
    model, train = segmentation(side, "mask2former"), scenes(folder, "train")
    seen = maps(train, side=side, cache=cache)
    head = model.head
    if not isinstance(head, MaskHead):
        raise TypeError("no head that finds instances")

    def loss(chosen: Tensor) -> Tensor:
        masks = [torch.from_numpy(train[i].masks).float() for i in chosen.tolist()]
        classes = [torch.tensor(train[i].classes) for i in chosen.tolist()]
        return head.loss(head(model.pyramid.maps(seen[chosen].float())), masks, classes)

    torch.manual_seed(3)  # the points at which masks are compared
    learned(model, [model.pyramid, head], loss, 1500)
    model.save_pretrained(cache / f"instances-{side}")
    test = scenes(folder, "test")
    found = []
    with torch.inference_mode():
        for part in maps(test, side=side, cache=cache).split(BATCH):
            output = head(model.pyramid.maps(part.float()))
            found += [
                _instances(*one)
                for one in zip(output.class_logits[-1], output.mask_logits[-1], strict=True)
            ]
    return "mask AP", resampled(test, found, "mask")


def _instances(classes: Tensor, masks: Tensor) -> list[Instance]:
    whole = nn.functional.interpolate(masks[None], (128, 128), mode="bilinear")[0]
    names = dict(enumerate(NAMES))
    return instances_of_masks(classes, whole, names, threshold=THRESHOLD, limit=LIMIT)


def detected(side: str, folder: Path, cache: Path) -> Result:
    """AP of boxes."""
    model, train, px = detector(side), scenes(folder, "train"), 128
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(".backbone.backbone." not in name)

    def loss(chosen: Tensor) -> Tensor:
        batch = [train[i] for i in chosen.tolist()]
        pixels = torch.stack([_pixels(model, one, px) for one in batch])
        return model(
            pixels, torch.ones(len(batch), px, px), things=[_things(one) for one in batch]
        ).loss

    learned(model, [_Trained(model)], loss, 1000)
    model.save_pretrained(cache / f"detector-{side}")
    test, finder = scenes(folder, "test"), Detector(model)
    pictures = [Image.open(one.path).convert("RGB") for one in test]
    found = finder.detect(pictures, threshold=THRESHOLD, limit=LIMIT)
    return "box AP", resampled(test, found, "box")


class _Trained(nn.Module):
    """What learns of a detector."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def parameters(self, recurse: bool = True) -> Any:
        return (p for p in self.model.parameters(recurse) if p.requires_grad)


def detector(side: str) -> OnePeaceForDetection:
    """A small RF-DETR head on either encoder, beginning the same."""
    models, _ = encoders()
    torch.manual_seed(1)
    return OnePeaceForDetection.from_onepeace(
        models[side], id2label=dict(enumerate(NAMES)), image_px=128, width=64, queries=20,
        decoder_layers=2, decoder_ffn_width=128, self_attention_heads=4, cross_attention_heads=4,
        groups=4, blocks=1, vision_config={"window": 8},
    )  # fmt: skip


def _things(scene: Scene) -> Things:
    boxes = torch.tensor([_box(mask) for mask in scene.masks])
    centres = torch.cat([boxes[:, :2] + boxes[:, 2:] / 2, boxes[:, 2:]], dim=1) / 128
    return Things(torch.tensor(scene.classes), centres, torch.from_numpy(scene.masks).float())


def _box(mask: Any) -> list[float]:
    """x, y, width, height."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    x, y = float(columns[0]), float(rows[0])
    return [x, y, float(columns[-1]) + 1 - x, float(rows[-1]) + 1 - y]


def resampled(test: Sequence[Scene], found: Sequence[Sequence[Instance]], by: Any) -> Any:
    """COCO's AP, and at an overlap of a half."""
    truth = [_truth(one) for one in test]
    mine = [[_found(one) for one in picture] for picture in found]
    draws, values = np.random.default_rng(0), []
    for _ in range(RESAMPLES):
        chosen = draws.integers(len(test), size=len(test))
        values.append(
            detection_scores([truth[i] for i in chosen], [mine[i] for i in chosen], by=by).ap
        )
    low, high = np.percentile(values, [2.5, 97.5])
    scores = detection_scores(truth, mine, by=by)
    whole = Resampled(scores.ap, float(low), float(high), len(test))
    return {f"{by} AP": whole, f"{by} AP50": replace(whole, value=scores.ap50)}


def _truth(scene: Scene) -> list[Thing]:
    pairs = zip(scene.classes, scene.masks, strict=True)
    return [Thing(NAMES[label], _box(mask), mask) for label, mask in pairs]


def _found(one: Instance) -> Thing:
    x, y, right, bottom = one.box
    mask = None if one.mask is None else one.mask.numpy()
    return Thing(one.name, (x, y, right - x, bottom - y), mask, one.score)


DENSE: Mapping[str, Callable[[str, Path, Path], Result]] = {
    "semantic segmentation": segmented,
    "instance segmentation": instances,
    "object detection": detected,
}
