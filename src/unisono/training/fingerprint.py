"""What a run was when a checkpoint was written, to be the same when it goes on."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from unisono.errors import CheckpointError
from unisono.training.budget import Budget
from unisono.training.recipe import Recipe, StageSettings

_HARMLESS: Mapping[str, tuple[str, ...]] = {
    "stage": ("our_choice",),
    "batch": ("workers", "ahead", "cache_gb"),
}
"""What no number of a run depends on."""


def fingerprint(recipe: Recipe, stage: StageSettings, budget: Budget) -> dict[str, Any]:
    """All settings that the steps of a stage depend on, as JSON values."""
    settings = stage.model_dump(mode="json", exclude=set(_HARMLESS["stage"]))
    for name in _HARMLESS["batch"]:
        del settings["batch"][name]
    sources = {name: recipe.sources[name].model_dump(mode="json") for name in stage.mixture}
    return {
        **settings,
        "length": {budget.unit: budget.total},
        "sources": sources,
        "model_of_run": recipe.model.model_dump(mode="json"),
        "strategy": recipe.strategy,
        "seed": recipe.seed,
        "precision": recipe.precision,
        "guards": recipe.guards.model_dump(mode="json"),
    }


def check_same(then: Any, now: Mapping[str, Any], checkpoint: Path) -> None:
    """A run goes on only as what it was.

    Raises:
        CheckpointError: a setting is another one; the message has both values.
    """
    if changes := list(_changes(then, now)):
        more = f" (and {len(changes) - 3} more)" if len(changes) > 3 else ""
        raise CheckpointError(
            f"the run in '{checkpoint}' had other settings: {'; '.join(changes[:3])}{more}. "
            "Change them back, give the recipe another `out`, or begin anew with --fresh"
        )


def _changes(then: Any, now: Any, where: str = "") -> Iterator[str]:
    if isinstance(then, dict) and isinstance(now, dict):
        for key in sorted(then.keys() | now.keys()):
            yield from _changes(then.get(key), now.get(key), f"{where}.{key}" if where else key)
    elif then != now:
        yield f"{where} was {then!r}, is {now!r}"
