"""Ctrl-C and SIGTERM: asked politely, a run ends where it can go on later."""

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_LOG = logging.getLogger(__name__)
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Whether somebody has asked to stop."""

    asked = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Inside, the first signal is noted, and the second interrupts at once.

        In a thread other than the main one nothing is watched: Python gives it no signals.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self._note) for number in _SIGNALS}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        _LOG.warning("stopping and saving; once more to stop at once, without saving")
