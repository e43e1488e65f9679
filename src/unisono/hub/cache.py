"""Where fetched files stand on disk, and who may write there.

    parts/<part>/<file>             verified files, never half ones
    verified/<part>/<file>.json     stamps: this file was hashed and has not changed since
    downloads/<part>/               what is being fetched; may be deleted at any time
    locks/<part>.lock               held by the one process that fetches this part
    derived/<name>/                 made from fetched files or a user's own; may be deleted

Knows paths, locks and what a full disk means; nothing of networks.
"""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from unisono.errors import CacheError
from unisono.hub.catalog import CatalogFile, Part
from unisono.hub.progress import Progress
from unisono.hub.verify import check_file, stamp_holds, write_stamp

# EFBIG is a limit on file sizes, which to the person at the keyboard is the same as no room.
DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def default_cache_folder() -> Path:
    """`UNISONO_CACHE` if set (a location, not a behaviour), else the user's cache folder."""
    named = os.environ.get("UNISONO_CACHE")
    return Path(named).expanduser() if named else platformdirs.user_cache_path("unisono")


@dataclass(frozen=True)
class Cache:
    """The cache under one folder."""

    folder: Path

    @classmethod
    def at(cls, folder: Path | str | None) -> "Cache":
        """The cache in `folder`, or the default one."""
        return cls(Path(folder).expanduser() if folder else default_cache_folder())

    def part_folder(self, part: Part) -> Path:
        """Where the part's verified files stand."""
        return self.folder / "parts" / part.name

    def downloads_folder(self, part: Part) -> Path:
        """Where the part's files arrive; on the same file system as `part_folder`."""
        return self.folder / "downloads" / part.name

    def path(self, part: Part, file: CatalogFile) -> Path:
        """Where a verified file stands, or will."""
        return self.part_folder(part) / file.name

    def _stamp(self, part: Part, file: CatalogFile) -> Path:
        return self.folder / "verified" / part.name / f"{file.name}.json"

    def has(self, part: Part, file: CatalogFile, *, reread: bool = False) -> bool:
        """Whether the file is there; what is there is verified, with `reread` byte by byte.

        Raises:
            IncompleteFileError: the file is there and too short.
            ChecksumError: the file is there and is another.
            CacheError: the cache cannot be read.
        """
        path, stamp = self.path(part, file), self._stamp(part, file)
        with self.faults():
            if not path.exists():
                return False
            if not reread and stamp_holds(stamp, path, file.sha256):
                return True
            check_file(path, file, part.name)
        write_stamp(stamp, path, file.sha256)
        return True

    def looks_complete(self, part: Part) -> bool:
        """Whether every file is there with its size; nothing is read."""
        paths = [(self.path(part, file), file.size) for file in part.files]
        return all(path.is_file() and path.stat().st_size == size for path, size in paths)

    def place(self, temporary: Path, part: Part, file: CatalogFile) -> None:
        """Move a file that was just verified to its place, in one step."""
        path = self.path(part, file)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.replace(temporary, path)
        write_stamp(self._stamp(part, file), path, file.sha256)

    def drop_downloads(self, part: Part) -> None:
        """Forget archives and halves of a part that is complete."""
        shutil.rmtree(self.downloads_folder(part), ignore_errors=True)

    @contextmanager
    def lock(self, part: Part, progress: Progress) -> Iterator[None]:
        """Be the only process that fetches this part; the system frees the lock of a dead one."""
        path = self.folder / "locks" / f"{part.name}.lock"
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            progress.note(f"another process is fetching '{part.name}'; waiting for it")
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def derived(self, name: str, write: Callable[[Path], None]) -> Path:
        """A folder of files made from others, from the cache or made now.

        It appears whole or not at all; what a killed process left of it is removed.

        Args:
            name: another one whenever the content would be another.
            write: fills the empty folder it is given.

        Raises:
            CacheError: the cache cannot be written.
        """
        folder = self.folder / "derived" / name
        if folder.is_dir():
            return folder
        with self.faults():
            folder.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(folder.with_suffix(".lock")):
                if not folder.is_dir():  # another process may have made it meanwhile
                    _fill(folder, write)
        return folder

    @contextmanager
    def faults(self) -> Iterator[None]:
        """Turn what the operating system says about the cache into one line.

        Raises:
            CacheError: the disk is full, or the folder cannot be read or written.
        """
        try:
            yield
        except OSError as error:
            why = os.strerror(error.errno) if error.errno else str(error)
            advice = "free some room" if error.errno in DISK_FULL else "change its permissions"
            raise CacheError(
                f"the cache '{self.folder}' cannot be used: {why}; {advice}, "
                "or set UNISONO_CACHE to another folder"
            ) from error


def _fill(folder: Path, write: Callable[[Path], None]) -> None:
    unfinished = folder.with_name(f".unfinished-{folder.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        write(unfinished)
        os.replace(unfinished, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)
