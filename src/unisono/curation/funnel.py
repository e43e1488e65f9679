"""How many came into each stage, what became of them, and the numbers they had there."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from unisono.curation.records import Rejection


@dataclass(frozen=True)
class Step:
    """One stage's part of the funnel.

    Attributes:
        name: of the stage.
        kind: what is counted: "file", "clip" or "question".
        entered: how many came in.
        rejected: reason -> how many were left out.
        metrics: name -> the numbers of all that came in and had it.
    """

    name: str
    kind: str
    entered: int
    rejected: Mapping[str, int] = field(default_factory=dict)
    metrics: Mapping[str, tuple[float, ...]] = field(default_factory=dict)

    @property
    def left(self) -> int:
        """How many went on."""
        return self.entered - sum(self.rejected.values())


def step_of(
    name: str,
    kind: str,
    entered: int,
    rejections: Sequence[Rejection],
    metrics: Sequence[Mapping[str, float]] = (),
) -> Step:
    """A step, counted."""
    reasons = Counter(rejection.reason for rejection in rejections)
    names = sorted({name for one in metrics for name in one})
    values = {key: tuple(one[key] for one in metrics if key in one) for key in names}
    return Step(name, kind, entered, dict(sorted(reasons.items())), values)


def check(steps: Sequence[Step]) -> None:
    """Every file, clip and question is accounted for.

    Raises:
        RuntimeError: one came from nowhere, or went without a reason.
    """
    before: dict[str, int] = {}
    for step in steps:
        expected = before.get(step.kind, step.entered)
        if step.entered != expected or step.left < 0:
            raise RuntimeError(
                f"{step.entered} {step.kind}s came into {step.name!r}, but {expected} were left"
            )
        before[step.kind] = step.left


def as_json(steps: Sequence[Step]) -> list[dict[str, Any]]:
    """JSON values; of the metrics count, mean and five quantiles."""
    return [
        {
            "stage": step.name,
            "kind": step.kind,
            "entered": step.entered,
            "rejected": dict(step.rejected),
            "left": step.left,
            "metrics": {name: _summary(values) for name, values in step.metrics.items()},
        }
        for step in steps
    ]


def as_markdown(steps: Sequence[Step]) -> str:
    """A table of the steps, and one of their metrics."""
    lines = ["| stage | of | in | left out | left |", "|---|---|---:|---|---:|"]
    for step in steps:
        reasons = ", ".join(f"{count} {reason}" for reason, count in step.rejected.items())
        lines.append(f"| {step.name} | {step.kind}s | {step.entered} | {reasons} | {step.left} |")
    lines += ["", "| stage | metric | count | mean | 5 % | median | 95 % |"]
    lines.append("|---|---|---:|---:|---:|---:|---:|")
    for step in steps:
        for name, values in step.metrics.items():
            if values:
                said = _summary(values)
                shown = (said[key] for key in ("mean", "q05", "q50", "q95"))
                cells = " | ".join(f"{value:.4g}" for value in shown)
                lines.append(f"| {step.name} | {name} | {len(values)} | {cells} |")
    return "\n".join(lines) + "\n"


def _summary(values: Sequence[float]) -> dict[str, float]:
    if not values:
        return {"count": 0}
    low, median, high = (float(one) for one in np.quantile(values, (0.05, 0.5, 0.95)))
    said = {"mean": float(np.mean(values)), "q05": low, "q50": median, "q95": high}
    extremes = {"least": min(values), "most": max(values)}
    return {"count": len(values)} | {k: round(v, 6) for k, v in (said | extremes).items()}
