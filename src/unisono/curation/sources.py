"""Which files there are: each content once."""

import hashlib
from collections.abc import Iterable
from pathlib import Path

from unisono.curation.records import Case, Outcome, Rejection
from unisono.curation.store import Store
from unisono.errors import DataError, UnisonoError
from unisono.retrieval.scan import FoundFile, content_hash, scan

SAME_BYTES, UNREADABLE = "same bytes as another file", "cannot be read"
_STAGE = "scan"


def find_sources(sources: Iterable[str | Path], store: Store) -> tuple[list[Case], list[Rejection]]:
    """All files of folders, in the order of their hashes, and those that are left out.

    Bytes are read once; a file of known size and time of change keeps its hash.

    Raises:
        MediaNotFoundError, MediaAccessError: a source cannot be read.
        DataError: there are no files.
    """
    first: dict[str, Case] = {}
    rejections = []
    found = sorted(scan(sources), key=lambda file: file.path)
    if not found:
        raise DataError("there are no files in what was named")
    for file in found:
        try:
            content = _hashed(file, store)
        except UnisonoError as error:
            rejections.append(_rejected(file, UNREADABLE, str(error)))
            continue
        if content in first:
            rejections.append(_rejected(file, SAME_BYTES, first[content].path))
        else:
            first[content] = Case(file.path, content)
    return [first[content] for content in sorted(first)], rejections


def _hashed(file: FoundFile, store: Store) -> str:
    state = f"{file.path}\0{file.size_bytes}\0{file.modified_ns}"
    key = hashlib.sha256(state.encode("utf-8", "surrogateescape")).hexdigest()
    known = store.get(_STAGE, key, str)
    if known is not None:
        return str(known.record)
    content = content_hash(file.path)
    store.put(_STAGE, key, Outcome(content))
    return content


def _rejected(file: FoundFile, reason: str, detail: str) -> Rejection:
    path = file.path.encode("utf-8", "backslashreplace").decode()
    return Rejection("file", path, path, _STAGE, reason, detail)
