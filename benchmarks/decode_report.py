"""What decode.py says of its measurements: numbers, a table, a picture."""

import hashlib
import statistics
from collections.abc import Callable, Sequence
from typing import Any

from decode_contest import REFERENCE, Measured
from rich.console import Console
from rich.table import Table

MUST_BE_EQUAL = (
    ("unisono, torch, fp32", "transformers generate, fp32"),
    ("unisono, torch, bf16", "transformers generate, bf16"),
)
"""Equal weights, equal precision, and the same arithmetic underneath."""

MAY_DIFFER = (("unisono, llama.cpp, Q4_1", "llama-cpp-python, Q4_1"),)
"""Equal weights and precision, but llama.cpp compiled by others from another commit."""

TARGET = 0.8
"""The default engine's speed, to that of the best."""


def leading(answer: Sequence[int], reference: Sequence[int], stop_id: int) -> tuple[int, int]:
    """(equal leading tokens, tokens of the reference), up to where the reference stops."""
    length = reference.index(stop_id) + 1 if stop_id in reference else len(reference)
    equal = 0
    while equal < length and answer[equal] == reference[equal]:
        equal += 1
    return equal, length


def agreement(answers: list[list[int]], reference: list[list[int]], stop_id: int) -> dict[str, Any]:
    """Share of equal leading tokens over all prompts, and how many answers are equal."""
    pairs = [leading(a, r, stop_id) for a, r in zip(answers, reference, strict=True)]
    return {
        "leading_tokens": round(sum(p[0] for p in pairs) / sum(p[1] for p in pairs), 4),
        "equal_answers": sum(equal == length for equal, length in pairs),
        "answers": len(pairs),
    }


def summary(
    present: list[Measured], stop_id: int, decode: Callable[[list[int]], str]
) -> list[dict[str, Any]]:
    """One row an engine, fastest first."""
    reference = next((m.answers for m in present if m.contestant.label == REFERENCE), None)
    rates = {m.contestant.label: _spread(m.runs, "tokens_per_s") for m in present}
    best = max(rate["median"] for rate in rates.values())
    ours = next((rates[m.contestant.label]["median"] for m in present if m.contestant.default), 0)
    rows = []
    for one in present:
        rate = rates[one.contestant.label]
        text = decode(one.runs[0]["ids"])
        rows.append(
            {
                "name": one.contestant.name,
                "weights": one.contestant.weights,
                "default": one.contestant.default,
                "tokens_per_s": rate,
                "to_best": round(rate["median"] / best, 3),
                "to_default": round(rate["median"] / ours, 3) if ours else None,
                "first_token_s": _spread(one.runs, "first_token_s"),
                "memory_mb": round(one.runs[-1]["memory_bytes"] / 2**20)
                if one.runs[-1]["memory_bytes"]
                else None,
                "load_average": max(run["load_average"] for run in one.runs),
                "repeats_itself": all(run["ids"] == one.runs[0]["ids"] for run in one.runs),
                "text_sha256": hashlib.sha256(text.encode()).hexdigest(),
                "text_start": text[:80],
                "agreement": reference and agreement(one.answers, reference, stop_id),
                "versions": one.worker.versions,
            }
        )
    return sorted(rows, key=lambda row: -row["tokens_per_s"]["median"])


def equalities(present: list[Measured], stop_id: int) -> list[dict[str, Any]]:
    """For engines of equal weights and precision: whether their tokens are equal."""
    answers = {one.contestant.label: one.answers for one in present}
    checks = []
    for pairs, must in ((MUST_BE_EQUAL, True), (MAY_DIFFER, False)):
        for first, second in pairs:
            if first in answers and second in answers:
                found = agreement(answers[first], answers[second], stop_id)
                same = found["equal_answers"] == found["answers"]
                checks.append({"engines": [first, second], "must": must, "equal": same} | found)
    return checks


def print_table(result: dict[str, Any]) -> None:
    """To standard error."""
    console = Console(stderr=True, width=None if Console(stderr=True).is_terminal else 120)
    table = Table(title=f"{result['model']}, {result['hardware']['cpu']}")
    table.add_column("engine")
    table.add_column("weights")
    for name in ("tokens/s", "min–max", "of best", "first token", "memory", "agreement"):
        table.add_column(name, justify="right")
    for row in result["engines"]:
        rate, agreed = row["tokens_per_s"], row["agreement"]
        table.add_row(
            row["name"] + (" (default)" if row["default"] else ""),
            row["weights"],
            f"{rate['median']:.1f}",
            f"{rate['min']:.1f}–{rate['max']:.1f}",
            f"{row['to_best']:.2f}×",
            f"{row['first_token_s']['median'] * 1000:.0f} ms",
            f"{row['memory_mb']} MB",
            f"{agreed['leading_tokens']:.0%}" if agreed else "",
            style="bold" if row["default"] else None,
        )
    for row in result["absent"]:
        table.add_row(row["name"], row["weights"], row["why"], style="dim")
    console.print(table)
    for check in result["equal"]:
        verdict = "equal" if check["equal"] else "NOT EQUAL" if check["must"] else "differ"
        console.print(
            f"{' / '.join(check['engines'])}: {verdict}, {check['equal_answers']} of "
            f"{check['answers']} texts, {check['leading_tokens']:.1%} of leading tokens"
        )
    if result["default_to_best"] is not None:
        met = "reaches" if result["default_to_best"] >= TARGET else "does NOT reach"
        console.print(
            f"The default {met} {TARGET}× the best: {result['default_to_best']:.2f}×. "
            "Agreement: leading tokens equal to those of transformers in fp32."
        )


def draw(axes: Any, result: dict[str, Any]) -> None:
    """Bars of tokens/s, with the slowest and the fastest round."""
    rows = result["engines"][::-1]
    rates = [row["tokens_per_s"] for row in rows]
    medians = [rate["median"] for rate in rates]
    axes.barh(
        [f"{row['name']}, {row['weights']}" for row in rows],
        medians,
        xerr=[
            [rate["median"] - rate["min"] for rate in rates],
            [rate["max"] - rate["median"] for rate in rates],
        ],
        color=["#1f77b4" if row["default"] else "#b8c4cf" for row in rows],
        ecolor="#555555",
    )
    axes.figure.set_size_inches(8, 0.8 + 0.32 * len(rows))
    axes.set_xlabel(f"tokens/s, {result['model']}, {result['hardware']['cpu']}")


def _spread(runs: list[dict[str, Any]], what: str) -> dict[str, float]:
    values = [run[what] for run in runs]
    return {
        "median": round(statistics.median(values), 4),
        "min": round(min(values), 4),
        "max": round(max(values), 4),
    }
