"""How fast does `unisono train` train, beside transformers' Trainer on the same rows and weights?

    python benchmarks/training.py [--json-out docs/results/training.json]

An Ola stage (connectors and language model train, encoders are frozen; one epoch with an empty
cache of features, then one with a full one) and both stages of ONE-PEACE, each at the size of the
nano models, random weights in float32, on the CPU. The opponent is training_trainer.py: the same
model classes and processor in a plain Trainer with length grouping. Each run is a process of its
own; they take turns. Rates are those of whole steps without the first ones, where caches of the
processor and allocators fill. `waiting` is the share of its time that our loop waits for data.

Also the memory that a step's loss takes, with chunks and with full logits, each in a process.
Prints a table to stderr and one JSON line to stdout.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import yaml
from report import hardware, publish
from rich.console import Console
from rich.progress import track
from rich.table import Table
from training_data import write_rows
from training_model import save_models

HERE = Path(__file__).parent
SKIPPED_STEPS = 3
GOAL = 1.5
MOST_WAITING = 0.05

SCENARIOS: dict[str, dict[str, Any]] = {
    "Ola, stage 3.2": {
        "family": "ola",
        "rows": "talk",
        "objective": {"kind": "next_token"},
        "trainable": ["vision_connector", "audio_connector", "language_model"],
        "tokens": 4096,
        "unit": "tokens",
    },
    "ONE-PEACE, stage 1": {
        "family": "onepeace",
        "rows": "pictures",
        "objective": {"kind": "onepeace", "stage": "vision_language"},
        "trainable": ["text", "image", "attention", "decoder", "logit_scale"],
        "unit": "samples",
    },
    "ONE-PEACE, stage 2": {
        "family": "onepeace",
        "rows": "sounds",
        "objective": {"kind": "onepeace", "stage": "audio_language"},
        "trainable": ["audio", "decoder", "logit_scale"],
        "unit": "samples",
    },
}


def ours(scenario: dict[str, Any], folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run `unisono train`; rates from its journal."""
    out = folder / "ours"
    batch = {"samples": arguments.batch, "workers": 1, "pool": 8}
    if "tokens" in scenario:
        batch = {"tokens": scenario["tokens"], "workers": 1, "pool": 4, "cache_gb": 4.0}
    stage = {
        "name": "only",
        "objective": scenario["objective"],
        "mixture": {"rows": 1.0},
        "trainable": scenario["trainable"],
        "length": {"epochs": 2} if "tokens" in scenario else {"samples": arguments.rows},
        "batch": batch,
        "optimizer": {"lr": 1e-4},
    }
    recipe = {
        "model": {"family": scenario["family"], "source": str(folder / scenario["family"])},
        "data_dir": str(folder),
        "sources": {"rows": {"path": f"{scenario['rows']}.jsonl"}},
        "stages": [stage],
        "out": str(out),
        "checkpoints": {"every_s": None},
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    command = [sys.executable, "-m", "unisono", "train", str(path), "--fresh"]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=_threads(arguments))
    lines = (out / "stages" / "only" / "journal.jsonl").read_text().splitlines()
    return _of_steps([json.loads(line) for line in lines], arguments.rows)


def _of_steps(steps: list[dict[str, Any]], rows: int) -> dict[str, Any]:
    """Rates of the first epoch, and of what follows it."""
    seen, first, later = 0, [], []
    for step in steps[SKIPPED_STEPS:]:
        (first if seen < rows else later).append(step)
        seen += step["samples"]
    found = {"first": _rates(first), "later": _rates(later) if later else None}
    waited = sum(step["waited"] * step["seconds"] for step in steps[SKIPPED_STEPS:])
    return {**found, "waiting": waited / sum(step["seconds"] for step in steps[SKIPPED_STEPS:])}


def _rates(steps: list[dict[str, Any]]) -> dict[str, float]:
    seconds = sum(step["seconds"] for step in steps)
    return {unit: sum(step[unit] for step in steps) / seconds for unit in ("tokens", "samples")}


