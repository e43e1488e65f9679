"""Answers that were spoken: a later turn names one by its id instead of repeating it."""

from collections import OrderedDict
from collections.abc import Iterable
from threading import Lock
from typing import Protocol

_REMEMBERED = 256


class Spoken(Protocol):
    """Whatever remembers them; both may take a moment, and are not called in the event loop."""

    def keep(self, name: str, text: str) -> None:
        """Remember one."""
        ...

    def find(self, names: Iterable[str]) -> dict[str, str]:
        """The texts of those that are still remembered."""
        ...


class SpokenAnswers:
    """The latest ones, in this process."""

    def __init__(self) -> None:
        self._texts: OrderedDict[str, str] = OrderedDict()
        self._lock = Lock()

    def keep(self, name: str, text: str) -> None:
        """Remember one, and forget the oldest of many."""
        with self._lock:
            self._texts[name] = text
            while len(self._texts) > _REMEMBERED:
                self._texts.popitem(last=False)

    def find(self, names: Iterable[str]) -> dict[str, str]:
        """The texts of those that are still remembered."""
        with self._lock:
            return {name: self._texts[name] for name in names if name in self._texts}
