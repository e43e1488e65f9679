"""Official checkpoints of the dense tasks to ours; the names are in `convert_keys`."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from unisono.errors import ModelConfigError
from unisono.models.key_table import KeyRule, rename
from unisono.models.onepeace.convert_keys import to_ours
from unisono.models.onepeace.dense import convert_keys as table
from unisono.models.onepeace.dense.classification import OnePeaceForImageClassification
from unisono.models.onepeace.dense.convert_config import CONFIGS
from unisono.models.onepeace.dense.segmentation import OnePeaceForSegmentation
from unisono.models.onepeace.dense.video import OnePeaceForVideoClassification
from unisono.models.onepeace.dense.windows import OnePeaceWindowedBackbone
from unisono.models.onepeace.model import OnePeacePreTrainedModel

TASKS: dict[str, tuple[type[OnePeacePreTrainedModel], Sequence[KeyRule], str]] = {
    "segmentation": (OnePeaceForSegmentation, table.SEGMENTATION, "backbone."),
    "detection": (OnePeaceWindowedBackbone, table.DETECTION, ""),
    "image_classification": (
        OnePeaceForImageClassification,
        table.IMAGE_CLASSIFICATION,
        "backbone.",
    ),
    "video_classification": (OnePeaceForVideoClassification, table.VIDEO, "backbone."),
}
"""Task -> its model, its table, and where the model has the encoder."""

_MARKS = (
    ("decode_head.query_feat.weight", "segmentation"),
    ("image_adapter.temporal_embedding", "video_classification"),
    ("encoder.layers.0.self_attn.rel_pos_h", "detection"),
    ("head.weight", "image_classification"),
)
"""A key that only one task's checkpoints have."""

_COUNTER = ".num_batches_tracked"


def dense_task(state: Mapping[str, Tensor]) -> str | None:
    """Which of `TASKS` official weights are for; None for none of them."""
    names = {bare(key) for key in state}
    return next((task for mark, task in _MARKS if mark in names), None)


def dense_from_official(
    state: Mapping[str, Tensor], *, task: str | None = None, **fields: Any
) -> OnePeacePreTrainedModel:
    """A dense model of ours with official weights, in float32 and eval mode.

    Args:
        state: weights by official names, with what their frameworks put in front or without.
        task: a key of `TASKS`; None finds it out.
        **fields: of the config to differ from what shapes tell; a dict changes fields of a
            nested one, as `mask_config={"groups": 8}`.

    Raises:
        ModelConfigError: keys are missing, unexpected or of another shape; they are named.
    """
    task = task or dense_task(state)
    if task not in TASKS:
        raise ModelConfigError(f"task must be one of {sorted(TASKS)}, but is {task!r} instead")
    official = separated({bare(k): v.float() for k, v in state.items() if not _unused(k)})
    config = CONFIGS[task](official)
    for name, value in fields.items():
        _change(config, name, value)
    model = TASKS[task][0](config)
    _load(model, {our_name(key, task): value for key, value in official.items()})
    return model.eval()


def bare(key: str) -> str:
    """An official key without what a framework put in front."""
    for prefix in table.PREFIXES:
        if key.startswith(prefix):
            return key.removeprefix(prefix)
    return key


def separated(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Projections of query, key and value in one matrix as three."""
    found: dict[str, Tensor] = {}
    for key, value in state.items():
        start, mark, kind = key.partition(table.SEPARATED)
        if not mark:
            found[key] = value
            continue
        for name, third in zip("qkv", value.chunk(3), strict=True):
            found[f"{start}attentions.1.attn.{name}_proj.{kind}"] = third.clone()
    return found


def _unused(key: str) -> bool:
    return key.endswith(table.UNUSED)


def our_name(key: str, task: str) -> str:
    """What an official weight, `bare` and `separated`, is called in a task's model.

    Raises:
        ModelConfigError: no table has it.
    """
    _, rules, encoder = TASKS[task]
    renamed = rename(rules, key)
    return renamed[0] if renamed else encoder + next(iter(to_ours([key]).values()))


def _change(config: Any, name: str, value: Any) -> None:
    if not isinstance(value, dict):
        setattr(config, name, value)
        return
    for field, inner in value.items():
        setattr(getattr(config, name), field, inner)


def _load(model: torch.nn.Module, weights: dict[str, Tensor]) -> None:
    """Strictly, but for counters of batches, which are of no account."""
    wanted = {n: x for n, x in model.state_dict().items() if not n.endswith(_COUNTER)}
    faults = {
        "lacks": sorted(wanted.keys() - weights.keys()),
        "has unexpected": sorted(weights.keys() - wanted.keys()),
        "has in another shape": sorted(
            n for n, x in wanted.items() if n in weights and weights[n].shape != x.shape
        ),
    }
    told = [f"{what} {', '.join(names)}" for what, names in faults.items() if names]
    if told:
        raise ModelConfigError(f"the checkpoint {'; and '.join(told)}")
    model.load_state_dict(weights, strict=False)
