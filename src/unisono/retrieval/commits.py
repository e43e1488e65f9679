"""Commits in spite of other writers, and what hinders them in words.

Lance is optimistic: of two writers that change the same rows at once, the later one is told so
and may try again. Most of that Lance does itself; here is the rest.
"""

import errno
import random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from unisono.errors import DataError

if TYPE_CHECKING:
    import pyarrow

_TRIES = 6
_PAUSE_S = 0.2
_OTHERS_CAME_FIRST = ("conflict", "already exists", "was not found")


def begin(connection: Any, name: str, schema: "pyarrow.Schema") -> None:
    """Make an empty table, unless it is there: also when others make it at this moment.

    Not with Lance's `exist_ok`, which writes over a table that came into being meanwhile.

    Raises:
        DataError: it cannot be made, or it is damaged.
    """

    def make() -> None:
        if name not in names(connection):
            connection.create_table(name, schema=schema, mode="create")

    insist(make, f"the table '{name}' cannot be made")
    # While another makes it, it is listed already and cannot be opened yet.
    insist(lambda: connection.open_table(name), f"the table '{name}' cannot be read")


def names(connection: Any) -> set[str]:
    """All tables of a library."""
    found, token = set(), None
    while True:
        page = connection.list_tables(page_token=token)
        found |= set(page.tables)
        token = page.page_token
        if not token:
            return found


def insist(do: Callable[[], None], what: str) -> None:
    """Do it, however often another writer comes first.

    Raises:
        DataError: it cannot be done, or others write all the time.
    """
    with told(what):
        done = persist(do)
    if not done:
        raise DataError(f"{what}: other processes write to the library all the time")


def persist(do: Callable[[], None]) -> bool:
    """Whether it was done: it is tried again when another writer's commit came first."""
    for attempt in range(_TRIES):
        try:
            do()
            return True
        except (OSError, RuntimeError, ValueError) as error:
            if not any(words in str(error).lower() for words in _OTHERS_CAME_FIRST):
                raise
            # Not in step with the other writer.
            time.sleep(_PAUSE_S * (attempt + random.random()))
    return False


@contextmanager
def told(what: str) -> Iterator[None]:
    """Turn what Lance and the system raise into one clear error.

    Raises:
        DataError: anything went wrong inside.
    """
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"{what}: {_first_line(error)}") from error


def _first_line(error: Exception) -> str:
    said = str(error)
    if "No space left" in said or getattr(error, "errno", None) == errno.ENOSPC:
        return "no space is left on the disk; what was written before is kept"
    lines = said.strip().splitlines()
    return lines[0][:300] if lines else type(error).__name__
