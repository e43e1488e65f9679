"""Three ways to mix the same sources over as many steps (arXiv 2502.04328, section 4.4).

`progressive` is the stages as they stand. The paper's baselines make one stage of them, which
trains whatever any of them trains: `direct_mixing` draws each source as often as the progressive
run does in all; `balanced_sampling` draws every modality equally often. The rest of a merged stage
is as in the last one.
"""

from collections import defaultdict
from collections.abc import Callable, Sequence

from unisono.errors import RecipeError, UnisonoError
from unisono.manifests import Manifest, modality_of
from unisono.training.data import open_source
from unisono.training.recipe import Length, Recipe, StageSettings

ModalityOf = Callable[[str], str]


def arranged(recipe: Recipe) -> Recipe:
    """The recipe with its stages as its strategy has them.

    Raises:
        RecipeError: the stages cannot be merged (objectives or units of length differ), or a
            source's modality is not known.
    """
    if recipe.strategy == "progressive":
        return recipe
    stage = merged(recipe.stages, recipe.strategy)
    if recipe.strategy == "balanced_sampling":
        names = {name: _modality(recipe, name) for name in stage.mixture}
        stage = stage.model_copy(update={"mixture": balanced(stage.mixture, names.__getitem__)})
    return recipe.model_copy(update={"stages": (stage,)})


def merged(stages: Sequence[StageSettings], name: str) -> StageSettings:
    """One stage that draws each source as often as all of them together.

    Where lengths are in steps, a stage of larger batches draws more. Rows are taken to be of like
    length in all stages, as nobody knows before they are opened.

    Raises:
        RecipeError: objectives or units of length differ.
    """
    if len({stage.objective.kind for stage in stages}) > 1:
        kinds = ", ".join(stage.objective.kind for stage in stages)
        raise RecipeError(f"strategy {name} needs stages of one objective, but they have {kinds}")
    unit, amounts = _lengths(stages, name)
    drawn: dict[str, float] = defaultdict(float)
    rows = [
        amount * per_step for amount, per_step in zip(amounts, _sizes(stages, unit), strict=True)
    ]
    for stage, count in zip(stages, rows, strict=True):
        for source, weight in stage.mixture.items():
            drawn[source] += count * weight / sum(stage.mixture.values())
    parts = dict.fromkeys(part for stage in stages for part in stage.trainable)
    return stages[-1].model_copy(
        update={
            "name": name,
            "starts_from": stages[0].starts_from,
            "mixture": {source: count / sum(rows) for source, count in drawn.items()},
            "trainable": tuple(parts),
            "length": Length(**{unit: sum(amounts)}),
            "our_choice": tuple({*stages[-1].our_choice, "mixture", "trainable", "length"}),
        }
    )


def balanced(mixture: dict[str, float], modality: ModalityOf) -> dict[str, float]:
    """Weights with which every modality is drawn equally often, its sources as before."""
    totals: dict[str, float] = defaultdict(float)
    for source, weight in mixture.items():
        totals[modality(source)] += weight
    return {
        source: weight / totals[modality(source)] / len(totals)
        for source, weight in mixture.items()
    }


def _lengths(stages: Sequence[StageSettings], name: str) -> tuple[str, list[int]]:
    units = ("steps", "samples", "tokens")
    given = [[u for u in units if getattr(stage.length, u) is not None] for stage in stages]
    if not given[0] or any(one != given[0] for one in given):
        raise RecipeError(
            f"strategy {name} needs all stages' lengths in one unit, steps, samples or tokens"
        )
    (unit,) = given[0]
    return unit, [int(getattr(stage.length, unit)) for stage in stages]


def _sizes(stages: Sequence[StageSettings], unit: str) -> list[int]:
    """How much a stage draws per unit of its length, in proportion to the others."""
    for size in ("samples", "tokens") if unit == "steps" else ():
        given = [getattr(stage.batch, size) for stage in stages]
        if all(given):
            pairs = zip(given, stages, strict=True)
            return [each * stage.batch.accumulate for each, stage in pairs]
    return [1] * len(stages)


def _modality(recipe: Recipe, name: str) -> str:
    """As the recipe says, else as the first rows are."""
    if (said := recipe.sources[name].modality) is not None:
        return said
    try:
        source = open_source(recipe, name)
        row = source[0] if isinstance(source, Manifest) else next(source.stream(0))
        if not isinstance(row, Exception):
            return modality_of(row)
    except (UnisonoError, StopIteration):
        pass
    raise RecipeError(
        f"strategy balanced_sampling needs to know what source {name} is, which its first row does "
        f"not tell: give sources.{name}.modality"
    )
