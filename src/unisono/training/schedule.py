"""Learning rate over a stage: linear warm-up, then cosine, linear or constant down to a floor.

Progress is the share of the stage's budget that is used, in [0, 1]. Where the budget is in samples
or tokens it is not known before how far warm-up steps reach: that is noted when they are over.
"""

import math

from unisono.training.recipe import OptimizerSettings


class Schedule:
    """Factor of every learning rate, step by step."""

    def __init__(self, settings: OptimizerSettings) -> None:
        self._settings = settings
        self._floor = settings.floor_ratio or settings.floor_lr / settings.lr
        self._peak_at = settings.warmup_ratio

    def factor(self, step: int, before: float, after: float) -> float:
        """Of one step; steps are asked for in their order.

        The first step of a warm-up of n has 1/n, the n-th the peak.

        Args:
            step: steps done before it.
            before, after: progress before and after it.
        """
        warmup_steps, ratio = self._settings.warmup_steps, self._settings.warmup_ratio
        if step < warmup_steps:
            self._peak_at = after
            return (step + 1) / warmup_steps
        if after < ratio:
            return after / ratio
        return self._decayed(before)

    def _decayed(self, progress: float) -> float:
        rest = 1.0 - self._peak_at
        share = min(max((progress - self._peak_at) / rest, 0.0), 1.0) if rest > 0 else 1.0
        falling = {
            "cosine": (1 + math.cos(math.pi * share)) / 2,
            "linear": 1 - share,
            "constant": 1.0,
        }[self._settings.schedule]
        return self._floor + (1 - self._floor) * falling

    def state(self) -> float:
        """What `restore` takes."""
        return self._peak_at

    def restore(self, state: float) -> None:
        """Go on where a schedule was."""
        self._peak_at = float(state)
