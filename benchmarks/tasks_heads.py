"""The library's own heads, trained on what a frozen encoder made of the rows, and their scores.

Shapes as in tasks_features.py; C classes, P places in a batch.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from tasks_features import Features
from tasks_rows import Bench, Row, labels_of
from torch import Tensor, nn
from torch.nn import functional

from unisono.evaluation import Score
from unisono.evaluation.metrics.boxes import box_iou, corners
from unisono.evaluation.metrics.labels import mean_average_precision
from unisono.evaluation.metrics.matching import accuracy
from unisono.models import OnePeaceConfig
from unisono.models.onepeace.heads import OnePeaceForClassification
from unisono.models.onepeace.losses import box_loss

BATCH, LR, WEIGHT_DECAY = 64, 1e-3, 0.05
SCENE_PX = 128


class Pairs(nn.Module):
    """A projection for texts and one for pictures, as retrieval fine-tuning has them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.sides = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.log_scale = nn.Parameter(torch.tensor(2.66))

    def forward(self, tokens: Tensor, padding: Tensor) -> Tensor:
        """[P, 2, T, D] -> [P, 2, D], of length 1."""
        found = [side(tokens[:, k, 0]) for k, side in enumerate(self.sides)]
        return functional.normalize(torch.stack(found, dim=1), dim=-1)


class Blocks(nn.Module):
    """ONE-PEACE's head over the blocks of a row side by side, or over each alone."""

    def __init__(self, config: OnePeaceConfig, *, labels: int, blocks: int, alone: bool) -> None:
        super().__init__()
        shape = OnePeaceConfig.from_dict(config.to_dict())
        shape.num_labels, shape.head_config.images = labels, 1 if alone else blocks
        shape.text_config = shape.audio_config = None
        shape.head_config.modality = "image"
        self.head = OnePeaceForClassification(shape).head
        self.alone = alone

    def forward(self, tokens: Tensor, padding: Tensor) -> Tensor:
        """[P, K, T, D] -> [P, C]; alone: [P, K]."""
        blocks = range(tokens.shape[1])
        pooled = [self.head.pool(tokens[:, k], padding[:, k]) for k in blocks]
        if self.alone:
            return torch.cat([self.head.classifier(one) for one in pooled], dim=1)
        return self.head.classifier(torch.cat(pooled, dim=1))


def targets_of(bench: Bench, rows: Sequence[Row], labels: Sequence[str]) -> Tensor:
    """[N], [N, C] or [N, 4] as fractions; a class that training lacks is -1."""
    places = {label: place for place, label in enumerate(labels)}
    values = [row[bench.field] for row in rows]
    if bench.loss == "box":
        return torch.from_numpy(corners(values) / SCENE_PX).float()
    if bench.loss == "several":
        return torch.tensor([[float(label in one) for label in labels] for one in values])
    if bench.loss == "choice":
        return torch.tensor(values)
    return torch.tensor([places.get(one, -1) for one in values])


def loss_of(bench: Bench, model: nn.Module, found: Tensor, target: Tensor) -> Tensor:
    """Of a batch."""
    if bench.loss == "box":
        return box_loss(found.sigmoid(), target)
    if bench.loss == "several":
        return functional.binary_cross_entropy_with_logits(found, target, reduction="sum") / len(
            target
        )
    if bench.loss == "pairs":
        texts, pictures = found.unbind(1)
        logits = texts @ pictures.T * model.log_scale.exp()  # type: ignore[operator]
        right = (target[:, None] == target[None]).float()  # of one name, all are right
        shares = right / right.sum(1, keepdim=True)
        return (
            functional.cross_entropy(logits, shares) + functional.cross_entropy(logits.T, shares)
        ) / 2
    return functional.cross_entropy(found, target)


def fitted(
    bench: Bench, train: Features, rows: Sequence[Row], config: OnePeaceConfig, *, steps: int
) -> nn.Module:
    """A head; initialisation and order are the same whatever the features are."""
    torch.manual_seed(1)
    labels = [] if bench.loss in ("box", "choice") else labels_of(bench, rows)
    model = _new(bench, train, config, len(labels))
    target = targets_of(bench, rows, labels)
    optimizer = torch.optim.AdamW(model.parameters(), lr=LR, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LR, total_steps=steps, pct_start=0.1)
    order = torch.Generator().manual_seed(2)
    for _ in range(steps):
        chosen = torch.randint(len(rows), (BATCH,), generator=order)
        found = model(train.tokens[chosen].float(), train.padding[chosen])
        loss = loss_of(bench, model, found, target[chosen])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
    return model.eval()


def _new(bench: Bench, train: Features, config: OnePeaceConfig, labels: int) -> nn.Module:
    if bench.loss == "pairs":
        return Pairs(config.hidden_size)
    count = {"box": 4, "choice": 1}.get(bench.loss, labels)
    blocks = train.tokens.shape[1]
    return Blocks(config, labels=count, blocks=blocks, alone=bench.loss == "choice")


@torch.inference_mode()
def outputs(model: nn.Module, test: Features) -> Tensor:
    """Of all rows."""
    pairs = zip(test.tokens.split(BATCH), test.padding.split(BATCH), strict=True)
    return torch.cat([model(tokens.float(), padding) for tokens, padding in pairs])


def score_of(
    bench: Bench, found: Tensor, rows: Sequence[Row], labels: Sequence[str]
) -> Mapping[str, Score]:
    """The metric that decides, and others."""
    if bench.loss == "pairs":
        return {"recall@1": recall(found[:, 0], found[:, 1], [row["text"] for row in rows])}
    if bench.loss == "several":
        relevant = targets_of(bench, rows, labels).numpy()
        return {"mAP": mean_average_precision(relevant, found.numpy())}
    if bench.loss == "box":
        return boxes(found.sigmoid().numpy() * SCENE_PX, corners([row["box"] for row in rows]))
    best = found.argmax(dim=1).tolist()
    if bench.loss == "choice":
        right = [str(row["choice"]) for row in rows]
        return {"accuracy": accuracy(right, [str(one) for one in best])}
    return {"accuracy": accuracy([row[bench.field] for row in rows], [labels[i] for i in best])}


def boxes(found: Any, truth: Any) -> Mapping[str, Score]:
    """Overlap, and the share that overlaps by a half."""
    pairs = zip(found, truth, strict=True)
    overlaps = np.array([float(box_iou(one, other)[0, 0]) for one, other in pairs])
    return {"overlap": Score.of(overlaps), "accuracy@0.5": Score.of(overlaps >= 0.5)}


def recall(texts: Tensor, pictures: Tensor, names: Sequence[str]) -> Score:
    """How often the nearest picture is one of the text's name."""
    nearest = (texts @ pictures.T).argmax(dim=1).tolist()
    return Score.of([float(names[i] == name) for i, name in zip(nearest, names, strict=True)])
