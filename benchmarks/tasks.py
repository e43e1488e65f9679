"""Is the representation worth anything for tasks: a head on onepeace-nano, and on random weights?

    python benchmarks/tasks.py --data DIR [--task "VQA" …] [--json-out docs/results/tasks.json]

DIR is a built picturebook. For each task the library's own head is trained twice on what an encoder
makes of the training rows: once onepeace-nano's encoder, once one of the same shape with random
weights. Both are frozen, or, for text and picture together (grounding, VQA, NLVR2), both learn with
the head. Head, its initialisation, rows, their order, steps and learning rate are the same;
both are scored on the same test rows (scenes, drawings, sources of sound that no training saw). A
task counts as won if the two 95 % intervals (bootstrap over rows) do not touch.
Features and results are kept in --cache: what is done is not done again.
Prints a table to stderr and one JSON line to stdout; with --json-out also a picture beside it.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from report import hardware, publish
from rich.console import Console
from rich.table import Table
from tasks_dense import DENSE, Resampled
from tasks_features import SIDES, encoders, features
from tasks_heads import fitted, outputs, score_of
from tasks_rows import TASKS, labels_of, rows_of
from tasks_trained import STEPS as TRAINED_STEPS
from tasks_trained import outputs_of_trained
from tasks_zero_shot import ZERO_SHOT

from unisono.evaluation import Score, interval
from unisono.picturebook.task_rows import write_task_rows

STEPS = 600
Side = dict[str, Any]


def whole(name: str, side: str, arguments: argparse.Namespace) -> Side:
    """A task over whole inputs."""
    bench = TASKS[name]
    train, test = (rows_of(bench, arguments.data, split) for split in ("train", "test"))
    seen = (
        {} if bench.loss in ("box", "choice", "pairs") else dict.fromkeys(labels_of(bench, train))
    )
    kept = {"side": side, "cache": arguments.cache}
    if bench.trained:
        found = outputs_of_trained(bench, train, test, arguments.data, side)
        scores = score_of(bench, found, test, list(seen))
        return said(bench.metric, scores) | {"train rows": len(train)}
    learned = features(bench, train, arguments.data, **kept)
    config = encoders()[0]["pretrained"].config
    model = fitted(bench, learned, train, config, steps=STEPS)
    found = outputs(model, features(bench, test, arguments.data, **kept))
    scores = score_of(bench, found, test, list(seen))
    return said(bench.metric, scores) | {"train rows": len(train)}


def said(metric: str, scores: Mapping[str, Score | Resampled]) -> Side:
    """The metric with its interval, and what else was counted."""
    score = scores[metric]
    sure = score if isinstance(score, Resampled) else interval(score)
    more = {name: one.value for name, one in scores.items() if name != metric}
    found = None if sure is None else [sure.low, sure.high]
    return {"metric": metric, "value": score.value, "interval": found, "rows": len(score)} | more


Run = Callable[[str, str, argparse.Namespace], Side]
RUNS: Mapping[str, Run] = (
    dict.fromkeys(ZERO_SHOT, lambda n, side, a: said(*ZERO_SHOT[n](side, a.data, a.cache)))
    | dict.fromkeys(TASKS, whole)
    | dict.fromkeys(DENSE, lambda n, side, a: said(*DENSE[n](side, a.data, a.cache)))
)


def done(name: str, side: str, arguments: argparse.Namespace) -> Side:
    """One side of a task, of the cache or computed now."""
    stem = name.replace(" ", "_").replace(":", "").replace(",", "")
    path = arguments.cache / f"{stem}-{side}.json"
    if not path.exists():
        path.write_text(json.dumps(RUNS[name](name, side, arguments)))
    result: Side = json.loads(path.read_text())
    print(f"{name}, {side}: {result}", file=sys.stderr, flush=True)
    return result


def both(name: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """The two sides, and whether the first is above the second for sure."""
    sides = {side: done(name, side, arguments) for side in SIDES}
    return {**sides, "won": apart(sides["pretrained"], sides["random"])}


def apart(one: Side, other: Side) -> bool:
    """Whether the first is above the second, and their intervals do not touch."""
    (low, _), (_, high) = (side["interval"] or [side["value"]] * 2 for side in (one, other))
    return bool(low > high)


def show(found: Mapping[str, Any]) -> None:
    """A line a task."""
    table = Table(title="A head on onepeace-nano, and on random weights")
    for column in ("task", "metric", "test rows", *SIDES, "apart"):
        table.add_column(column)
    for name, one in found.items():
        first = one["pretrained"]
        values = (shown(one[side]) for side in SIDES)
        won = "yes" if one["won"] else "NO"
        table.add_row(name, first["metric"], str(first["rows"]), *values, won)
    Console(file=sys.stderr, width=140).print(table)


def shown(side: Side) -> str:
    """A value with its interval, in percent."""
    low, high = side["interval"] or [side["value"]] * 2
    return f"{side['value']:.1%} ({low:.1%} to {high:.1%})"


def draw(found: Mapping[str, Any], axes: Any) -> None:
    """A line a task, a mark a side."""
    for side, colour in zip(SIDES, ("tab:blue", "tab:grey"), strict=True):
        for place, one in enumerate(found.values()):
            low, high = one[side]["interval"] or [one[side]["value"]] * 2
            label = (
                {"pretrained": "onepeace-nano", "random": "random weights"}[side]
                if not place
                else None
            )
            axes.plot([100 * low, 100 * high], [place, place], color=colour, lw=3, label=label)
            axes.plot(100 * one[side]["value"], place, "o", color=colour, ms=4)
    names = [f"{name} ({one['pretrained']['metric']})" for name, one in found.items()]
    axes.set_yticks(range(len(names)), names, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("percent, with 95 % intervals")
    axes.figure.set_size_inches(8, 1 + 0.28 * len(names))
    axes.legend(fontsize=7, frameon=False)


def main() -> None:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--task", nargs="*", default=list(RUNS), choices=list(RUNS))
    parser.add_argument("--only", choices=SIDES, help="compute one side, for the cache alone")
    parser.add_argument("--cache", type=Path, default=Path("runs/tasks"))
    parser.add_argument("--json-out", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.cache.mkdir(parents=True, exist_ok=True)
    write_task_rows(arguments.data)
    if arguments.only is not None:
        for name in arguments.task:
            done(name, arguments.only, arguments)
        return
    found = {name: both(name, arguments) for name in arguments.task}
    show(found)
    steps = {"frozen encoder": STEPS, "trained encoder": TRAINED_STEPS}
    result = {"tasks": found, "steps": steps, "hardware": hardware()}
    publish(result, arguments.json_out, lambda axes: draw(found, axes))


if __name__ == "__main__":
    main()
