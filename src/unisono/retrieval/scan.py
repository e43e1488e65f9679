"""Which files there are, and what has become of those that are known.

Knows folders and hashes, and neither tables nor media.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from unisono.errors import MediaAccessError, MediaNotFoundError, UnisonoError
from unisono.retrieval.record import FileInfo

_BLOCK_BYTES = 1 << 20


@dataclass(frozen=True)
class FoundFile:
    """A file on the disk, not opened yet.

    Attributes:
        path: absolute.
        size_bytes, modified_ns: as the file system says.
    """

    path: str
    size_bytes: int
    modified_ns: int


@dataclass
class Changes:
    """What a walk found, against what is known.

    Attributes:
        new: files to be read: unknown ones, and those whose bytes have changed.
        again: known under other names, or touched: their pieces stay as they are. With each its
            path in the library, which may be the same.
        deleted: known paths that are gone from below what was scanned.
        unchanged: how many files.
        unreadable: files whose bytes could not be read, and why.
    """

    new: list[FileInfo] = field(default_factory=list)
    again: list[tuple[str, FileInfo]] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    unchanged: int = 0
    unreadable: list[tuple[FoundFile, UnisonoError]] = field(default_factory=list)


def scan(sources: Iterable[str | Path]) -> Iterator[FoundFile]:
    """The files that are meant, each once, in the order of their names.

    A folder is walked whole. Hidden files and folders, links to folders and what is no regular
    file are passed over, unless they are named themselves.

    Raises:
        MediaNotFoundError: a source does not exist.
        MediaAccessError: a source may not be read, or is no file or folder.
    """
    seen: set[str] = set()
    for source in sources:
        for path in _paths(absolute(source)):
            found = _found(path)
            if found is not None and found.path not in seen:
                seen.add(found.path)
                yield found


def absolute(source: str | Path) -> str:
    """Without "..", and with the links among its folders kept."""
    return os.path.abspath(os.path.expanduser(source))


def content_hash(path: str) -> str:
    """SHA-256 of a file's bytes, in hex.

    Raises:
        MediaNotFoundError: it has gone.
        MediaAccessError: it may not be read.
    """
    digest = hashlib.sha256()
    try:
        with open(path, "rb") as file:
            while block := file.read(_BLOCK_BYTES):
                digest.update(block)
    except FileNotFoundError:
        raise MediaNotFoundError(f"'{_printable(path)}' has gone") from None
    except OSError as error:
        raise MediaAccessError(f"'{_printable(path)}' cannot be read: {error.strerror}") from None
    return digest.hexdigest()


def compare(
    found: Iterable[FoundFile],
    known: Mapping[str, FileInfo],
    sources: Iterable[str | Path],
    *,
    hashed: Callable[[str], str] = content_hash,
) -> Changes:
    """What is to be done about files.

    Size and time of change tell whether a known file is to be looked at at all; its bytes tell
    whether it has changed, or is another known file under a new name.

    Args:
        found: by `scan`.
        known: path -> file, of the library.
        sources: that were scanned; nothing outside of them counts as deleted.
        hashed: path -> content.
    """
    changes, seen = Changes(), set()
    by_content = {file.content: path for path, file in known.items()}
    for file in found:
        seen.add(file.path)
        before = known.get(file.path)
        if before and _stats(before) == _stats(file):
            changes.unchanged += 1
            continue
        try:
            file.path.encode()  # the table's texts are UTF-8
            name = hashed(file.path)
        except UnicodeEncodeError:
            error = MediaAccessError(f"'{_printable(file.path)}' has a name that is not UTF-8")
            changes.unreadable.append((file, error))
            continue
        except UnisonoError as error:
            changes.unreadable.append((file, error))
            continue
        info = FileInfo(file.path, file.size_bytes, file.modified_ns, name)
        if before and before.content == name:
            changes.again.append((file.path, info))
        elif name in by_content:
            changes.again.append((by_content[name], info))
        else:
            changes.new.append(info)
    roots = [absolute(source) for source in sources]
    changes.deleted = [path for path in known if path not in seen and _is_below(path, roots)]
    return changes


def _stats(file: FileInfo | FoundFile) -> tuple[int, int]:
    return file.size_bytes, file.modified_ns


def _is_below(path: str, roots: Iterable[str]) -> bool:
    return any(path == root or path.startswith(root.rstrip(os.sep) + os.sep) for root in roots)


def _paths(source: str) -> Iterator[str]:
    if os.path.isdir(source):
        if not os.access(source, os.R_OK | os.X_OK):
            raise MediaAccessError(f"the folder '{_printable(source)}' may not be read")
        yield from _walk(source)
    elif os.path.isfile(source):
        yield source
    elif os.path.lexists(source):
        raise MediaAccessError(f"'{_printable(source)}' is neither a file nor a folder")
    else:
        raise MediaNotFoundError(f"'{_printable(source)}' does not exist")


def _walk(folder: str) -> Iterator[str]:
    # Links to folders are not followed: their loops have no end.
    for parent, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        yield from (os.path.join(parent, name) for name in sorted(files) if name[0] != ".")


def _found(path: str) -> FoundFile | None:
    """None if it is no regular file, or has gone in the meantime."""
    if not os.path.isfile(path):
        return None
    try:
        info = os.stat(path)
    except OSError:
        return None
    return FoundFile(path, info.st_size, info.st_mtime_ns)


def _printable(path: str) -> str:
    return path.encode("utf-8", "backslashreplace").decode()
