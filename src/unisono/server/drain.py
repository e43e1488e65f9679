"""Going down without breaking anything off: no new work is taken, and what runs is let end."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

GOING_DOWN = "the server is going down; ask again, where another one answers"


class Drain:
    """Whether the server goes down, and what it still has to do; for the event loop's thread.

    Attributes:
        began: set when no new work is taken any more.
        running: requests and connections that are not over.
    """

    def __init__(self) -> None:
        self.began = asyncio.Event()
        self.running = 0

    @property
    def going(self) -> bool:
        """Whether new work is refused."""
        return self.began.is_set()

    @property
    def over(self) -> bool:
        """Whether nothing is left to wait for."""
        return self.going and self.running == 0

    def begin(self) -> None:
        """Take no new work."""
        self.began.set()

    @contextmanager
    def counted(self) -> Iterator[None]:
        """Around one request or connection: going down waits for it."""
        self.running += 1
        try:
            yield
        finally:
            self.running -= 1
