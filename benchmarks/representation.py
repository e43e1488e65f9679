"""How fast does ONE-PEACE embed texts, images and sounds, and how fast is it pretrained?

    python benchmarks/representation.py [--json-out docs/results/representation.json]

The released model at 1/4 of its widths and full depth, random weights in float32, on the CPU; the
official procedure beside ours on the same weights and media, in one run. Each side lives in a
process of its own that sleeps while others are measured; they take turns. Between the official
procedure and ours stand sides that have one improvement each more than the one before, so the
gain is split by cause: attention that keeps no weights and a relative bias that a batch shares;
batches sorted by length; and all the rest of ours.

A pretraining step is forward and backward of stage 1 with drop-path, without the optimizer.

First, all sides must agree: embeddings within 1e-4, losses and the norm of the gradients within
1e-4 of their size, else the exit status is 1. The original's padding leaks into the sound of
shorter clips, so there it is its clips embedded one by one that ours must equal.
Prints a table to stderr and one JSON line to stdout. Threads are worthless on a machine that others
use: a `load_average` above the threads says so.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

import torch
from report import hardware, publish
from representation_model import Amounts, save_model
from representation_worker import ENCODED, PRETRAINING, SIDES
from rich.console import Console
from rich.progress import track
from rich.table import Table
from side_process import SideProcess
from torch import Tensor

WORKER = Path(__file__).with_name("representation_worker.py")
SCENARIOS = (*ENCODED, PRETRAINING)
UNSORTED = ("image", PRETRAINING)
"""Scenarios whose batches cannot be sorted: that side is left out."""

GOALS = {**dict.fromkeys(ENCODED, 1.5), PRETRAINING: 1.3}
"""Scenario -> how many times as many samples a second as the official procedure."""

TOLERANCE = 1e-4

Rounds = dict[str, dict[str, list[dict[str, Any]]]]
"""Scenario -> side -> what each round found."""


def ask(
    worker: SideProcess, scenario: str, *, alone: bool = False, save: Path | None = None
) -> dict[str, Any]:
    return worker.ask({"scenario": scenario, "alone": alone, "save": save})


def computed_by(worker: SideProcess, scenario: str, folder: Path) -> dict[str, Tensor]:
    """What a side computes, of what is compared; also its warming up."""
    path = folder / "computed.pt"
    alone = scenario == "audio" and worker.side != "ours"  # nothing to leak from
    ask(worker, scenario, alone=alone, save=path)
    computed: dict[str, Tensor] = torch.load(path)
    return computed


def sides_of(scenario: str) -> list[str]:
    return [s for s in SIDES if s != "sorted by length" or scenario not in UNSORTED]


def difference(ours: Mapping[str, Tensor], theirs: Mapping[str, Tensor]) -> float:
    """The largest between what two sides computed; of scalars, relative to their size."""
    if ours.keys() != theirs.keys():
        raise RuntimeError(f"sides computed {sorted(ours)} and {sorted(theirs)}")
    return max(
        float((mine - theirs[name]).abs().max() / (theirs[name].abs() if mine.dim() == 0 else 1))
        for name, mine in ours.items()
    )


def check(workers: dict[str, SideProcess], scenarios: list[str], folder: Path) -> dict[str, float]:
    """Scenario -> the largest difference of any side from the official one."""
    found = {}
    for scenario in track(scenarios, "checking", console=Console(stderr=True)):
        computed = {s: computed_by(workers[s], scenario, folder) for s in sides_of(scenario)}
        official = computed["official"]
        found[scenario] = max(difference(c, official) for c in computed.values())
    return found


def measure(workers: dict[str, SideProcess], scenarios: list[str], rounds: int) -> Rounds:
    found: Rounds = {scenario: {s: [] for s in sides_of(scenario)} for scenario in scenarios}
    turns = [(sc, side) for _ in range(rounds) for sc in scenarios for side in found[sc]]
    for scenario, side in track(turns, "measuring", console=Console(stderr=True)):
        found[scenario][side].append(ask(workers[side], scenario))
    return found


def summary(found: Rounds, differences: dict[str, float], amounts: Amounts) -> list[dict[str, Any]]:
    samples = dict(zip(SCENARIOS, (amounts.texts, amounts.images, amounts.clips), strict=False))
    rows = []
    for scenario, sides in found.items():
        count = samples.get(scenario, amounts.pairs)
        rate = {s: count / median(r["seconds"] for r in each) for s, each in sides.items()}
        peak = {s: max(r["peak_bytes"] for r in each) for s, each in sides.items()}
        rows.append(
            {
                "scenario": scenario,
                "samples": count,
                "samples_per_s": rate,
                "peak_bytes": peak,
                "gain_of": {b: rate[b] / rate[a] for a, b in pairwise(sides)},
                "speedup": rate["ours"] / rate["official"],
                "goal": GOALS[scenario],
                "less_memory": peak["ours"] < peak["official"],
                "load_average": max(r["load_average"] for each in sides.values() for r in each),
                "difference": differences[scenario],
                "agrees": differences[scenario] <= TOLERANCE,
            }
        )
    return rows


def print_table(rows: list[dict[str, Any]]) -> None:
    table = Table(title="samples a second (peak memory on top of model and gradients)")
    for column in ("", *SIDES, "ours / official", "difference"):
        table.add_column(column, justify="right" if column else "left")
    for row in rows:
        missed = "" if row["speedup"] >= row["goal"] else f" (goal {row['goal']:g})"
        wrong = "" if row["agrees"] else " (too large)"
        table.add_row(
            row["scenario"],
            *(_cell(row, side) for side in SIDES),
            f"{row['speedup']:.2f}x{missed}",
            f"{row['difference']:.0e}{wrong}",
        )
    Console(stderr=True, width=150).print(table)


def _cell(row: dict[str, Any], side: str) -> str:
    if side not in row["samples_per_s"]:
        return ""
    gain = f", {row['gain_of'][side]:.2f}x" if side in row["gain_of"] else ""
    return f"{row['samples_per_s'][side]:.3g}{gain} ({row['peak_bytes'][side] / 2**20:.0f} MB)"


def draw(axes: Any, rows: list[dict[str, Any]]) -> None:
    for index, side in enumerate(SIDES):
        shown = [(y, row["samples_per_s"]) for y, row in enumerate(rows)]
        shown = [(y, rate[side] / rate["official"]) for y, rate in shown if side in rate]
        axes.barh(
            [y + 0.2 * index for y, _ in shown], [x for _, x in shown], height=0.18, label=side
        )
    axes.set_yticks([y + 0.3 for y in range(len(rows))], [row["scenario"] for row in rows])
    axes.invert_yaxis()
    axes.axvline(1.0, color="grey", linewidth=0.5)
    axes.set_xlabel("samples a second, of the official procedure's (more is better)")
    axes.legend(fontsize=7)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    fractions = (1, 2, 3, 4, 6, 8, 12, 16, 24)
    parser.add_argument("--fraction", type=int, default=4, choices=fractions, help="of the widths")
    parser.add_argument("--only", nargs="+", help="scenarios whose name has one of these words")
    parser.add_argument("--json-out", type=Path)
    arguments = parser.parse_args()
    words = arguments.only or [""]
    scenarios = [name for name in SCENARIOS if any(word in name for word in words)]
    if not scenarios:
        parser.error(f"--only must name some of {', '.join(SCENARIOS)}")
    workers: dict[str, SideProcess] = {}
    with tempfile.TemporaryDirectory() as folder:
        model = save_model(Path(folder) / "model", arguments.fraction)
        try:
            for side in SIDES:
                workers[side] = SideProcess(WORKER, side, model=model, threads=arguments.threads)
            differences = check(workers, scenarios, Path(folder))
            found = measure(workers, scenarios, arguments.rounds)
        finally:
            for worker in workers.values():
                worker.kill()
    rows = summary(found, differences, Amounts())
    print_table(rows)
    settings = {name: getattr(arguments, name) for name in ("rounds", "threads", "fraction")}
    result = {
        "benchmark": "representation",
        "hardware": hardware(),
        "settings": settings | asdict(Amounts()),
        "scenarios": rows,
    }
    publish(result, arguments.json_out, lambda axes: draw(axes, rows))
    return 0 if all(row["agrees"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
