"""Files of this machine that requests may name: those below the folders that were allowed.

A path is resolved, must lie below a folder that is resolved too, and is then opened folder by
folder without following links: one that is put there in the meantime leads nowhere. What is not
allowed and what is not there get the same answer, so that nobody learns which files exist.
"""

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote, urlsplit

from unisono.errors import MediaAccessError, MediaTooLargeError
from unisono.media.source import shorten

_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)
_FILE = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)


class LocalFiles:
    """See the module."""

    def __init__(self, folders: Iterable[str]) -> None:
        """Resolve the folders.

        Raises:
            MediaAccessError: one is none.
        """
        self._folders = tuple(Path(os.path.realpath(one)) for one in folders)
        for one in self._folders:
            if not one.is_dir():
                raise MediaAccessError(f"{str(one)!r} is not a folder, so no files are read there")

    def read(self, address: str, most_bytes: int) -> bytes:
        """The content of a `file:` URL or an absolute path.

        Raises:
            MediaAccessError: there is none that may be read.
            MediaTooLargeError: it has more bytes.
        """
        refused = MediaAccessError(f"{shorten(address)} is not a file that this server reads")
        try:
            path = Path(os.path.realpath(_path(address)))
            folder = next((one for one in self._folders if path.is_relative_to(one)), None)
            if folder is None or path == folder:
                raise refused
            return _content(folder, path.relative_to(folder), most_bytes)
        except (OSError, ValueError):
            raise refused from None


def _path(address: str) -> str:
    """The path that an address means.

    Raises:
        ValueError: it means none of this machine, or none that begins at the root.
    """
    path = address
    if address[:5].lower() == "file:":
        parts = urlsplit(address)
        if parts.netloc not in ("", "localhost"):
            raise ValueError("a file of another machine")
        path = unquote(parts.path)
    if not path.startswith("/") or "\0" in path:
        raise ValueError("not a path from the root")
    return path


def _content(folder: Path, inside: Path, most_bytes: int) -> bytes:
    held = os.open(folder, _FOLDER)
    try:
        for name in inside.parts[:-1]:
            deeper = os.open(name, _FOLDER, dir_fd=held)
            os.close(held)
            held = deeper
        file = os.open(inside.parts[-1], _FILE, dir_fd=held)
    finally:
        os.close(held)
    with open(file, "rb") as stream:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise OSError("not a regular file")
        content = stream.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise MediaTooLargeError(f"the file has more than {most_bytes:,} bytes")
    return content
