"""A plan as tables for the terminal."""

from collections.abc import Iterable, Iterator

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from unisono.training.memory import How, Memory
from unisono.training.plan import Amount, Plan, StagePlan
from unisono.training.recipe import OptimizerSettings, StageSettings

_SIGNS = {"=": "", "<=": "≤ ", ">=": "≥ "}
_UNITS = ((1e12, "T"), (1e9, "B"), (1e6, "M"))
_FORMULA = (
    "Estimated from shapes alone, in GB a rank: weights 4 P, gradients 4 T (DDP: 8 T), AdamW 8 T "
    "bytes of P parameters, T of them trained (FSDP: over all ranks, and two layers gathered); "
    "activations of L layers of width d and feed-forward width f for t tokens of b bytes: "
    "L t b (8 d + 4 f), with checkpointing L t b d and one layer whole."
)


def show(plan: Plan, console: Console | None = None) -> None:
    """Print a plan."""
    (console or Console()).print(rendered(plan))


def rendered(plan: Plan) -> RenderableType:
    """The tables, one under the other."""
    parts: list[RenderableType] = [Text(plan.recipe.title or "Plan", style="bold")]
    parts += [_facts(plan), _stages(plan), _optimizers(plan), _mixture(plan)]
    if any(stage.parts for stage in plan.stages):
        parts += [_parts(plan), _memory(plan), Text(_FORMULA, style="dim")]
    if any(stage.settings.our_choice for stage in plan.stages):
        parts.append(Text("* our choice: no source states it", style="dim"))
    return Group(*parts, *(Text(f"not at hand: {note}") for note in plan.notes))


def _facts(plan: Plan) -> Text:
    recipe = plan.recipe
    facts = [
        f"strategy {recipe.strategy}",
        f"{plan.ranks} {'rank' if plan.ranks == 1 else 'ranks'}, {recipe.distribution}",
        recipe.precision,
        f"gradient checkpointing {'on' if recipe.gradient_checkpointing else 'off'}",
        f"seed {recipe.seed}",
        f"into {recipe.out}",
    ]
    return Text("; ".join(facts))


def _stages(plan: Plan) -> Table:
    table = _table("Stages", "stage", "objective", "steps", "samples", "tokens", "batch of a rank")
    for stage in plan.stages:
        settings, budget = stage.settings, stage.budget
        star = _star(settings, "length")
        amounts = [_amount(x, star) for x in (budget.steps, budget.samples, budget.tokens)]
        objective = settings.objective.kind + _star(settings, "objective")
        table.add_row(settings.name, objective, *amounts, _batch(settings))
    return table


def _optimizers(plan: Plan) -> Table:
    heads = ("stage", "lr", "schedule", "warm-up", "floor", "betas", "decay", "clip")
    table = _table("Learning rates", *heads)
    for stage in plan.stages:
        settings, o = stage.settings, stage.settings.optimizer
        table.add_row(
            settings.name,
            _marked(settings, f"{o.lr:g}", "lr", "lr_factors") + _factors(o),
            _marked(settings, o.schedule, "schedule"),
            _marked(settings, _warmup(o), "warmup_steps", "warmup_ratio"),
            _marked(settings, _floor(o), "floor_lr", "floor_ratio"),
            _marked(settings, " ".join(f"{beta:g}" for beta in o.betas), "betas"),
            _marked(settings, f"{o.weight_decay:g}", "weight_decay"),
            _marked(settings, "none" if o.clip_norm is None else f"{o.clip_norm:g}", "clip_norm"),
        )
    return table


def _mixture(plan: Plan) -> Table:
    table = _table(
        "Data: share of the rows drawn", "source", *(s.settings.name for s in plan.stages)
    )
    for source in plan.recipe.sources:
        shares = [_share(stage, source) for stage in plan.stages]
        if any(shares):
            table.add_row(source, *shares)
    return table


def _share(stage: StagePlan, source: str) -> str:
    share = stage.shares.get(source)
    return "" if share is None else f"{share:.1%}{_star(stage.settings, 'mixture')}"


