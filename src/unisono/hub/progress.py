"""How far a download is: told to whoever wants to show it, drawn on a terminal by rich.

Knows nothing of networks or files; it is given names and numbers of bytes.
"""

import sys
from typing import Protocol

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as RichBars
from rich.table import Column


class Progress(Protocol):
    """One download after another: `start`, any number of `advance`, `finish`."""

    def start(self, name: str, total_bytes: int | None, done_bytes: int) -> None:
        """A download begins, or goes on after `done_bytes`; the total may be unknown."""

    def advance(self, count_bytes: int) -> None:
        """More bytes have arrived."""

    def finish(self) -> None:
        """The download has ended, well or not."""

    def note(self, message: str) -> None:
        """Something worth one line: waiting for another process, say."""


class QuietProgress:
    """Shows nothing."""

    def start(self, name: str, total_bytes: int | None, done_bytes: int) -> None:
        """Show nothing."""

    def advance(self, count_bytes: int) -> None:
        """Show nothing."""

    def finish(self) -> None:
        """Show nothing."""

    def note(self, message: str) -> None:
        """Show nothing."""


class RichProgress:
    """A bar on stderr with bytes, rate and remaining time."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._bars: RichBars | None = None
        self._task: TaskID | None = None

    def start(self, name: str, total_bytes: int | None, done_bytes: int) -> None:
        """Draw the bar."""
        self._bars = RichBars(
            # One line on 80 columns, or the bar leaves a trail: long names are cut.
            TextColumn("{task.description}", table_column=Column(no_wrap=True, max_width=24)),
            BarColumn(bar_width=12),
            DownloadColumn(table_column=Column(no_wrap=True)),
            TransferSpeedColumn(table_column=Column(no_wrap=True)),
            TimeRemainingColumn(table_column=Column(no_wrap=True)),
            console=self._console,
        )
        self._bars.start()
        self._task = self._bars.add_task(name, total=total_bytes, completed=done_bytes)

    def advance(self, count_bytes: int) -> None:
        """Move the bar."""
        if self._bars is not None and self._task is not None:
            self._bars.advance(self._task, count_bytes)

    def finish(self) -> None:
        """Leave the bar as it stands and give the terminal back."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None

    def note(self, message: str) -> None:
        """Print one line."""
        self._console.print(message, markup=False, highlight=False)


def terminal_progress() -> Progress:
    """A bar when a person is looking at stderr, nothing otherwise."""
    return RichProgress() if sys.stderr.isatty() else QuietProgress()
