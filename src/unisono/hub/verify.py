"""Is this file what the catalog says? Size, sha256, and a stamp that remembers the answer.

The sha256 of a file is computed when it arrives and again whenever the file may have changed
since. Whether it may have is read off its inode, size, mtime and ctime: every write, copy,
`touch` or rename changes at least the ctime, which no program can set back. So loading a model
does not read 300 MB just to hash it (0.3 to 1 s), and a file tampered with in place is found.
What a stamp cannot see is a disk that returns other bytes than were written; `unisono pull`
reads everything again.
"""

import hashlib
import json
import os
from pathlib import Path

from unisono.errors import ChecksumError, IncompleteFileError
from unisono.hub.catalog import CatalogFile

CHUNK_BYTES = 1 << 20

# File times tick every few milliseconds. A stamp made within that of the file's last change
# might hide a second change in the same tick, so it is not believed (git does the same with
# its index); the file is hashed once more, and the stamp made then is old enough.
_CLOCK_TICK_NS = 50_000_000


def sha256_of(path: Path) -> str:
    """The file's sha256, 64 hexadecimal digits, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def check_file(path: Path, expected: CatalogFile, part: str) -> None:
    """Check size, then sha256.

    Raises:
        IncompleteFileError: the file is missing or shorter than it must be.
        ChecksumError: the file has too many bytes or other bytes.
    """
    again = f"`unisono pull {part}` fetches it again"
    if not path.is_file():
        raise IncompleteFileError(f"'{path}' is missing; {again}")
    size = path.stat().st_size
    if size < expected.size:
        raise IncompleteFileError(
            f"'{path}' must have {expected.size} bytes, but has {size} instead; {again}"
        )
    # A file of another size has another hash; it need not be read to know that.
    found = sha256_of(path) if size == expected.size else f"that of {size} bytes"
    if found != expected.sha256:
        raise ChecksumError(
            f"sha256 of '{path}' must be {expected.sha256}, but is {found} instead; {again}"
        )


def _fingerprint(path: Path, sha256: str) -> dict[str, int | str]:
    status = path.stat()
    return {
        "sha256": sha256,
        "size": status.st_size,
        "mtime_ns": status.st_mtime_ns,
        "ctime_ns": status.st_ctime_ns,
        "inode": status.st_ino,
    }


def write_stamp(stamp: Path, path: Path, sha256: str) -> None:
    """Remember that `path`, as it stands now, has this sha256.

    A stamp that cannot be written (a cache shared read-only) only costs a hash next time.
    """
    try:
        stamp.parent.mkdir(parents=True, exist_ok=True)
        temporary = stamp.with_name(f"{stamp.name}.{os.getpid()}")
        temporary.write_text(json.dumps(_fingerprint(path, sha256)), encoding="utf-8")
        temporary.replace(stamp)
    except OSError:
        return


def stamp_holds(stamp: Path, path: Path, sha256: str) -> bool:
    """Whether `path` was found to have this sha256 and has not changed since."""
    try:
        remembered = json.loads(stamp.read_text(encoding="utf-8"))
        settled = stamp.stat().st_mtime_ns - path.stat().st_ctime_ns > _CLOCK_TICK_NS
        return settled and remembered == _fingerprint(path, sha256)
    except (OSError, ValueError):
        return False
