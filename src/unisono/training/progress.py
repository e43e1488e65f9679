"""How far a stage is: a bar on a terminal, otherwise a line a minute in the log."""

import logging
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

_LOG = logging.getLogger(__name__)
_LOG_EVERY_S = 60.0
_WINDOW_STEPS = 50


@dataclass(frozen=True)
class Told:
    """One step, for those who watch.

    Attributes:
        done: of the budget, in its unit.
        loss: a unit.
        tokens, samples: of the step, all ranks.
        seconds: that it took.
    """

    done: int
    loss: float
    tokens: int
    samples: int
    seconds: float


class Progress:
    """Shows a stage; a context manager."""

    def __init__(
        self, name: str, unit: str, total: int, done: int = 0, *, console: Console | None = None
    ) -> None:
        """Nothing is shown yet.

        Args:
            name: of the stage.
            unit: of the budget: steps, samples or tokens.
            total: of it.
            done: of it, where a run goes on.
            console: to show it on; by default stderr.
        """
        console = console or Console(stderr=True)
        self._name, self._unit, self._total = name, unit, total
        self._recent: deque[Told] = deque(maxlen=_WINDOW_STEPS)
        self._began_at = self._logged_at = time.monotonic()
        self._began_with = done
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(unit),
            TextColumn("{task.fields[speed]}"),
            TimeRemainingColumn(),
        )
        self._bars = Bars(*columns, console=console) if console.is_terminal else None
        if self._bars is not None:
            self._task = self._bars.add_task(name, total=total, completed=done, speed="")

    def __enter__(self) -> "Progress":
        """Begin to show."""
        if self._bars is not None:
            self._bars.start()
        return self

    def __exit__(self, *exception: Any) -> None:
        """Stop showing."""
        if self._bars is not None:
            self._bars.stop()

    def tell(self, told: Told) -> None:
        """A step is done."""
        self._recent.append(told)
        if self._bars is not None:
            self._bars.update(self._task, completed=told.done, speed=self._speed())
        elif time.monotonic() - self._logged_at >= _LOG_EVERY_S:
            self._logged_at = time.monotonic()
            _LOG.info("%s, %s left", self._said(told.done), self._left(told.done))

    def _said(self, done: int) -> str:
        return f"{self._name}: {done} of {self._total} {self._unit}, {self._speed()}"

    def _left(self, done: int) -> str:
        """Hours, minutes and seconds, at the pace since this process began."""
        pace = (time.monotonic() - self._began_at) / max(done - self._began_with, 1)
        seconds = round(max(self._total - done, 0) * pace)
        return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"

    def _speed(self) -> str:
        """Of the last steps."""
        seconds = sum(one.seconds for one in self._recent) or 1e-9
        tokens = sum(one.tokens for one in self._recent) / seconds
        samples = sum(one.samples for one in self._recent) / seconds
        return f"loss {self._recent[-1].loss:.4g}, {tokens:,.0f} tokens/s, {samples:,.1f} samples/s"
