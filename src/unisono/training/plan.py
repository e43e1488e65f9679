"""What a run would do, found out without weights, data or a step: `unisono train --dry-run`.

Everything that can be wrong with a recipe is wrong here first: whoever prepares a run makes its
plan before the first step.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, cast

from torch import nn

from unisono.errors import RecipeError
from unisono.models import OlaConfig, OnePeaceConfig
from unisono.training.data import missing_files, row_count
from unisono.training.goals import (
    AudioSpectrum,
    ConnectorCells,
    ConnectorCtc,
    Contrastive,
    DenseSettings,
    NextToken,
    TaskSettings,
    task_inputs,
)
from unisono.training.memory import (
    How,
    Memory,
    estimate,
    other_modality,
    tokens_of_item,
    tokens_of_pair,
    tokens_of_view,
)
from unisono.training.model_config import (
    SourceMissingError,
    adapter_size,
    empty_model,
    laid_over,
    model_config,
)
from unisono.training.parts import check_parts, parts_of
from unisono.training.recipe import Recipe, StageSettings
from unisono.training.start import check_sources
from unisono.training.start_head import head_fields
from unisono.training.strategies import arranged

Bound = Literal["=", "<=", ">="]


@dataclass(frozen=True)
class Amount:
    """A number that is known, or bounded."""

    bound: Bound
    value: float


@dataclass(frozen=True)
class Budget:
    """How much a stage computes, over all ranks; None where only the data can tell."""

    steps: Amount | None = None
    samples: Amount | None = None
    tokens: Amount | None = None


@dataclass(frozen=True)
class StagePlan:
    """One stage.

    Attributes:
        settings: of the recipe.
        shares: source -> share of the rows drawn.
        parts: part -> parameters; empty where the model is not at hand.
        budget: see there.
        memory: (ranks, how they share) -> need of a rank; empty like `parts`.
    """

    settings: StageSettings
    shares: Mapping[str, float]
    parts: Mapping[str, int]
    budget: Budget
    memory: Mapping[tuple[int, How], Memory]

    @property
    def trained(self) -> int:
        """Parameters that train."""
        return sum(self.parts.get(part, 0) for part in self.settings.trainable)


@dataclass(frozen=True)
class Plan:
    """A run.

    Attributes:
        recipe: as read.
        stages: in their order.
        ranks: that budgets are for.
        notes: what is not at hand yet, a line each.
    """

    recipe: Recipe
    stages: tuple[StagePlan, ...]
    ranks: int
    notes: tuple[str, ...] = field(default=())


def make_plan(recipe: Recipe, *, ranks: int | None = None) -> Plan:
    """Find out what a recipe would do.

    Args:
        recipe: as read.
        ranks: processes; by default those it is written for.

    Raises:
        RecipeError: it contradicts itself or its model.
    """
    recipe, ranks = arranged(recipe), ranks or recipe.ranks
    notes: list[str] = []
    models: dict[str, nn.Module | None] = {}  # most stages have the same
    stages = []
    for stage in recipe.stages:
        key = repr((stage.model, stage.starts_from))
        if key not in models:
            models[key] = _model(recipe, stage, notes)
        stages.append(_stage_plan(recipe, stage, ranks, models[key]))
        notes += missing_files(recipe, stage)
    return Plan(recipe, tuple(stages), ranks, tuple(dict.fromkeys(notes)))


def _stage_plan(
    recipe: Recipe, stage: StageSettings, ranks: int, model: nn.Module | None
) -> StagePlan:
    parts = {} if model is None else check_stage(recipe, stage, model)
    total = sum(stage.mixture.values())
    cases: list[tuple[int, How]] = [(1, "ddp"), (ranks, "ddp"), (ranks, "fsdp")]
    return StagePlan(
        settings=stage,
        shares={name: weight / total for name, weight in stage.mixture.items()},
        parts=parts,
        budget=_budget(recipe, stage, ranks, model),
        memory={}
        if model is None
        else {
            (n, how): estimate(model, parts, recipe, stage, ranks=n, how=how) for n, how in cases
        },
    )


def _model(recipe: Recipe, stage: StageSettings, notes: list[str]) -> nn.Module | None:
    try:
        changes = laid_over(stage.model, head_fields(stage.objective))
        config = model_config(recipe.model, changes, stage.starts_from)
    except SourceMissingError as error:
        notes.append(f"{error}; its parameters and memory are not known")
        return None
    model = empty_model(config, recipe.model.family, recipe.model.head)
    if stage.starts_from is None:
        check_sources(recipe.model, parts_of(model))
    return model


def check_stage(recipe: Recipe, stage: StageSettings, model: nn.Module) -> dict[str, int]:
    """A stage must fit the model.

    Returns:
        Part -> parameters.

    Raises:
        RecipeError: it does not.
    """
    parts = parts_of(model)
    if recipe.model.lora is not None:
        parts["lora"] = adapter_size(model, recipe.model.lora)
    if isinstance(stage.objective, ConnectorCtc | ConnectorCells):
        parts["alignment"] = cast(OlaConfig, model.config).text_config.hidden_size + 2
    check_parts(parts, stage.trainable, f"trainable of stage {stage.name}")
    check_parts(parts, stage.optimizer.lr_factors, f"optimizer.lr_factors of stage {stage.name}")
    _check_objective(stage, parts)
    return parts


def _check_objective(stage: StageSettings, parts: Mapping[str, int]) -> None:
    objective = stage.objective
    if isinstance(objective, TaskSettings):
        _check_inputs(stage, objective, parts)
    if isinstance(objective, ConnectorCtc | ConnectorCells):
        _check_alignment(stage, parts)
    if isinstance(objective, AudioSpectrum) and stage.trainable != ("audio",):
        raise RecipeError(
            f"trainable of stage {stage.name} must be [audio], of which audio_spectrum trains the "
            f"stem, but is {list(stage.trainable)}"
        )
    if isinstance(objective, Contrastive) and other_modality(stage) not in parts:
        raise RecipeError(
            f"the objective of stage {stage.name} must be of modalities that the model has, but "
            f"{objective.stage} needs {other_modality(stage)}, and it has {', '.join(parts)}"
        )


def _check_inputs(stage: StageSettings, objective: TaskSettings, parts: Mapping[str, int]) -> None:
    inputs = task_inputs(objective)
    lacking = {one.removesuffix("_2") for one in inputs} - parts.keys()
    if lacking:
        raise RecipeError(
            f"the objective of stage {stage.name} must be over what the model reads, sees and "
            f"hears, but it has no {', '.join(sorted(lacking))}"
        )


_ALIGNED: Mapping[str, tuple[str, frozenset[str]]] = {
    "connector_ctc": ("audio", frozenset({"audio_connector", "speech_encoder", "sound_encoder"})),
    "connector_cells": ("vision", frozenset({"vision_connector", "vision"})),
}
"""Objective -> what it is of, and the parts that it reaches."""


def _check_alignment(stage: StageSettings, parts: Mapping[str, int]) -> None:
    kind = stage.objective.kind
    what, reaches = _ALIGNED[kind]
    if f"{what}_connector" not in parts:
        raise RecipeError(
            f"the objective of stage {stage.name} must not be {kind}: the model has no {what} "
            "encoder, and so no connector"
        )
    if beyond := set(stage.trainable) - reaches - {"alignment"}:
        raise RecipeError(
            f"trainable of stage {stage.name} names {', '.join(sorted(beyond))}, but {kind} trains "
            f"nothing beyond the {what} connector and its encoders"
        )


def _budget(recipe: Recipe, stage: StageSettings, ranks: int, model: nn.Module | None) -> Budget:
    batch, length = stage.batch, stage.length
    batches = batch.accumulate * ranks  # of one step
    a_sample = _sample_tokens(stage, model)
    rows = batch.samples and batch.samples * batches
    tokens = batches * batch.tokens if batch.tokens else _times(rows, a_sample)
    if length.steps:
        exact: Bound = "=" if batch.tokens is None else "<="
        counts = _amount(exact, _times(rows, length.steps))
        return Budget(
            Amount("=", length.steps), counts, _amount("<=", _times(tokens, length.steps))
        )
    if length.tokens:
        least = None if tokens is None else math.ceil(length.tokens / tokens)
        return Budget(_amount(">=", least), None, Amount("=", length.tokens))
    drawn = length.samples or _epoch_samples(recipe, stage)
    if drawn is None:
        return Budget()
    # A batch that is bounded by its tokens has at least one row.
    most = Amount("<=", math.ceil(drawn / batches))
    steps = Amount("=", math.ceil(drawn / rows)) if rows and batch.tokens is None else most
    return Budget(steps, Amount("=", drawn), _amount("<=", _times(drawn, a_sample)))


def _times(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one * other


def _amount(bound: Bound, value: int | None) -> Amount | None:
    return None if value is None else Amount(bound, value)


def _sample_tokens(stage: StageSettings, model: nn.Module | None) -> int | None:
    """Tokens of a sample, at most."""
    if isinstance(stage.objective, NextToken):
        return stage.objective.max_tokens
    config = None if model is None else model.config
    if config is not None and isinstance(stage.objective, DenseSettings):
        return tokens_of_view(config)
    if isinstance(config, OnePeaceConfig) and isinstance(stage.objective, TaskSettings):
        return tokens_of_item(config, stage.objective)
    if isinstance(config, OnePeaceConfig):
        return tokens_of_pair(config, other_modality(stage))
    return None


def _epoch_samples(recipe: Recipe, stage: StageSettings) -> int | None:
    counts = [row_count(recipe, name) for name in stage.mixture]
    if any(count is None for count in counts):
        return None
    return round((stage.length.epochs or 0) * sum(count or 0 for count in counts))
