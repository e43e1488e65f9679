"""From a folder to a model that does a task."""

import os
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedConfig

from unisono.errors import ModelConfigError, UnisonoError, UnknownModelError
from unisono.models import OnePeaceProcessor
from unisono.models.onepeace import (
    OnePeaceForClassification,
    OnePeaceForGrounding,
    OnePeaceForRanking,
)
from unisono.models.onepeace.dense import (
    OnePeaceForImageClassification,
    OnePeaceForSegmentation,
    OnePeaceForVideoClassification,
)
from unisono.models.onepeace.dense.detection import Detector, OnePeaceForDetection
from unisono.models.onepeace.dense.segmenter import Segmenter
from unisono.runtime.predict_head import HeadPredictor
from unisono.runtime.predict_picture import DetectPredictor, SegmentPredictor, WholePredictor
from unisono.runtime.predictor import TASKS, Predictor

_HEADS = (OnePeaceForClassification, OnePeaceForGrounding, OnePeaceForRanking)
_DENSE = (
    OnePeaceForSegmentation,
    OnePeaceForDetection,
    OnePeaceForImageClassification,
    OnePeaceForVideoClassification,
)
_KINDS: dict[str, Any] = {kind.__name__: kind for kind in (*_HEADS, *_DENSE)}


def is_task_model(name: str | os.PathLike[str]) -> bool:
    """Whether a folder has a model that `load_predictor` reads."""
    return _kind(name) in _KINDS if Path(name).is_dir() else False


def load_predictor(
    name: str | os.PathLike[str],
    *,
    task: str | None = None,
    device: str | torch.device | None = None,
    dtype: torch.dtype | None = None,
    threshold: float = 0.5,
) -> Predictor:
    """Load a model that classifies, grounds, ranks, segments or detects.

    Args:
        name: a folder that `unisono train` or `unisono convert` wrote, or "owner/name".
        task: what it is wanted for, one of `TASKS`; None for what it does. A segmenter with a
            Mask2Former head also detects.
        device: by default CUDA where there is one.
        dtype: of the weights; by default bfloat16 on CUDA, float32 on a CPU.
        threshold: things that a detector is less sure of are left out.

    Raises:
        UnknownModelError: there is no such model, or its files cannot be read.
        ModelConfigError: it does another task.
    """
    if task is not None and task not in TASKS:
        raise ModelConfigError(f"task must be one of {', '.join(TASKS)}, but is {task!r} instead")
    if not Path(name).is_dir() and str(name).count("/") != 1:
        raise UnknownModelError(f"there is no folder '{name}'")
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    dtype = dtype or (torch.bfloat16 if device.type == "cuda" else torch.float32)
    model = _model(name, dtype).to(device)
    predictor = _predictor(model, name, task, threshold)
    if task is not None and predictor.task != task:
        raise ModelConfigError(
            f"the model in '{name}' can {predictor.task}, but is asked to {task}"
        )
    return predictor


def _kind(name: str | os.PathLike[str]) -> str:
    try:
        fields, _ = PreTrainedConfig.get_config_dict(name)
    except OSError:
        return ""
    return str((fields.get("architectures") or [""])[0])


def _model(name: str | os.PathLike[str], dtype: torch.dtype) -> Any:
    kind = _kind(name)
    if kind not in _KINDS:
        raise ModelConfigError(
            f"the model in '{name}' is {kind or 'none that can be read'}, which does no task of "
            f"{', '.join(TASKS)}"
        )
    try:
        return _KINDS[kind].from_pretrained(name, dtype=dtype)
    except UnisonoError:
        raise
    except (OSError, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise UnknownModelError(f"no model can be read from '{name}': {reason}") from error


def _predictor(
    model: Any, place: str | os.PathLike[str], task: str | None, threshold: float
) -> Predictor:
    name = str(place)
    if isinstance(model, _HEADS):
        return HeadPredictor(model, OnePeaceProcessor.from_pretrained(place), name=name)
    if isinstance(model, OnePeaceForDetection):
        return DetectPredictor(Detector(model), threshold=threshold, name=name)
    if isinstance(model, OnePeaceForSegmentation):
        segmenter = Segmenter(model)
        if task == "detect":
            return DetectPredictor(segmenter, threshold=threshold, name=name)
        return SegmentPredictor(segmenter, name=name)
    return WholePredictor(model, name=name)
