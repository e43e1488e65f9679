"""One function over many files, by two processes where that pays."""

from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

_WORKERS = 2
_FEW = 50
_CHUNK = 100

Task = TypeVar("Task")
Result = TypeVar("Result")


def for_all(work: Callable[[Task], Result], tasks: Sequence[Task]) -> list[Result]:
    """The results in the tasks' order; a few are worked off here."""
    if len(tasks) <= _FEW:
        return list(map(work, tasks))
    with ProcessPoolExecutor(_WORKERS) as pool:
        return list(pool.map(work, tasks, chunksize=_CHUNK))
