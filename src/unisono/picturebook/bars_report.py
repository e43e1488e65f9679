"""What a bar is, how a score is held against it, and the table of all of them.

Knows neither models nor data.
"""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from unisono.evaluation import Interval, Score, interval
from unisono.evaluation.report import shown, shown_interval
from unisono.evaluation.suite_report import is_as_before

Verdict = Literal["passed", "missed", "not measured", ""]


@dataclass(frozen=True)
class Bar:
    """What a score must reach.

    Attributes:
        limit: in the score's unit.
        at_least: else at most.
        p_below: what the finding's p-value must be below, if it has one.
    """

    limit: float
    at_least: bool = True
    p_below: float | None = None

    def missed_by(self, value: float) -> float:
        """How much is wanting; 0 if nothing is."""
        return max(0.0, self.limit - value if self.at_least else value - self.limit)

    def holds(self, value: float, p_value: float | None) -> bool:
        """Whether a score passes; nan never does."""
        likely = self.p_below is None or (p_value is not None and p_value < self.p_below)
        return likely and not math.isnan(value) and self.missed_by(value) == 0

    def text(self, score: Score) -> str:
        """For people: "≥ 60.0%", "≤ 0.15"."""
        said = f"{'≥' if self.at_least else '≤'} {shown(self.limit, score)}"
        return said if self.p_below is None else f"{said}, p < {self.p_below:g}"


@dataclass(frozen=True)
class Finding:
    """A score on a split, and the bar it is held against.

    Attributes:
        group: what can be asked for alone: "picture", "speech".
        what: is measured.
        split: the manifest, below the data's folder.
        score: of independent samples; None if it could not be measured, as `note` says.
        bar: None where there is none: the score is for information.
        p_value: of chance, where that is asked.
        note: what else is to be known.
        seconds: that its group took.
    """

    group: str
    what: str
    split: str
    score: Score | None
    bar: Bar | None = None
    p_value: float | None = None
    note: str = ""
    seconds: float = 0.0

    @cached_property
    def interval(self) -> Interval | None:
        """The score's 95 % bootstrap interval."""
        return None if self.score is None else interval(self.score)

    @property
    def verdict(self) -> Verdict:
        """Whether the bar is passed; "" for a score without a bar."""
        if self.score is None or math.isnan(self.score.value):
            return "not measured"
        if self.bar is None:
            return ""
        return "passed" if self.bar.holds(self.score.value, self.p_value) else "missed"

    @property
    def missed_by(self) -> float | None:
        """How much is wanting, in the score's unit; None where nothing was measured."""
        if self.bar is None or self.score is None or math.isnan(self.score.value):
            return None
        return self.bar.missed_by(self.score.value)


def clustered(score: Score, keys: Sequence[str]) -> Score:
    """The same metric over groups of samples that depend on each other.

    Twenty cuts of one recording say little more than one: the bootstrap is to draw recordings.

    Args:
        score: a ratio over N samples.
        keys: [N], equal for samples that belong together.

    Raises:
        ValueError: the score is no ratio, or the keys are not as many as its samples.
    """
    if score.aggregate != "ratio" or len(keys) != len(score):
        raise ValueError("clusters need a ratio, and a key for each of its samples")
    totals: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0])
    for key, amount, weight in zip(keys, score.amounts, score.weights, strict=True):
        totals[key][0] += float(amount)
        totals[key][1] += float(weight)
    return Score.of(
        [amount for amount, _ in totals.values()],
        weights=[weight for _, weight in totals.values()],
        names=list(totals),
        higher_is_better=score.higher_is_better,
        percent=score.percent,
    )


_HEAD = ("what", "split", "bar", "score [95 %]", "n", "s", "verdict")


def as_markdown(findings: Sequence[Finding]) -> str:
    """A table, and what has to be known beside it."""
    lines = [_line(_HEAD), _line(["---"] * len(_HEAD))]
    notes: list[str] = []
    for one in findings:
        mark = ""
        if one.note:
            notes.append(one.note)
            mark = f" ({len(notes)})"
        lines.append(_line([f"{one.what}{mark}", one.split, *_cells(one)]))
    lines += ["", f"Passed {_count(findings, 'passed')} of {sum(map(_has_bar, findings))} bars."]
    lines += [f"\n({number}) {note}" for number, note in enumerate(notes, 1)]
    return "\n".join(lines) + "\n"


def _cells(one: Finding) -> Iterator[str]:
    score = one.score
    yield "" if one.bar is None else one.bar.text(score or Score.of([]))
    yield "–" if score is None else f"{shown(score.value, score)} [{_ends(one, score)}]"
    yield "0" if score is None else str(len(score))
    yield f"{one.seconds:.0f}"
    yield _said(one)


def _ends(one: Finding, score: Score) -> str:
    chance = "" if one.p_value is None else f"; p = {one.p_value:.2g}"
    return shown_interval(one.interval, score) + chance


def _said(one: Finding) -> str:
    missed = one.missed_by
    if one.verdict != "missed" or one.score is None or missed is None:
        return one.verdict
    if missed == 0:
        return "missed: may be chance"
    by = f"{100 * missed:.1f} points" if one.score.percent else f"{missed:.3g}"
    return f"missed by {by}"


def _count(findings: Sequence[Finding], verdict: Verdict) -> int:
    return sum(one.verdict == verdict for one in findings)


def _has_bar(one: Finding) -> bool:
    return one.bar is not None


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def as_json(findings: Sequence[Finding]) -> dict[str, Any]:
    """JSON values; a number that is none is null."""
    return {
        "bars": sum(map(_has_bar, findings)),
        "passed": _count(findings, "passed"),
        "findings": [_entry(one) for one in findings],
    }


def _entry(one: Finding) -> dict[str, Any]:
    found, bar = one.interval, one.bar
    return {
        "group": one.group,
        "what": one.what,
        "split": one.split,
        "bar": None if bar is None else {"limit": bar.limit, "at_least": bar.at_least},
        "value": None if one.score is None else _number(one.score.value),
        "low": None if found is None else _number(found.low),
        "high": None if found is None else _number(found.high),
        "samples": 0 if one.score is None else len(one.score),
        "p_value": one.p_value,
        "seconds": round(one.seconds, 1),
        "verdict": one.verdict,
        "missed_by": one.missed_by,
        "note": one.note,
    }


def moved(
    findings: Sequence[Finding], earlier: Mapping[str, Any], *, every: bool = False
) -> list[str]:
    """What is no longer as it was said to be, a line each.

    Args:
        findings: now.
        earlier: what `as_json` made; of it, findings that were measured again are compared.
        every: a finding that was not measured again has moved too.
    """
    known = {(one["what"], one["split"]): one for one in earlier["findings"]}
    pairs = ((one, known.pop((one.what, one.split), None)) for one in findings)
    lines = [line for one, then in pairs if then and (line := _moved(one, then))]
    left = known.values() if every else ()
    return lines + [
        f"{one['what']} ({one['split']}): was {one['value']}, is not measured" for one in left
    ]


def _moved(now: Finding, then: Mapping[str, Any]) -> str:
    """Outside of the interval, or, where there was none, not equal."""
    value = None if now.score is None else _number(now.score.value)
    was, low, high = then["value"], then["low"], then["high"]
    if is_as_before(value, was, low, high):
        return ""
    ends = "" if low is None else f" [{low:.4g}, {high:.4g}]"
    return f"{now.what} ({now.split}): was {was}{ends}, is {value}"


def _number(value: float) -> float | None:
    return value if math.isfinite(value) else None
