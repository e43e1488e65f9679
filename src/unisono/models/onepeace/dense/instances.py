"""From a model's logits to instances: what, where, how sure.

Shapes: Q queries, K classes, h, w rows and columns of the masks, H, W of the picture.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

Size = tuple[int, int]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Instance:
    """One thing in a picture.

    Attributes:
        label: its class.
        name: of the class.
        score: from 0 to 1.
        box: x1, y1, x2, y2 in pixels of the picture.
        mask: bool [H, W]; None where the model makes none.
    """

    label: int
    name: str
    score: float
    box: Box
    mask: Tensor | None


@dataclass(frozen=True)
class Candidates:
    """Pairs of a query and a class, the best ones first.

    Attributes:
        scores, labels, queries: [candidates].
    """

    scores: Tensor
    labels: Tensor
    queries: Tensor

    @classmethod
    def of(cls, probabilities: Tensor, limit: int) -> "Candidates":
        """The most probable pairs of [Q, K]; a query may be several classes."""
        count = min(limit, probabilities.numel())
        scores, places = probabilities.flatten().topk(count)
        labels = probabilities.shape[1]
        return cls(scores, places % labels, places // labels)


def instances_of_masks(
    class_logits: Tensor,
    masks: Tensor,
    names: Mapping[int, str],
    *,
    threshold: float,
    limit: int,
) -> list[Instance]:
    """As Mask2Former does (arXiv 2112.01527): a class's probability times the mask's mean.

    Args:
        class_logits: [Q, K + 1], the last class meaning nothing.
        masks: [Q, H, W] logits, of the picture's size.
        names: of the classes.
        threshold: instances below this score are left out.
        limit: the most instances.

    Returns:
        The surest first. Boxes are those of the masks; instances without a pixel are left out.
    """
    best = Candidates.of(class_logits.softmax(-1)[:, :-1], limit)
    inside = masks > 0
    sizes = inside.flatten(1).sum(-1)
    surely = (masks.sigmoid() * inside).flatten(1).sum(-1) / sizes.clamp(min=1)
    scores = best.scores * surely[best.queries]
    found = [
        _instance(int(label), float(score), inside[query], names)
        for score, label, query in zip(scores, best.labels, best.queries, strict=True)
        if score >= threshold and sizes[query] > 0
    ]
    return sorted(found, key=lambda one: -one.score)


def _instance(label: int, score: float, mask: Tensor, names: Mapping[int, str]) -> Instance:
    return Instance(label, names.get(label, str(label)), score, box_of(mask), mask)


def box_of(mask: Tensor) -> Box:
    """The box around a mask [H, W] that has pixels; x2 and y2 are behind the last one."""
    rows, columns = mask.any(1).nonzero().flatten(), mask.any(0).nonzero().flatten()
    return float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)


@dataclass(frozen=True)
class Found:
    """What a detector found in one picture.

    Attributes:
        logits: [Q, K].
        boxes: [Q, 4], centre x and y, width and height as fractions of what it looked at.
        masks: [Q, h, w] logits over what it looked at.
        looked_at: its size in pixels, the filling included.
        view: the size of the picture in it.
    """

    logits: Tensor
    boxes: Tensor
    masks: Tensor
    looked_at: Size
    view: Size


def instances_of_boxes(
    found: Found, names: Mapping[int, str], *, size: Size, threshold: float, limit: int
) -> list[Instance]:
    """As DETR's successors do: every class has a probability of its own, and there is no NMS.

    Args:
        found: by the detector.
        names: of the classes.
        size: of the picture.
        threshold: instances below this score are left out.
        limit: the most instances.

    Returns:
        The surest first.
    """
    best = Candidates.of(found.logits.sigmoid(), limit)
    boxes = _in_picture(found, size)
    return [
        Instance(
            label=int(label),
            name=names.get(int(label), str(int(label))),
            score=float(score),
            box=_box(boxes[query]),
            mask=_mask(found, int(query), size),
        )
        for score, label, query in zip(best.scores, best.labels, best.queries, strict=True)
        if score >= threshold
    ]


def _in_picture(found: Found, size: Size) -> Tensor:
    """[Q, 4], x1, y1, x2, y2 in pixels of the picture, cut at its borders."""
    centre, extent = torch.split(found.boxes.float(), 2, dim=-1)
    height, width = (a / v * s for a, v, s in zip(found.looked_at, found.view, size, strict=True))
    corners = torch.cat([centre - extent / 2, centre + extent / 2], dim=-1)
    pixels = corners * corners.new_tensor([width, height, width, height])
    return torch.minimum(pixels.clamp(min=0), pixels.new_tensor([*size[::-1], *size[::-1]]))


def _box(box: Tensor) -> Box:
    x1, y1, x2, y2 = box.tolist()
    return x1, y1, x2, y2


def _mask(found: Found, query: int, size: Size) -> Tensor:
    """bool [H, W] of the picture."""
    return sized_masks(found.masks[query][None], found.looked_at, found.view, size)[0] > 0


def sized_masks(masks: Tensor, looked_at: Size, view: Size, size: Size) -> Tensor:
    """Logits [Q, h, w] over what was looked at -> [Q, H, W] over the picture in it."""
    whole = _interpolated(masks, looked_at)[:, : view[0], : view[1]]
    return _interpolated(whole, size)


def _interpolated(masks: Tensor, size: Size) -> Tensor:
    return functional.interpolate(masks[None], size=size, mode="bilinear", align_corners=False)[0]
