"""Runs the variants of an experiment, and draws what came out.

A run is a recipe with a few changes and a seed. What it scored is one line of
docs/results/experiments/<name>.jsonl, so that an experiment that was stopped goes on with the next
run, and its table and plot are made again without any training:

    python experiments/<name>.py DATA            train what is not in the log yet, then draw
    python experiments/<name>.py --draw          only draw
"""

import argparse
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot

from unisono.picturebook.bars_report import Finding
from unisono.training.recipe import Recipe
from unisono.training.recipe_read import read_recipe
from unisono.training.run import train

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "experiments"
RUNS = Path("runs") / "experiments"
SEEDS = (1, 2, 3)

Measure = Callable[[Path, Path], Sequence[Finding]]
"""(folder of a trained model, folder of the data) -> what it scored."""


@dataclass(frozen=True)
class Variant:
    """One way to train.

    Attributes:
        name: in the table.
        changes: of the recipe, "key=value".
        recipe: if not the experiment's.
    """

    name: str
    changes: tuple[str, ...] = ()
    recipe: str | None = None


@dataclass(frozen=True)
class Experiment:
    """A question, and the runs that answer it.

    Attributes:
        name: of its files.
        question: in one sentence.
        recipe: that all variants change.
        variants: are compared.
        measure: scores a run.
        changes: of the recipe for all variants.
        stages: of the recipe that are run; by default all.
        prepare: makes data that the picturebook does not have, in a folder that `{made}` in a
            change stands for.
        shown: what is drawn, in this order: names of findings, or how they begin.
    """

    name: str
    question: str
    recipe: str
    variants: tuple[Variant, ...]
    measure: Measure
    changes: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    prepare: Callable[[Path, Path], None] | None = None
    shown: tuple[str, ...] = ()


@dataclass(frozen=True)
class Outcome:
    """A line of the log.

    Attributes:
        variant, seed: of the run.
        minutes: it took to train.
        scores: what -> [value, lower end, upper end].
        losses: stage -> a hundred losses, evenly spaced.
    """

    variant: str
    seed: int
    minutes: float
    scores: dict[str, list[float]]
    losses: dict[str, list[float]] = field(default_factory=dict)


def outcomes(experiment: Experiment, results: Path = RESULTS) -> list[Outcome]:
    """What is in the log."""
    path = results / f"{experiment.name}.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [Outcome(**json.loads(line)) for line in lines]


def missing(experiment: Experiment, done: Sequence[Outcome]) -> Iterator[tuple[Variant, int]]:
    """Runs that are not in the log, seed by seed: early lines already compare all variants."""
    known = {(one.variant, one.seed) for one in done}
    for seed in SEEDS:
        for variant in experiment.variants:
            if (variant.name, seed) not in known:
                yield variant, seed


def run(experiment: Experiment, variant: Variant, seed: int, data: Path) -> Outcome:
    """Train and measure one variant. What an interrupted run has trained is taken up again."""
    out = folder_of(experiment, variant, seed)
    made = RUNS / experiment.name / "data"
    if experiment.prepare is not None and not made.exists():
        made.mkdir(parents=True)
        experiment.prepare(made, data)
    recipe = _recipe(experiment, variant, made)
    recipe = recipe.model_copy(update={"data": None, "data_dir": str(data), "seed": seed})
    recipe = recipe.model_copy(update={"out": str(out)})
    started = time.perf_counter()
    model = train(recipe)
    minutes = (time.perf_counter() - started) / 60
    found = experiment.measure(model, data)
    losses = {stage.name: _losses(out / "stages" / stage.name) for stage in recipe.stages}
    return Outcome(variant.name, seed, round(minutes, 1), _scores(found), losses)


def folder_of(experiment: Experiment, variant: Variant, seed: int) -> Path:
    """Where a run has its checkpoints."""
    return RUNS / experiment.name / f"{variant.name.replace(' ', '-')}-{seed}"


def _recipe(experiment: Experiment, variant: Variant, made: Path) -> Recipe:
    changes = [*experiment.changes, *variant.changes]
    filled = [change.replace("{made}", str(made.absolute())) for change in changes]
    recipe = read_recipe(variant.recipe or experiment.recipe, filled)
    if not experiment.stages:
        return recipe
    chosen = tuple(stage for stage in recipe.stages if stage.name in experiment.stages)
    return recipe.model_copy(update={"stages": chosen})


