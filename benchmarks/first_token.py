"""How soon does Ola say its first word about media, and how much memory does that take?

    python benchmarks/first_token.py [--json-out docs/results/first_token.json]

Ola-7b at 1/8 of its widths and full depth, random weights in float32, on the CPU; the official
procedure beside ours on the same weights and files, in one run. Each side lives in a process of
its own that sleeps while others are measured; they take turns. Between the official procedure
and ours stand two sides that have one improvement each more than the one before, so the gain is
split by cause. All sides must find the same first token, else the exit status is 1.
Prints a table to stderr and one JSON line to stdout.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import first_token_media
from first_token_model import save_model
from report import hardware, publish
from rich.console import Console
from rich.progress import track
from rich.table import Table
from side_process import SideProcess

WORKER = Path(__file__).with_name("first_token_worker.py")
SIDES = ("official", "no dummies", "last logits only", "ours")
GOALS = {"text": 2.0, "image, second turn": 2.0, "video, second turn": 2.0}
"""Scenario -> how many times sooner than the official procedure; elsewhere never later."""


def scenarios(media: dict[str, Path]) -> dict[str, list[dict[str, Any]]]:
    """Name -> the conversation. A second turn follows the first turn about the same media."""
    asked = {"text": [said("user", "What do bees make, and how do they make it?")]}
    for kind, question in (
        ("image", "What is in this picture?"),
        ("video", "What happens in this video, and what is heard?"),
        ("audio", "What is heard?"),
    ):
        medium = {"type": kind, kind: str(media[kind])}
        first = said("user", [medium, {"type": "text", "text": question}])
        asked[kind] = [first]
        if kind != "audio":
            answer = said("assistant", "There are many colours.")
            asked[f"{kind}, second turn"] = [first, answer, said("user", "Which of them is new?")]
    return asked


def said(role: str, content: Any) -> dict[str, Any]:
    return {"role": role, "content": content}


def measure(
    model: Path, asked: dict[str, list[dict[str, Any]]], rounds: int, threads: int
) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Scenario -> side -> what each round found."""
    sides = {name: SideProcess(WORKER, name, model=model, threads=threads) for name in SIDES}
    found: dict[str, dict[str, list[dict[str, Any]]]] = {
        scenario: {name: [] for name in sides} for scenario in asked
    }
    turns = [(scenario, name) for _ in range(rounds) for scenario in asked for name in sides]
    try:
        for scenario, name in track(turns, console=Console(stderr=True)):
            found[scenario][name].append(sides[name].ask(asked[scenario]))
    finally:
        for one in sides.values():
            one.kill()
    return found


def summary(found: dict[str, dict[str, list[dict[str, Any]]]]) -> list[dict[str, Any]]:
    rows = []
    for scenario, sides in found.items():
        seconds = {n: median(r["first_token_s"] for r in each) for n, each in sides.items()}
        peak = {n: max(r["peak_bytes"] for r in each) for n, each in sides.items()}
        rows.append(
            {
                "scenario": scenario,
                "first_token_s": seconds,
                "peak_bytes": peak,
                "speedup": seconds["official"] / seconds["ours"],
                "goal": GOALS.get(scenario, 1.0),
                "tokens_agree": len({r["token"] for each in sides.values() for r in each}) == 1,
            }
        )
    return rows


def print_table(rows: list[dict[str, Any]]) -> None:
    table = Table(title="seconds to the first token (peak memory on top of the model)")
    for column in ("asked about", *SIDES, "ours / official"):
        table.add_column(column, justify="left" if column == "asked about" else "right")
    for row in rows:
        cells = [
            f"{row['first_token_s'][side]:.2f} s ({row['peak_bytes'][side] / 2**20:.0f} MB)"
            for side in SIDES
        ]
        reached = "" if row["speedup"] >= row["goal"] else f" (goal {row['goal']:g})"
        table.add_row(row["scenario"], *cells, f"{row['speedup']:.1f}x sooner{reached}")
    Console(stderr=True, width=150).print(table)


def draw(axes: Any, rows: list[dict[str, Any]]) -> None:
    places = range(len(rows))
    for index, side in enumerate(SIDES):
        axes.barh(
            [place + 0.2 * index for place in places],
            [row["first_token_s"][side] for row in rows],
            height=0.18,
            label=side,
        )
    axes.set_yticks([place + 0.3 for place in places], [row["scenario"] for row in rows])
    axes.invert_yaxis()
    axes.set_xscale("log")
    axes.set_xlabel("seconds to the first token (less is better)")
    axes.legend(fontsize=7)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--fraction", type=int, default=8, help="of Ola-7b's widths")
    parser.add_argument("--only", nargs="+", help="scenarios whose name has one of these words")
    parser.add_argument("--json-out", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        model = save_model(Path(folder) / "model", arguments.fraction)
        asked = scenarios(first_token_media.make(Path(folder)))
        if arguments.only:
            asked = {n: a for n, a in asked.items() if any(w in n for w in arguments.only)}
        rows = summary(measure(model, asked, arguments.rounds, arguments.threads))
    print_table(rows)
    result = {
        "benchmark": "first_token",
        "hardware": hardware(),
        "settings": {name: getattr(arguments, name) for name in ("rounds", "threads", "fraction")},
        "scenarios": rows,
    }
    publish(result, arguments.json_out, lambda axes: draw(axes, rows))
    return 0 if all(row["tokens_agree"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
