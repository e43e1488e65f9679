"""The losses of ONE-PEACE (arXiv 2305.11172, section 2.3), on tensors alone.

Cross-modal contrast tells pairs apart across a batch; denoising contrast tells tokens apart
within one modality: a masked token must find itself among all tokens of the unmasked pass.
Shapes: B pairs of this rank, N of all ranks, R masked tokens, M tokens in all, D width.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, distributed
from torch.nn import functional

MAX_LOGIT_SCALE = 100.0

JOINT = "joint_"
"""Marks, in names of masks and losses, what belongs to the joint encoding."""


@dataclass(frozen=True)
class Stage:
    """What a stage of pretraining sums up.

    Attributes:
        pair: the two modalities of a sample, as they stand in the joint sequence.
        alone: modality -> weight of its denoising loss when it is encoded alone.
        joint: modality -> weight of its denoising loss when both are encoded jointly.
        joint_teacher: modalities that, encoded alone, still learn from the joint pass.
        trained: the one modality whose parameters of the encoder train; None for all.
        contrast: weight of the cross-modal contrast.
    """

    pair: tuple[str, str]
    alone: dict[str, float]
    joint: dict[str, float]
    joint_teacher: frozenset[str] = field(default_factory=frozenset)
    trained: str | None = None
    contrast: float = 1.0

    def weight(self, term: str) -> float:
        """Of a term by its name: "contrast", a modality, or "joint_" + modality."""
        weights = {"contrast": self.contrast, **self.alone}
        return {**weights, **{JOINT + m: w for m, w in self.joint.items()}}[term]

    def without(self, *terms: str) -> "Stage":
        """The stage with some terms off: "contrast", "alone", "joint", or a modality's name."""
        return replace(
            self,
            contrast=0.0 if "contrast" in terms else self.contrast,
            alone=_off(self.alone, {"alone", *self.pair} & set(terms), "alone"),
            joint=_off(self.joint, {"joint", *self.pair} & set(terms), "joint"),
        )


def _off(weights: dict[str, float], terms: set[str], group: str) -> dict[str, float]:
    return {m: 0.0 if m in terms or group in terms else w for m, w in weights.items()}


VISION_LANGUAGE = Stage(
    pair=("text", "image"),
    alone={"text": 0.5, "image": 1.0},
    joint={"text": 0.5, "image": 0.5},
)
"""Stage 1: everything trains."""

AUDIO_LANGUAGE = Stage(
    pair=("text", "audio"),
    alone={"audio": 1.0},
    joint={"text": 0.5, "audio": 0.5},
    joint_teacher=frozenset({"audio"}),
    trained="audio",
)
"""Stage 2: sound is led into the space that text and images share. Its teacher is the joint pass
even for the sound encoded alone, as in the official code."""

AUDIO_VISION = Stage(pair=("image", "audio"), alone={}, joint={}, trained="audio")
"""Not of the paper: sounds are led to pictures without words between, to be compared with what
emerges where words are the only bridge."""


@dataclass(frozen=True)
class Gathered:
    """Embeddings of all ranks.

    Attributes:
        features: [N, D].
        start: where this rank's own begin.
    """

    features: Tensor
    start: int


def gather(features: Tensor, *, full_gradients: bool = False) -> Gathered:
    """Embeddings [B, D] of all ranks, equally many on each; just these without a process group.

    Detached, as in the original, also on one rank: each direction of the contrast then trains its
    own side. `full_gradients` lets gradients flow to all ranks instead.
    """
    if not (distributed.is_available() and distributed.is_initialized()):
        return Gathered(features if full_gradients else features.detach(), 0)
    start = distributed.get_rank() * len(features)
    if full_gradients:
        return Gathered(_AllGather.apply(features), start)  # type: ignore[no-untyped-call]
    return Gathered(_everyone(features.detach()), start)


def _everyone(features: Tensor) -> Tensor:
    """[B, D] of each rank -> [N, D]."""
    features = features.contiguous()
    everyone = [torch.empty_like(features) for _ in range(distributed.get_world_size())]
    distributed.all_gather(everyone, features)
    return torch.cat(everyone)


class _AllGather(torch.autograd.Function):
    """Gathering whose gradient is the sum of what all ranks ask of this one's features."""

    @staticmethod
    def forward(ctx: Any, features: Tensor) -> Tensor:
        ctx.rows = len(features)
        return _everyone(features)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous()
        distributed.all_reduce(gradient)
        return torch.split(gradient, ctx.rows)[distributed.get_rank()]


@dataclass(frozen=True)
class Contrast:
    """Result of `cross_modal_contrast`.

    Attributes:
        loss: scalar, mean over both directions and the batch.
        correct: pairs of this rank found, from the first modality and from the second.
    """

    loss: Tensor
    correct: tuple[Tensor, Tensor]


def cross_modal_contrast(
    first: Tensor,
    second: Tensor,
    logit_scale: Tensor,
    *,
    full_gradients: bool = False,
    gathered: tuple[Gathered, Gathered] | None = None,
) -> Contrast:
    """Symmetric softmax cross-entropy over pairs, without label smoothing (eq. 1).

    Args:
        first, second: [B, D], L2-normalised; row i of one belongs to row i of the other.
        logit_scale: factor of the similarities (not its logarithm).
        full_gradients: see `gather`.
        gathered: all ranks' embeddings of both, when the caller has them.
    """
    if gathered is None:
        gathered = tuple(gather(x, full_gradients=full_gradients) for x in (first, second))  # type: ignore[assignment]
    all_first, all_second = gathered  # type: ignore[misc]
    forth, forth_correct = _find(first, all_second, logit_scale)
    back, back_correct = _find(second, all_first, logit_scale)
    return Contrast((forth + back) / 2, (forth_correct, back_correct))


