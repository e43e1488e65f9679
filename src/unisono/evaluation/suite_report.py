"""What a suite found, and what has moved since: as JSON, for people, as a picture."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unisono.errors import DataError
from unisono.evaluation.report import Results, as_json, table


@dataclass(frozen=True)
class SuiteResults:
    """What a suite found.

    Attributes:
        title: of the suite.
        model: its name or folder, as it was given.
        results: entry -> what its run found.
        missing: entry -> why it could not be run.
        command: what makes these results again.
    """

    title: str
    model: str
    results: Mapping[str, Results] = field(default_factory=dict)
    missing: Mapping[str, str] = field(default_factory=dict)
    command: str = ""


def suite_json(found: SuiteResults) -> dict[str, Any]:
    """JSON values."""
    return {
        "suite": found.title,
        "model": found.model,
        "command": found.command,
        "entries": {name: as_json(one) for name, one in found.results.items()},
        "missing": dict(found.missing),
    }


def suite_markdown(found: SuiteResults) -> str:
    """A table of all scores, and what could not be run."""
    lines = [f"# {found.title}: {found.model}", ""]
    lines += ["| task | metric | score | 95 % interval | samples | better |", "|---" * 6 + "|"]
    for name, one in found.results.items():
        lines += [f"| {name} | {' | '.join(cells)} |" for cells in table(one)]
    failed = {name: len(one.failed) for name, one in found.results.items() if one.failed}
    lines.append("")
    lines += [f"- {name}: {n} rows failed, see its own report" for name, n in failed.items()]
    lines += [f"- {name}: not run, {why}" for name, why in found.missing.items()]
    if found.command:
        lines += ["", "Made by", "", f"    {found.command}"]
    return "\n".join(lines) + "\n"


def draw_suite(found: SuiteResults, path: Path) -> bool:
    """Every entry's first score in percent, with its interval; not without matplotlib."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    bars = [bar for name, one in found.results.items() if (bar := _bar_of(name, one)) is not None]
    if not bars:
        return False
    figure = Figure(figsize=(7, 1 + 0.35 * len(bars)), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for place, (_, value, low, high) in enumerate(bars):
        axes.barh(place, 100 * value, color="tab:blue", height=0.6)
        axes.plot([100 * low, 100 * high], [place, place], color="black", lw=1)
        axes.annotate(f" {100 * value:.1f}", (100 * max(value, high), place), va="center")
    axes.set_yticks(range(len(bars)), [label for label, *_ in bars])
    axes.invert_yaxis()
    axes.set_xlabel("percent, with 95 % intervals")
    axes.set_title(f"{found.title}: {found.model}")
    figure.savefig(path, dpi=110)
    return True


def _bar_of(name: str, one: Results) -> tuple[str, float, float, float] | None:
    for metric, score in one.scores.items():
        if score.percent and math.isfinite(score.value):
            ends = one.intervals[metric]
            low, high = (score.value, score.value) if ends is None else (ends.low, ends.high)
            return f"{name} ({metric})", score.value, low, high
    return None


def moved_since(now: Mapping[str, Any], then: Mapping[str, Any]) -> list[str]:
    """What is no longer as it was said to be, a line each.

    Args:
        now: what `suite_json` or `as_json` made.
        then: the same, earlier: every score of it must be there, and within its interval; one
            without an interval must be equal.
    """
    entries = {"": then} if "scores" in then else then["entries"]
    present = {"": now} if "scores" in now else now["entries"]
    lines = []
    for name, one in entries.items():
        scores = present.get(name, {}).get("scores", {})
        for metric, was in one["scores"].items():
            lines += _moved(" ".join(filter(None, (name, metric))), scores.get(metric), was)
    return lines


def _moved(what: str, now: Mapping[str, Any] | None, was: Mapping[str, Any]) -> list[str]:
    value, then = None if now is None else now["value"], was["value"]
    if is_as_before(value, then, was["low"], was["high"]):
        return []
    ends = "" if was["low"] is None else f" [{was['low']:.4g}, {was['high']:.4g}]"
    return [f"{what}: was {then}{ends}, is {'not measured' if now is None else value}"]


def is_as_before(
    value: float | None, was: float | None, low: float | None, high: float | None
) -> bool:
    """Within the interval it had, or, where there was none, equal."""
    if value is None or was is None:
        return value is was
    if low is None or high is None:
        return math.isclose(value, was, rel_tol=1e-6)
    return low <= value <= high


def read_results(path: Path) -> Mapping[str, Any]:
    """What an earlier run or suite wrote: its folder, or the file.

    Raises:
        DataError: there is no such file, or it is none.
    """
    file = path / "results.json" if path.is_dir() else path
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"'{file}' cannot be read: {error}") from None
    if not isinstance(found, dict) or not {"scores", "entries", "findings"} & found.keys():
        raise DataError(f"'{file}' has no scores")
    return found
