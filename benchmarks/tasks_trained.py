"""A head and the encoder under it, trained together. Shapes as in tasks_features.py."""

import copy
from collections.abc import Sequence
from pathlib import Path

import torch
from rich.progress import track
from tasks_features import encoders
from tasks_heads import Blocks, loss_of, targets_of
from tasks_rows import Bench, Row, labels_of
from torch import Tensor, nn

from unisono.models import OnePeaceProcessor
from unisono.models.onepeace.processor import Prepared

STEPS, BATCH = 300, 32
HEAD_LR, ENCODER_LR = 1e-3, 5e-4

Rows = list[list[tuple[str, Prepared]]]


def outputs_of_trained(
    bench: Bench, train: Sequence[Row], test: Sequence[Row], folder: Path, side: str
) -> Tensor:
    """What the trained model says of the test rows."""
    models, processor = encoders()
    encoder = copy.deepcopy(models[side]).train()
    torch.manual_seed(1)
    labels = [] if bench.loss == "box" else labels_of(bench, train)
    opened = _opened(bench, processor, train, folder)
    head = Blocks(
        encoder.config,
        labels=4 if bench.loss == "box" else len(labels),
        blocks=len(opened[0]),
        alone=False,
    )
    model = nn.ModuleDict({"encoder": encoder, "head": head})
    _learn(model, processor, opened, (bench, targets_of(bench, train, labels)))
    return _answers(model.eval(), processor, _opened(bench, processor, test, folder))


def _opened(bench: Bench, processor: OnePeaceProcessor, rows: Sequence[Row], folder: Path) -> Rows:
    media = folder / bench.media
    return [
        [(modality, processor.prepare(**given)) for modality, given in bench.blocks(row, media)]
        for row in track(rows, "opening", transient=True)
    ]


def _learn(
    model: nn.ModuleDict, processor: OnePeaceProcessor, rows: Rows, right: tuple[Bench, Tensor]
) -> None:
    bench, target = right
    groups = [
        {"params": model[name].parameters(), "lr": lr}
        for name, lr in (("encoder", ENCODER_LR), ("head", HEAD_LR))
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, [ENCODER_LR, HEAD_LR], total_steps=STEPS, pct_start=0.1
    )
    order = torch.Generator().manual_seed(2)
    for _ in track(range(STEPS), "training", transient=True):
        chosen = torch.randint(len(rows), (BATCH,), generator=order)
        found = _forward(model, processor, [rows[i] for i in chosen.tolist()])
        loss = loss_of(bench, model, found, target[chosen])
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()


def _forward(model: nn.ModuleDict, processor: OnePeaceProcessor, rows: Rows) -> Tensor:
    """[P, C]; the blocks of a row have one text, and so as many tokens."""
    found, encoder = [], model["encoder"]
    padding: Tensor | None = None
    for place in zip(*rows, strict=True):
        inputs = processor.collate([one for _, one in place])
        encoded = encoder.encode(encoder.embed(inputs))
        found.append(encoded.sequences[place[0][0]])
        padding = encoded.padding[place[0][0]]
    tokens = torch.stack(found, dim=1)
    if padding is None:
        padding = torch.zeros(tokens.shape[0], tokens.shape[2], dtype=torch.bool)
    result: Tensor = model["head"](tokens, padding[:, None].expand(-1, len(found), -1))
    return result


@torch.inference_mode()
def _answers(model: nn.ModuleDict, processor: OnePeaceProcessor, rows: Rows) -> Tensor:
    starts = range(0, len(rows), BATCH)
    return torch.cat([_forward(model, processor, rows[i : i + BATCH]) for i in starts])
