"""The file that a hit is of, by the hit's id: whoever looks one up needs no model, and names no
path."""

import re
from pathlib import Path

from unisono.errors import DataError
from unisono.retrieval.commits import told
from unisono.retrieval.filters import quoted
from unisono.retrieval.record import ABOUT_FILES, FileInfo
from unisono.retrieval.table import connect, entries

_ID = re.compile(r"[0-9a-f]{32}")


def file_of(uri: str | Path, hit: str) -> FileInfo:
    """The file that a library found a piece in, as long as it is what was indexed.

    Args:
        uri: of the library.
        hit: `Hit.id`.

    Raises:
        DataError: there is no such piece, or its file is gone or has changed since.
        MissingExtraError: lancedb is not installed.
    """
    found = _look_up(uri, hit) if _ID.fullmatch(hit) else None
    if found is None:
        raise DataError(f"the library has no piece {hit[:64]!r}")
    path = Path(found.path)
    try:
        now = path.stat()
    except OSError:
        raise DataError(f"the file '{path.name}' is not there any more") from None
    if (now.st_size, now.st_mtime_ns) != (found.size_bytes, found.modified_ns):
        raise DataError(f"the file '{path.name}' has changed since it was indexed")
    return found


def _look_up(uri: str | Path, hit: str) -> FileInfo | None:
    connection = connect(str(uri))
    for entry in entries(connection):
        with told(f"the table '{entry.table}' cannot be read"):
            query = connection.open_table(entry.table).search().where(f"id = {quoted(hit)}")
            rows = query.select(list(ABOUT_FILES)).limit(1).to_list()
        if rows:
            return FileInfo(**{name: rows[0][name] for name in ABOUT_FILES})
    return None
