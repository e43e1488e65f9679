"""What a stage tells: journal, trackers, curves and progress. Only the first rank speaks."""

import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from unisono.training.budget import Budget, Totals
from unisono.training.curves import draw_curves
from unisono.training.distributed import Ranks
from unisono.training.journal import Journal
from unisono.training.mixture import digest
from unisono.training.progress import Progress, Told
from unisono.training.step import Measured, Share
from unisono.training.trackers import Trackers

JOURNAL, CURVES = "journal.jsonl", "curves.png"
_DRAW_EVERY_S = 60.0


class Reporter:
    """Of the first rank; that of another does nothing."""

    def __init__(self, ranks: Ranks, folder: Path, *, name: str, every_steps: int) -> None:
        """Open the journal.

        Args:
            ranks: of the run.
            folder: of the stage.
            name: its.
            every_steps: steps between lines of the journal.
        """
        self._name, self._every_steps = name, every_steps
        self._journal = Journal(folder / JOURNAL) if ranks.is_main else None
        self._picture = folder / CURVES
        self._trackers = Trackers(ranks, name)
        self._progress: Progress | None = None
        self._drawn_at = time.monotonic()

    @contextlib.contextmanager
    def showing(self, budget: Budget, totals: Totals) -> Iterator[None]:
        """Inside, progress is shown."""
        if self._journal is None:
            yield
            return
        done = min(budget.done(totals), budget.total)
        with Progress(self._name, budget.unit, budget.total, done) as self._progress:
            yield

    def step(self, line: Mapping[str, Any], done: int, *, last: bool) -> None:
        """Tell of a step.

        Args:
            line: see `journal_line`.
            done: of the budget.
            last: of the stage.

        Raises:
            CheckpointError: the disk is full.
        """
        if self._progress is not None:
            told = {key: line[key] for key in ("loss", "tokens", "samples", "seconds")}
            self._progress.tell(Told(done=done, **told))
        if self._journal is not None and (last or line["step"] % self._every_steps == 0):
            self._journal.write(line)
            self._trackers.log(_numbers(line), line["step"])

    def position(self) -> int:
        """What `cut_back` takes, once all that was told is on the disk."""
        return 0 if self._journal is None else self._journal.position()

    def cut_back(self, position: int) -> None:
        """Forget the steps behind a position; they will be told of again."""
        if self._journal is not None:
            self._journal.cut_back(position)

    def draw(self, *, now: bool = True) -> None:
        """Draw the curves; unless `now`, only if they are a minute old."""
        old = time.monotonic() - self._drawn_at > _DRAW_EVERY_S
        if self._journal is not None and (now or old):
            draw_curves(self._journal.path, self._picture)
            self._drawn_at = time.monotonic()

    def close(self) -> None:
        """Close files."""
        self._trackers.close()
        if self._journal is not None:
            self._journal.close()


def journal_line(
    step: int, measured: Measured, shares: Sequence[Share], *, lr: float, seconds: float
) -> dict[str, Any]:
    """A step in the journal: see docs/training.md for the fields.

    Args:
        step: its number, from 1.
        measured: what it was.
        shares: of the ranks.
        lr: before the parameters' own factors.
        seconds: that it took.
    """
    waited_s = sum(one.waited_s for one in shares) / len(shares)
    return {
        "step": step,
        "loss": measured.loss,
        "terms": dict(measured.terms),
        "lr": lr,
        "gradient_norm": measured.norm,
        "skipped": measured.skipped,
        "samples": sum(one.samples for one in shares),
        "tokens": sum(one.tokens for one in shares),
        "names": f"{digest(*(one.names for one in shares)):016x}",
        "seconds": seconds,
        "waited": min(waited_s / seconds, 1.0),
    }


def _numbers(line: Mapping[str, Any]) -> dict[str, float]:
    """Of a line, for trackers: the terms beside the rest."""
    rest = {key: value for key, value in line.items() if key not in ("step", "terms", "names")}
    return {**rest, **{f"terms/{name}": value for name, value in line["terms"].items()}}