def _find(queries: Tensor, keys: Gathered, logit_scale: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy of finding row start + i for query i, and how many are found."""
    logits = (logit_scale * queries @ keys.features.T).float()
    targets = torch.arange(len(queries), device=queries.device) + keys.start
    return functional.cross_entropy(logits, targets), (logits.argmax(dim=1) == targets).sum()


def denoising_contrast(
    students: Tensor,
    teachers: Tensor,
    targets: Tensor,
    *,
    logit_scale: float = 2.5,
    label_smoothing: float = 0.1,
) -> Tensor:
    """Each masked token picks its own teacher among all tokens (eq. 2).

    Args:
        students: [R, D], decoded at masked positions.
        teachers: [M, D], the unmasked pass; gradients stop here.
        targets: [R], the student's own row in `teachers`.
        logit_scale: fixed factor of the cosine similarities.
        label_smoothing: probability spread over the M - 1 wrong tokens.
    """
    teachers = functional.normalize(teachers.detach().float(), dim=-1)
    logits = logit_scale * functional.normalize(students.float(), dim=-1) @ teachers.T
    others = max(len(teachers) - 1, 1)
    # PyTorch spreads smoothing over all M tokens, the right one included; fairseq over M - 1.
    smoothing = min(label_smoothing * len(teachers) / others, 1.0)
    return functional.cross_entropy(logits, targets, label_smoothing=smoothing)


def denoising_smooth_l1(students: Tensor, teachers: Tensor, targets: Tensor) -> Tensor:
    """Ablation: mean smooth-L1 distance to the own teacher. Arguments as `denoising_contrast`."""
    return functional.smooth_l1_loss(students.float(), teachers.detach()[targets].float())


def denoising_l2(students: Tensor, teachers: Tensor, targets: Tensor) -> Tensor:
    """Ablation: mean squared distance to the own teacher. Arguments as `denoising_contrast`."""
    return functional.mse_loss(students.float(), teachers.detach()[targets].float())


def denoising_cosine(students: Tensor, teachers: Tensor, targets: Tensor) -> Tensor:
    """Ablation: 1 - cosine to the own teacher. Arguments as `denoising_contrast`."""
    own = teachers.detach()[targets].float()
    return 1 - functional.cosine_similarity(students.float(), own, dim=-1).mean()


DENOISING: dict[str, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
    "contrast": denoising_contrast,
    "smooth_l1": denoising_smooth_l1,
    "l2": denoising_l2,
    "cosine": denoising_cosine,
}
"""By the name in `OnePeaceConfig.denoising`; each takes students, teachers, targets."""


def masked_pairs(mask_indices: Tensor, padding: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
    """Which tokens are students, which are teachers, and which teacher is a student's own.

    Args:
        mask_indices: [B, T], True where masked.
        padding: [B, T], True at padding.

    Returns:
        students [B, T] and teachers [B, T], True where; targets [R], rows among the teachers.
        [CLS] is neither.
    """
    real = torch.ones_like(mask_indices) if padding is None else ~padding
    behind_cls = torch.arange(mask_indices.shape[1], device=mask_indices.device) > 0
    teachers, students = real & behind_cls, mask_indices.bool() & real & behind_cls
    rows = teachers.flatten().cumsum(0) - 1
    return students, teachers, rows[students.flatten()]


def box_loss(predicted: Tensor, boxes: Tensor) -> Tensor:
    """Grounding: L1 distance summed over a box + (1 - generalised overlap), both means.

    Args:
        predicted, boxes: [B, 4], x1, y1, x2, y2 as fractions of the image.

    The overlap counts where the predicted corners are in order; where none are, it is left out
    (the original divides by zero there).
    """
    loss = (predicted - boxes).abs().sum() / len(boxes)
    ordered = (predicted[:, :2] < predicted[:, 2:]).all(dim=1)
    if bool(ordered.any()):
        loss = loss + (1 - generalised_overlap(predicted[ordered], boxes[ordered])).mean()
    return loss


def box_overlap(a: Tensor, b: Tensor) -> Tensor:
    """Intersection over union of boxes [B, 4] -> [B]; 0 where corners are the wrong way round."""
    inner = _area(torch.cat([a[:, :2].max(b[:, :2]), a[:, 2:].min(b[:, 2:])], dim=1))
    return inner / (_area(a) + _area(b) - inner).clamp(min=1e-12)


def generalised_overlap(a: Tensor, b: Tensor) -> Tensor:
    """Generalised intersection over union of boxes [B, 4] -> [B] (arXiv 1902.09630)."""
    inner = _area(torch.cat([a[:, :2].max(b[:, :2]), a[:, 2:].min(b[:, 2:])], dim=1))
    hull = _area(torch.cat([a[:, :2].min(b[:, :2]), a[:, 2:].max(b[:, 2:])], dim=1))
    union = _area(a) + _area(b) - inner
    return inner / union - (hull - union) / hull


def _area(boxes: Tensor) -> Tensor:
    return (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1)
