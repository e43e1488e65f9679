"""Official ONE-PEACE checkpoints to ours and back; the names are in `convert_keys`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unisono.errors import ModelConfigError
from unisono.models.onepeace.backbone import OnePeaceBackbone
from unisono.models.onepeace.bias import resized_table
from unisono.models.onepeace.config import OnePeaceConfig
from unisono.models.onepeace.convert_config import config_from_official
from unisono.models.onepeace.convert_keys import canonical, to_official, to_ours
from unisono.models.onepeace.convert_read import read_official
from unisono.models.onepeace.dense.convert import TASKS as DENSE_TASKS
from unisono.models.onepeace.dense.convert import dense_from_official, dense_task
from unisono.models.onepeace.heads import (
    OnePeaceForClassification,
    OnePeaceForGrounding,
    OnePeaceForRanking,
)
from unisono.models.onepeace.model import OnePeaceModel, OnePeacePreTrainedModel
from unisono.models.onepeace.pretraining import OnePeaceForPretraining

TASKS: dict[str, type[OnePeacePreTrainedModel]] = {
    "backbone": OnePeaceBackbone,
    "classification": OnePeaceForClassification,
    "embedding": OnePeaceModel,
    "grounding": OnePeaceForGrounding,
    "pretraining": OnePeaceForPretraining,
    "ranking": OnePeaceForRanking,
}
"""What a checkpoint is for -> the model it becomes."""

BARE = "onepeace."
"""Where the bare model lies in the others."""


def convert(
    source: Path,
    destination: Path,
    *,
    task: str | None = None,
    dtype: torch.dtype | None = None,
) -> OnePeacePreTrainedModel:
    """Convert an official `.pt` or `.pkl` file to a folder that `from_pretrained` loads.

    Args:
        source: the official file.
        destination: the folder to write.
        task: a key of `TASKS` or of `dense.convert.TASKS`; None finds it out from the weights.
        dtype: of what is written; None for float32.

    Raises:
        ModelConfigError: the file is no checkpoint, or its keys are not those of the task.
    """
    file = read_official(source)
    dense = task if task in DENSE_TASKS else dense_task(file.state) if task is None else None
    if dense is not None:
        model = dense_from_official(file.state, task=dense)
    else:
        model = from_official(file.state, file.cfg, task=task)
    if dtype is not None:
        model.to(dtype)
    model.save_pretrained(destination)
    return model


def from_official(
    state: Mapping[str, Tensor],
    cfg: Mapping[str, Any] | None = None,
    *,
    task: str | None = None,
    **changes: Any,
) -> OnePeacePreTrainedModel:
    """A model of ours with official weights, in float32 and eval mode.

    Tensors that are float32 already become the model's own; they are not copied.

    Args:
        state: weights by official names; those of the vision branch too.
        cfg: the official model configuration, if known.
        task: a key of `TASKS`; None finds it out.
        **changes: fields of `OnePeaceConfig` to differ from the file's: `bias_per_layer` copies
            the one table to every layer, `official_padding`, …

    Raises:
        ModelConfigError: keys are missing, unexpected or of another shape; they are named.
    """
    official = {canonical(key): value for key, value in state.items()}
    task = task or task_of(official, cfg)
    if task not in TASKS:
        raise ModelConfigError(f"task must be one of {sorted(TASKS)}, but is {task!r} instead")
    config = config_from_official(official, cfg)
    for name, value in changes.items():
        setattr(config, name, value)
    if task == "grounding":
        config.head_config.modality = "image"
    with torch.device("meta"):  # nothing is initialised that the file brings anyway
        model = TASKS[task](config)
    load(model, official)
    return model.eval()


def task_of(state: Mapping[str, Tensor], cfg: Mapping[str, Any] | None = None) -> str:
    """What official weights are for.

    A head with one output ranks; one with four that, by its `cfg`, pools the image grounds.
    """
    head = state.get("classify_head.classifier.3.weight")
    if head is not None:
        if len(head) == 1:
            return "ranking"
        grounds = len(head) == 4 and (cfg or {}).get("use_image_features")
        return "grounding" if grounds else "classification"
    if any(key.startswith("decoder_wrapper.") for key in state):
        return "pretraining"
    projected = any(key.endswith("_proj.weight") and key.count(".") == 1 for key in state)
    return "embedding" if projected else "backbone"


def load(model: OnePeacePreTrainedModel, official: Mapping[str, Tensor]) -> None:
    """Give a model official weights, strictly; it may have been made on the meta device.

    Raises:
        ModelConfigError: keys are missing, unexpected or of another shape; they are named.
    """
    names = to_ours(official)
    ours = {_placed(model, names[key]): official[key].float() for key in names}
    if model.config.bias_per_layer:
        ours.update(_copied_tables(ours, model.config.num_hidden_layers))
    _check(ours, {name: tuple(value.shape) for name, value in model.state_dict().items()})
    model.load_state_dict(ours, strict=True, assign=True)


def to_official_state(model: OnePeacePreTrainedModel) -> dict[str, Tensor]:
    """Our weights under official names, ready for the official loader.

    What the official code stores and never reads (index tables, unused vectors) is left out; its
    loader fills it in.

    Raises:
        ModelConfigError: a key has no official name (another sharing, a further modality).
    """
    bare = {name.removeprefix(BARE): value for name, value in model.state_dict().items()}
    return {official: bare[ours].clone() for ours, official in to_official(bare).items()}


def at_grid(model: OnePeacePreTrainedModel, grid: int) -> None:
    """Make an image model's relative tables those of a `grid` x `grid` image, to train on there.

    Without it a model resizes them in every forward pass, with the same result.
    """
    adapter = model.get_submodule(_placed(model, "adapters.image"))
    source = adapter.config.bias_grid
    bias = adapter.relative_bias
    for i, table in enumerate(bias):
        bias[i] = torch.nn.Parameter(resized_table(table.data, source, (grid, grid)))
    adapter.config.bias_grid = grid  # the same object as the model config's


def _placed(model: OnePeacePreTrainedModel, name: str) -> str:
    """Where the bare model's key, or submodule, lies in this one."""
    outside = name.startswith(("decoder.", "head.")) or isinstance(
        model, OnePeaceModel | OnePeaceBackbone
    )
    return name if outside else BARE + name


def _copied_tables(ours: Mapping[str, Tensor], layers: int) -> dict[str, Tensor]:
    """One table for all layers, copied to each; nothing where every layer has its own."""
    start = "relative_bias."
    shared = [k for k in ours if k.endswith(start + "0") and k[:-1] + "1" not in ours]
    return {k[:-1] + str(i): ours[k].clone() for k in shared for i in range(layers)}


def _check(given: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]]) -> None:
    faults = [
        ("lacks", sorted(set(wanted) - set(given))),
        ("has unexpected", sorted(set(given) - set(wanted))),
        ("has in another shape", _misshaped(given, wanted)),
    ]
    told = [f"{what} {', '.join(keys)}" for what, keys in faults if keys]
    if told:
        raise ModelConfigError(f"the checkpoint {'; and '.join(told)}")


def _misshaped(given: Mapping[str, Tensor], wanted: Mapping[str, tuple[int, ...]]) -> list[str]:
    return [
        f"{name} ({list(given[name].shape)} in place of {list(shape)})"
        for name, shape in sorted(wanted.items())
        if name in given and tuple(given[name].shape) != shape
    ]


__all__ = ["TASKS", "OnePeaceConfig", "at_grid", "convert", "from_official", "to_official_state"]