def trainer(
    scenario: dict[str, Any], folder: Path, arguments: argparse.Namespace
) -> dict[str, Any]:
    """Run the opponent; rates from the ends of its steps."""
    options = {
        "stage": scenario["objective"].get("stage", "next_token"),
        "model": str(folder / scenario["family"]),
        "rows": str(folder / f"{scenario['rows']}.jsonl"),
        "trainable": scenario["trainable"],
        "batch": arguments.batch,
        "steps": arguments.rows // arguments.batch,
        "lr": 1e-4,
        "threads": arguments.threads,
        "loader_workers": arguments.loader_workers,
        "out": str(folder / "trainer"),
    }
    command = [sys.executable, str(HERE / "training_trainer.py"), json.dumps(options)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    found = json.loads(said.splitlines()[-1])
    ends = found["ends"][SKIPPED_STEPS - 1 :]
    seconds = ends[-1][0] - ends[0][0]
    samples = (len(ends) - 1) * arguments.batch
    rates = {"tokens": (ends[-1][1] - ends[0][1]) / seconds, "samples": samples / seconds}
    return {"first": rates, "peak_bytes": found["peak_bytes"]}


def _threads(arguments: argparse.Namespace) -> dict[str, str]:
    return {**os.environ, "OMP_NUM_THREADS": str(arguments.threads)}


def loss_memory(chunk: int | None) -> int:
    """Peak bytes of forward and backward of a packed row's loss."""
    command = [sys.executable, str(HERE / "training_loss_memory.py"), json.dumps(chunk)]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def summary(name: str, found: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    unit = SCENARIOS[name]["unit"]
    theirs = median(r["first"][unit] for r in found["trainer"])
    row = {
        "scenario": name,
        "unit": unit,
        "trainer_per_s": theirs,
        "ours_per_s": median(r["first"][unit] for r in found["ours"]),
        "waiting": max(r["waiting"] for r in found["ours"]),
        "goal": GOAL,
    }
    row["speedup"] = row["ours_per_s"] / theirs
    if found["ours"][0]["later"] is not None:
        row["cached_per_s"] = median(r["later"][unit] for r in found["ours"])
        row["cached_speedup"] = row["cached_per_s"] / theirs
    return row


def print_table(rows: list[dict[str, Any]], memory: dict[str, int]) -> None:
    table = Table(title="training, units a second")
    for column in ("", "unit", "Trainer", "ours", "speedup", "features kept", "waiting for data"):
        table.add_column(column)
    for row in rows:
        kept = f"{row['cached_speedup']:.2f}x" if "cached_speedup" in row else ""
        table.add_row(
            row["scenario"],
            row["unit"],
            f"{row['trainer_per_s']:.4g}",
            f"{row['ours_per_s']:.4g}",
            f"{row['speedup']:.2f}x",
            kept,
            f"{row['waiting']:.1%}",
        )
    console = Console(stderr=True, width=130)
    console.print(table)
    console.print({name: f"{size / 2**20:,.0f} MB" for name, size in memory.items()})


def draw(axes: Any, rows: list[dict[str, Any]]) -> None:
    names = [row["scenario"] for row in rows]
    axes.barh(names, [row["speedup"] for row in rows], height=0.4, label="first epoch")
    kept = [(row["scenario"], row["cached_speedup"]) for row in rows if "cached_speedup" in row]
    if kept:
        axes.barh(*zip(*kept, strict=True), height=0.15, label="features kept")
    axes.axvline(1.0, color="grey", linewidth=0.5)
    axes.set_xlabel("times as fast as transformers' Trainer")
    axes.invert_yaxis()
    axes.legend(fontsize=7)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=384)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--loader-workers", type=int, default=2, help="of the Trainer")
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--only", help="scenarios with this in their name")
    parser.add_argument("--json-out", type=Path)
    arguments = parser.parse_args()
    chosen = [name for name in SCENARIOS if (arguments.only or "") in name]
    found: dict[str, dict[str, list[dict[str, Any]]]] = {
        name: {"trainer": [], "ours": []} for name in chosen
    }
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_rows(folder, arguments.rows)
        save_models(folder)
        turns = [
            (name, side) for _ in range(arguments.rounds) for name in chosen for side in found[name]
        ]
        for name, side in track(turns, console=Console(stderr=True)):
            run = ours if side == "ours" else trainer
            found[name][side].append(run(SCENARIOS[name], folder, arguments))
    memory = {"full logits": loss_memory(None), "chunks of 512": loss_memory(512)}
    rows = [summary(name, found[name]) for name in chosen]
    print_table(rows, memory)
    settings = {
        n: getattr(arguments, n) for n in ("rounds", "rows", "batch", "threads", "loader_workers")
    }
    result = {
        "benchmark": "training",
        "hardware": hardware(),
        "settings": settings,
        "scenarios": rows,
        "loss_peak_bytes": memory,
        "load_average": os.getloadavg()[0],
    }
    publish(result, arguments.json_out, lambda axes: draw(axes, rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