def _losses(stage: Path, count: int = 100) -> list[float]:
    lines = (stage / "journal.jsonl").read_text(encoding="utf-8").splitlines()
    found = [step["loss"] for step in map(json.loads, lines) if "loss" in step]
    chosen = found[:: max(1, len(found) // count)]
    return [round(float(loss), 4) for loss in chosen]


def _scores(findings: Sequence[Finding]) -> dict[str, list[float]]:
    scores = {}
    for one in findings:
        if one.score is not None and one.interval is not None:
            ends = (one.score.value, one.interval.low, one.interval.high)
            scores[one.what] = [round(float(end), 5) for end in ends]
    return scores


def main(experiment: Experiment, arguments: Sequence[str] | None = None) -> None:
    """The command line of an experiment."""
    parser = argparse.ArgumentParser(description=experiment.question)
    parser.add_argument("data", type=Path, nargs="?", help="the folder of the picturebook")
    parser.add_argument("--draw", action="store_true", help="table and plot of what is logged")
    given = parser.parse_args(arguments)
    if not given.draw:
        if given.data is None:
            parser.error("name the folder of the picturebook, or --draw")
        for variant, seed in missing(experiment, outcomes(experiment)):
            _log(experiment, run(experiment, variant, seed, given.data))
            shutil.rmtree(folder_of(experiment, variant, seed))
    draw(experiment)


def _log(experiment: Experiment, outcome: Outcome) -> None:
    RESULTS.mkdir(parents=True, exist_ok=True)
    with open(RESULTS / f"{experiment.name}.jsonl", "a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(outcome)) + "\n")
    print(f"{outcome.variant}, seed {outcome.seed}: {outcome.scores}", file=sys.stderr, flush=True)


# --- what came out ------------------------------------------------------------------------------


def draw(experiment: Experiment, results: Path = RESULTS) -> None:
    """Write <name>.md, a table, and <name>.png, a panel a score with a dot a seed."""
    done = outcomes(experiment, results)
    names = _shown(experiment, done)
    (results / f"{experiment.name}.md").write_text(_page(experiment, done, names), encoding="utf-8")
    if names:
        _plot(experiment, done, names, results / f"{experiment.name}.png")


def _shown(experiment: Experiment, done: Sequence[Outcome]) -> list[str]:
    known = list(dict.fromkeys(name for one in done for name in one.scores))
    if not experiment.shown:
        return known
    return [name for first in experiment.shown for name in known if name.startswith(first)]


def _page(experiment: Experiment, done: Sequence[Outcome], names: Sequence[str]) -> str:
    lines = [f"# {experiment.question}", ""]
    if not done:
        return "\n".join([*lines, "No run is in the log yet.", ""])
    lines += [f"| variant | {' | '.join(names)} | seeds | minutes a run |"]
    lines += [f"|{'---|' * (len(names) + 3)}"]
    for variant in experiment.variants:
        own = [one for one in done if one.variant == variant.name]
        cells = [
            _cell([one.scores[name][0] for one in own if name in one.scores]) for name in names
        ]
        minutes = f"{mean(one.minutes for one in own):.0f}" if own else "–"
        lines.append(f"| {variant.name} | {' | '.join(cells)} | {len(own)} | {minutes} |")
    note = "Mean over the seeds, and in brackets the lowest and the highest of them."
    return "\n".join([*lines, "", note, "", f"![{experiment.question}]({experiment.name}.png)", ""])


def _cell(values: Sequence[float]) -> str:
    if not values:
        return "–"
    return f"{mean(values):.3f} [{min(values):.3f}, {max(values):.3f}]"


def _plot(
    experiment: Experiment, done: Sequence[Outcome], names: Sequence[str], path: Path
) -> None:
    rows = [variant.name for variant in experiment.variants]
    size = (3.2 * len(names) + 1.5, 0.45 * len(rows) + 1.3)
    figure, axes = pyplot.subplots(1, len(names), figsize=size, sharey=True, squeeze=False)
    for axis, name in zip(axes[0], names, strict=True):
        for one in done:
            if name in one.scores and one.variant in rows:
                value, low, high = one.scores[name]
                place = rows.index(one.variant) + 0.15 * (one.seed - mean(SEEDS))
                axis.plot([low, high], [place, place], color="0.7", linewidth=2, zorder=1)
                axis.scatter(value, place, s=18, color="C0", zorder=2)
        axis.set_title(name, fontsize=8, wrap=True)
        axis.set_yticks(range(len(rows)), rows)
        axis.grid(axis="x", alpha=0.3)
    axes[0][0].invert_yaxis()
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)
