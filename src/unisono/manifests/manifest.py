"""What every reader of data offers: rows by number, or a stream of them."""

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from unisono.errors import BadRowError
from unisono.manifests.row import Row


@runtime_checkable
class Manifest(Protocol):
    """Rows by number; may be read in several threads at once.

    Attributes:
        fingerprint: another one when the files are others.
    """

    fingerprint: str

    def __len__(self) -> int:
        """How many rows there are, the broken ones included."""

    def __getitem__(self, index: int) -> Row:
        """One row, its media not opened.

        Raises:
            BadRowError: it is broken; the message begins with where it stands.
        """


@runtime_checkable
class StreamedManifest(Protocol):
    """Rows one after the other, in the same order every time.

    Attributes:
        fingerprint: another one when the files are others.
    """

    fingerprint: str

    def stream(self, start: int = 0) -> Iterator[Row | BadRowError]:
        """The rows from number `start` on, once; an error stands in the place of a broken one."""
