"""What the encoder does without any training: the baseline beside fine-tuning."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import torch
from tasks_features import encoders, features
from tasks_heads import recall
from tasks_rows import TASKS, Row, rows_of
from torch import Tensor
from torch.nn import functional

from unisono.evaluation import Score
from unisono.evaluation.metrics.matching import accuracy

Result = tuple[str, Mapping[str, Score]]
BATCH = 64


@torch.inference_mode()
def retrieval(side: str, folder: Path, cache: Path) -> Result:
    """Which drawing, never seen, is the one of a name."""
    bench = TASKS["retrieval"]
    rows = rows_of(bench, folder, "test")
    tokens = features(bench, rows, folder, side=side, cache=cache).tokens[:, :, 0].float()
    texts, pictures = (
        _embedded(side, modality, tokens[:, k]) for k, modality in enumerate(("text", "image"))
    )
    return "recall@1", {"recall@1": recall(texts, pictures, [row["text"] for row in rows])}


@torch.inference_mode()
def sounds(side: str, folder: Path, cache: Path) -> Result:
    """Which of the sounds' names is nearest."""
    bench = TASKS["audio classification"]
    rows = rows_of(bench, folder, "test")
    tokens = features(bench, rows, folder, side=side, cache=cache).tokens[:, 0, 0].float()
    names = sorted({row["label"] for row in rows})
    nearest = (_embedded(side, "audio", tokens) @ _names(side, names).T).argmax(dim=1)
    right: Sequence[Row] = rows
    found = [names[i] for i in nearest.tolist()]
    return "accuracy", {"accuracy": accuracy([row["label"] for row in right], found)}


def _embedded(side: str, modality: str, pooled: Tensor) -> Tensor:
    models, _ = encoders()
    return functional.normalize(models[side].project(modality, pooled), dim=-1)


def _names(side: str, names: Sequence[str]) -> Tensor:
    models, processor = encoders()
    output = models[side](**processor.collate([processor.prepare(text=f"a {n}") for n in names]))
    return output.embeddings["text"]


ZERO_SHOT: Mapping[str, Callable[[str, Path, Path], Result]] = {
    "zero-shot retrieval": retrieval,
    "zero-shot audio classification": sounds,
}
