"""When a run stops by itself: its loss is no number any more, or has run away."""

import math
from typing import Any

from unisono.errors import DivergenceError
from unisono.training.recipe import GuardSettings

_MEMORY = 0.95
"""Of the running mean: about the last 20 steps."""

_SETTLED_STEPS = 20
"""Before, the running mean says little."""

_LOWEST = 0.05
"""The best running mean counts as no less than this share of the first: of a loss that is learned
down to nearly nothing, a multiple is nearly nothing too."""


class Guards:
    """Watches the loss, step by step."""

    def __init__(self, settings: GuardSettings) -> None:
        self._settings = settings
        self._not_finite = 0
        self._steps = 0
        self._sum = 0.0  # of the losses, each weighed less the older it is
        self._first: float | None = None
        self._best = math.inf

    def seen(self, step: int, loss: float, *, finite: bool) -> None:
        """Look at a step.

        Args:
            step: its number, from 1.
            loss: a unit.
            finite: loss and gradients are numbers, so that the step was not skipped.

        Raises:
            DivergenceError: enough.
        """
        if not finite:
            self._not_finite += 1
            if self._not_finite >= self._settings.nan_steps:
                raise DivergenceError(
                    f"loss or gradients are not finite in {self._not_finite} steps in a row, "
                    f"up to step {step}"
                )
            return
        self._not_finite = 0
        self._add(loss)
        factor = self._settings.loss_factor
        if factor is not None and self._rise() > factor:
            raise DivergenceError(
                f"the running mean of the loss is {self.mean:.4g} at step {step}, more than "
                f"{factor:g} times its best ({self._best:.4g})"
            )

    @property
    def mean(self) -> float:
        """Running mean of the loss; not a number before the first step."""
        weights = (1 - _MEMORY**self._steps) / (1 - _MEMORY)
        return self._sum / weights if self._steps else math.nan

    @property
    def healthy(self) -> bool:
        """Whether the loss is not half-way to where the run would stop.

        While it is not, the last good checkpoint should not make room for another.
        """
        factor = self._settings.loss_factor
        return not self._not_finite and (factor is None or self._rise() <= math.sqrt(factor))

    def state(self) -> dict[str, Any]:
        """What `restore` takes; JSON values."""
        best = None if math.isinf(self._best) else self._best
        return {
            "not_finite": self._not_finite,
            "steps": self._steps,
            "sum": self._sum,
            "first": self._first,
            "best": best,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where guards were."""
        self._not_finite, self._steps = state["not_finite"], state["steps"]
        self._sum, self._first = state["sum"], state["first"]
        self._best = math.inf if state["best"] is None else state["best"]

    def _add(self, loss: float) -> None:
        self._sum = self._sum * _MEMORY + loss
        self._steps += 1
        if self._steps >= _SETTLED_STEPS:
            self._first = self.mean if self._first is None else self._first
            self._best = min(self._best, max(self.mean, _LOWEST * self._first))

    def _rise(self) -> float:
        """Running mean over its best; a loss below zero has no multiples."""
        settled = math.isfinite(self._best) and self._best > 0
        return self.mean / self._best if settled else 0.0
