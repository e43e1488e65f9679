"""What a frozen encoder makes of the rows of a task, kept on disk.

Shapes: N rows, K blocks of a row, T tokens with [CLS], D width.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.progress import track
from tasks_rows import Bench, Block, Row
from torch import Tensor
from torch.nn import functional

from unisono.hub import load_catalog
from unisono.models import OnePeaceProcessor
from unisono.models.onepeace import OnePeaceModel
from unisono.models.onepeace.branch import whole_model
from unisono.runtime.load_catalog import shipped

ROWS_AT_ONCE = 16
SIDES = ("pretrained", "random")


@dataclass(frozen=True)
class Features:
    """Of rows.

    Attributes:
        tokens: float16 [N, K, T, D].
        padding: bool [N, K, T], True where there is nothing.
    """

    tokens: Tensor
    padding: Tensor


def encoders(image_px: int | None = None) -> tuple[Mapping[str, OnePeaceModel], OnePeaceProcessor]:
    """onepeace-nano, the same shape with random weights, and what prepares inputs for both."""
    with shipped(load_catalog().models["onepeace-nano"]) as folder:
        pretrained = whole_model(folder).float().eval()
        processor = OnePeaceProcessor.from_pretrained(folder)
    torch.manual_seed(0)
    random = OnePeaceModel(pretrained.config).eval()
    return {"pretrained": pretrained, "random": random}, processor


def features(
    bench: Bench, rows: Sequence[Row], folder: Path, *, side: str, cache: Path
) -> Features:
    """Of a cache's file, or computed and written there."""
    what = json.dumps([rows, bench.media, bench.blocks.__name__], default=str)
    path = cache / f"{hashlib.sha256(what.encode()).hexdigest()[:16]}-{side}.npz"
    if not path.exists():
        models, processor = encoders()
        blocks = [bench.blocks(row, folder / bench.media) for row in rows[:1]]
        parts = [
            _encoded(models[side], processor, batch)
            for batch in track(
                list(_batches(bench, rows, folder)), f"{side} encoder", transient=True
            )
        ]
        found = _joined([one for part in parts for one in part], len(blocks[0]))
        cache.mkdir(parents=True, exist_ok=True)
        np.savez(path.with_suffix(".part.npz"), tokens=found.tokens, padding=found.padding)
        path.with_suffix(".part.npz").replace(path)
    with np.load(path) as file:
        return Features(torch.from_numpy(file["tokens"]), torch.from_numpy(file["padding"]))


def _batches(bench: Bench, rows: Sequence[Row], folder: Path) -> Any:
    media = folder / bench.media
    for start in range(0, len(rows), ROWS_AT_ONCE):
        yield [(bench.blocks, row, media) for row in rows[start : start + ROWS_AT_ONCE]]


@torch.inference_mode()
def _encoded(
    model: OnePeaceModel, processor: OnePeaceProcessor, batch: Sequence[Any]
) -> list[list[Tensor]]:
    """Tokens [T, D] of each block of some rows; blocks at one place go together."""
    rows: list[list[Block]] = [blocks(row, media) for blocks, row, media in batch]
    found: list[list[Tensor]] = [[] for _ in rows]
    for place in zip(*rows, strict=True):
        modality = place[0][0]
        inputs = processor.collate([processor.prepare(**given) for _, given in place])
        encoded = model.encode(model.embed(inputs))
        tokens, padding = encoded.sequences[modality].half(), encoded.padding[modality]
        for row, one in enumerate(tokens):
            found[row].append(one if padding is None else one[~padding[row]])
    return found


def _joined(rows: Sequence[Sequence[Tensor]], blocks: int) -> Features:
    longest = max(len(one) for row in rows for one in row)
    width = rows[0][0].shape[1]
    tokens = torch.zeros(len(rows), blocks, longest, width, dtype=torch.float16)
    padding = torch.ones(len(rows), blocks, longest, dtype=torch.bool)
    for i, row in enumerate(rows):
        for k, one in enumerate(row):
            tokens[i, k] = functional.pad(one, (0, 0, 0, longest - len(one)))
            padding[i, k, : len(one)] = False
    return Features(tokens, padding)