def _parts(plan: Plan) -> Table:
    stages = plan.stages
    table = _table(
        "Parts and what trains", "part", "parameters", *(s.settings.name for s in stages)
    )
    for part in dict.fromkeys(part for stage in stages for part in stage.parts):
        size = next(stage.parts[part] for stage in stages if part in stage.parts)
        table.add_row(part, f"{size:,}", *(_state(stage, part) for stage in stages))
    every = max(sum(stage.parts.values()) for stage in stages)
    table.add_section()
    table.add_row("trained of all", f"{every:,}", *(_count(stage.trained) for stage in stages))
    return table


def _state(stage: StagePlan, part: str) -> str:
    if part not in stage.parts:
        return "absent"
    trains = part in stage.settings.trainable
    return f"trains{_star(stage.settings, 'trainable')}" if trains else "·"


def _memory(plan: Plan) -> Table:
    heads = ("stage", "weights", "gradients", "AdamW", "activations", *_cases(plan.ranks))
    table = _table("Memory of a rank, in GB (the first four: one rank alone)", *heads)
    for stage in plan.stages:
        if stage.memory:
            alone = stage.memory[1, "ddp"]
            totals = (f"{need.total / 1e9:.3g}" for need in stage.memory.values())
            table.add_row(stage.settings.name, *_gigabytes(alone), *totals)
    return table


def _cases(ranks: int) -> Iterator[str]:
    cases: Iterable[tuple[int, How]] = ((1, "ddp"), (ranks, "ddp"), (ranks, "fsdp"))
    for count, how in dict.fromkeys(cases):
        yield "1 rank" if (count, how) == (1, "ddp") else f"{count} {how.upper()}"


def _gigabytes(need: Memory) -> Iterator[str]:
    for value in (need.weights, need.gradients, need.optimizer, need.activations):
        yield f"{value / 1e9:.3g}"


def _batch(settings: StageSettings) -> str:
    batch = settings.batch
    sizes = [f"{batch.samples:,} samples"] if batch.samples else []
    sizes += [f"{batch.tokens:,} tokens"] if batch.tokens else []
    times = f" × {batch.accumulate}" if batch.accumulate > 1 else ""
    return ", ".join(sizes) + times + _star(settings, "batch")


def _warmup(optimizer: OptimizerSettings) -> str:
    if optimizer.warmup_ratio:
        return f"{optimizer.warmup_ratio:.3g} of all"
    return f"{optimizer.warmup_steps:,} steps" if optimizer.warmup_steps else "none"


def _floor(optimizer: OptimizerSettings) -> str:
    return f"{max(optimizer.floor_lr, optimizer.floor_ratio * optimizer.lr):g}"


def _factors(optimizer: OptimizerSettings) -> str:
    parts = [f"{part} × {factor:g}" for part, factor in optimizer.lr_factors.items()]
    parts += [f"layers × {optimizer.layer_decay:g}"] if optimizer.layer_decay < 1 else []
    return f" ({', '.join(parts)})" if parts else ""


def _marked(settings: StageSettings, text: str, *keys: str) -> str:
    starred = any(_star(settings, f"optimizer.{key}") for key in keys)
    return text + "*" * starred


def _star(settings: StageSettings, key: str) -> str:
    ours = settings.our_choice
    return "*" if key in ours or key.partition(".")[0] in ours else ""


def _amount(amount: Amount | None, star: str) -> str:
    return "?" if amount is None else f"{_SIGNS[amount.bound]}{_count(amount.value)}{star}"


def _count(value: float) -> str:
    for size, letter in _UNITS:
        if value >= 10 * size or (value >= size and value % (size / 100) == 0):
            return f"{value / size:,.4g}{letter}"
    return f"{value:,.0f}"


def _table(title: str, *heads: str) -> Table:
    table = Table(title=title, title_justify="left")
    for i, head in enumerate(heads):
        table.add_column(head, justify="left" if i == 0 else "right")
    return table
