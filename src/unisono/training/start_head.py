"""A model on what pretraining left: the encoder's weights, and a head that begins at random."""

import re
from typing import Any, cast

import torch
from torch import Tensor
from transformers import PreTrainedConfig

from unisono.errors import ModelConfigError, RecipeError
from unisono.models import OnePeaceConfig
from unisono.models.loading import StrictlyLoadedModel
from unisono.models.onepeace.bias import resized_table
from unisono.models.onepeace.branch import whole_model
from unisono.models.onepeace.dense.base import OnePeaceDenseModel
from unisono.models.onepeace.model import OnePeaceModel
from unisono.training.goals import Classification, ObjectiveSettings, TaskSettings, task_inputs

_TABLE = re.compile(r"(.*\.relative_bias\.)(\d+)$")
_NEW = re.compile(r"\.type_embeddings\.\d+$")
"""What may be missing: it marks modalities and second pictures, which pretraining does not."""


def head_fields(objective: ObjectiveSettings) -> dict[str, Any]:
    """What a task says of its head, so that a recipe need not: for the model's config."""
    if not isinstance(objective, TaskSettings):
        return {}
    inputs = task_inputs(objective)
    several = isinstance(objective, Classification) and objective.target != "one"
    fields = {"inputs": list(inputs), "multi_label": several}
    return {"head_config": fields | {"images": 2 if "image_2" in inputs else 1}}


def with_head(
    source: str, config: PreTrainedConfig, kind: type[StrictlyLoadedModel]
) -> StrictlyLoadedModel:
    """A model of `kind` whose encoder is that of a source.

    A relative table becomes each layer's own where the config wants one a layer, and is resampled
    for pictures of another size; learned positions are, whenever a picture is encoded.

    Args:
        source: a folder or hub name of a ONE-PEACE model.
        config: of the new model.
        kind: a class with an encoder `onepeace`.

    Raises:
        RecipeError: there is no such model, or its encoder is another one.
    """
    try:
        whole = whole_model(source)
    except (OSError, ModelConfigError) as error:
        raise RecipeError(f"no model can be read from {source!r}: {error}") from error
    model = kind(config)
    if isinstance(model, OnePeaceDenseModel):
        try:
            model.take_over(whole)
        except (RuntimeError, KeyError) as error:
            reason = " ".join(str(error).split())
            raise RecipeError(f"the encoder of {source!r} does not fit: {reason}") from error
        return model
    encoder = cast(OnePeaceModel, model.onepeace)
    weights = _fitting(whole, encoder)
    try:
        missing, _ = encoder.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise RecipeError(f"the encoder of {source!r} does not fit: {reason}") from error
    if lacking := [name for name in missing if not _NEW.search(name)]:
        raise RecipeError(f"{source!r} has no weights for {', '.join(lacking[:4])}")
    return model


def _fitting(whole: OnePeaceModel, encoder: OnePeaceModel) -> dict[str, Tensor]:
    """Of a model's weights those that an encoder has, in its shapes."""
    known = {name: weight.detach().float() for name, weight in whole.state_dict().items()}
    weights: dict[str, Tensor] = {}
    for name in encoder.state_dict():
        found = _TABLE.match(name)
        first = name if found is None else f"{found[1]}0"
        weight = known.get(name, known.get(first))
        if weight is None:
            continue
        weights[name] = _resized(name, weight, whole.config, encoder.config).clone()
    return weights


def _resized(name: str, weight: Tensor, had: OnePeaceConfig, has: OnePeaceConfig) -> Tensor:
    if not name.startswith("adapters.image.relative_bias."):
        return weight
    side = has.image_config.bias_grid
    with torch.no_grad():
        return resized_table(weight, had.image_config.bias_grid, (side, side))
