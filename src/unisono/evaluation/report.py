"""The results of a run: as JSON for programs, as Markdown for people.

They hold nothing of the machine or the hour, so that equal runs give equal files.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from unisono.evaluation.bootstrap import Interval
from unisono.evaluation.score import Score
from unisono.evaluation.task import Prediction

_MOST_FAILED = 20
"""Failed rows that are named; predictions.jsonl has them all."""


@dataclass(frozen=True)
class Subject:
    """What is evaluated.

    Attributes:
        model: its name or folder, as it was given.
        manifest: its path, as it was given.
        model_fingerprint: see `model_fingerprint`.
        manifest_fingerprint: of the manifest.
        command: what makes these results again.
    """

    model: str
    manifest: str
    model_fingerprint: str = ""
    manifest_fingerprint: str = ""
    command: str = ""


@dataclass(frozen=True)
class Results:
    """What a run found.

    Attributes:
        task: its name.
        settings: of the task.
        subject: what was evaluated.
        count: rows.
        failed: predictions with an error: left out of the scores or counted as wrong.
        scores: metric -> score.
        intervals: metric -> 95 % interval, None where nothing can be said.
    """

    task: str
    settings: Mapping[str, Any]
    subject: Subject
    count: int
    failed: tuple[Prediction, ...] = ()
    scores: Mapping[str, Score] = field(default_factory=dict)
    intervals: Mapping[str, Interval | None] = field(default_factory=dict)

    @property
    def left_out(self) -> int:
        """Failed rows that are in no score."""
        return sum(not one.counted for one in self.failed)

    @property
    def wrong(self) -> int:
        """Failed rows that count as wrong."""
        return len(self.failed) - self.left_out


def as_json(results: Results) -> dict[str, Any]:
    """JSON values; a number that is none is null."""
    return {
        "task": results.task,
        "model": results.subject.model,
        "manifest": results.subject.manifest,
        "command": results.subject.command,
        "settings": dict(results.settings),
        "rows": results.count,
        "failed": {
            "left_out": results.left_out,
            "counted_as_wrong": results.wrong,
            "rows": [
                {"name": one.name, "error": one.error, "left_out": not one.counted}
                for one in results.failed[:_MOST_FAILED]
            ],
        },
        "scores": {
            name: _entry(score, results.intervals[name]) for name, score in results.scores.items()
        },
    }


def as_markdown(results: Results) -> str:
    """A page with a table of scores, and what failed."""
    settings = ", ".join(f"{name} = {value}" for name, value in results.settings.items())
    lines = [
        f"# {results.task}: {results.subject.model}",
        "",
        f"{results.count} rows of `{results.subject.manifest}`. Settings: {settings or 'none'}.",
        "",
        "| metric | score | 95 % interval | samples | better |",
        "|---|---|---|---|---|",
        *(f"| {' | '.join(cells)} |" for cells in table(results)),
        "",
        "Intervals: percentile bootstrap over samples, 2000 resamples, seed 0; – where all samples "
        "are alike, which says nothing about others.",
        *_failures(results),
    ]
    if results.subject.command:
        lines += ["", "Made by", "", f"    {results.subject.command}"]
    return "\n".join(lines) + "\n"


def table(results: Results) -> list[tuple[str, ...]]:
    """One line a metric: its name, score, interval, samples, and which way is better."""
    return [
        (
            name,
            shown(score.value, score),
            shown_interval(results.intervals[name], score),
            str(len(score)),
            "higher" if score.higher_is_better else "lower",
        )
        for name, score in results.scores.items()
    ]


def shown(value: float, score: Score, *, signed: bool = False) -> str:
    """A value of a metric for people: "12.5%", "3.21"; with a sign if it is a difference."""
    if math.isnan(value):
        return "–"
    sign = "+" if signed else ""
    return f"{100 * value:{sign}.1f}%" if score.percent else f"{value:{sign}.4g}"


def shown_interval(interval: Interval | None, score: Score, *, signed: bool = False) -> str:
    """An interval for people."""
    if interval is None:
        return "–"
    low, high = (shown(end, score, signed=signed) for end in (interval.low, interval.high))
    return f"{low.removesuffix('%')} to {high}"


def _entry(score: Score, interval: Interval | None) -> dict[str, Any]:
    return {
        "value": _number(score.value),
        "low": None if interval is None else _number(interval.low),
        "high": None if interval is None else _number(interval.high),
        "level": None if interval is None else interval.level,
        "samples": len(score),
        "higher_is_better": score.higher_is_better,
    }


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _failures(results: Results) -> list[str]:
    if not results.failed:
        return ["", "No row failed."]
    kinds = Counter("left out" if not one.counted else "wrong" for one in results.failed)
    counts = ", ".join(f"{count} {kind}" for kind, count in sorted(kinds.items()))
    named = [f"- {one.name}: {one.error}" for one in results.failed[:_MOST_FAILED]]
    return ["", f"## Failed rows: {len(results.failed)} ({counts})", "", *named]
