"""Files out of wheels (zip), npm packages (tar) and Debian packages (ar around tar).

Members are read as streams, in the order and size the reader wants; nothing is ever written
to a path an archive names. Knows no networks; what is wrong with an archive is an
`ArchiveError` whose message is the reason.
"""

import bz2
import gzip
import importlib
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, cast

from unisono.errors import DownloadError
from unisono.hub.verify import CHUNK_BYTES

_AR_MAGIC = b"!<arch>\n"
_AR_HEADER_BYTES = 60
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, lzma.LZMAError, zlib.error, EOFError)


class ArchiveError(DownloadError):
    """An archive is broken or lacks the member; it came in full, but is of no use."""


def chunks_of(stream: IO[bytes]) -> Iterator[bytes]:
    """What is left of a stream, in pieces."""
    while chunk := stream.read(CHUNK_BYTES):
        yield chunk


def zip_member(path: Path, member: str) -> Iterator[bytes]:
    """The bytes of one member of a zip file.

    Raises:
        ArchiveError: no such member, or the archive is broken.
    """
    with _broken(path), zipfile.ZipFile(path) as archive:
        try:
            info = archive.getinfo(member)
        except KeyError:
            raise ArchiveError(f"'{path.name}' has no member '{member}'") from None
        with archive.open(info) as stream:
            yield from chunks_of(stream)


def tar_member(path: Path, member: str) -> Iterator[bytes]:
    """The bytes of one regular file of a (compressed) tar file.

    Raises:
        ArchiveError: no such member, it is a link or folder, or the archive is broken.
    """
    with _broken(path), tarfile.open(path, mode="r|*") as archive:
        yield from _find(archive, member, path.name)


def deb_member(path: Path, member: str) -> Iterator[bytes]:
    """The bytes of one regular file a Debian package would install.

    Raises:
        ArchiveError: no such member, it is a link or folder, or the package is broken.
    """
    with deb_files(path) as archive:
        yield from _find(archive, member, path.name)


@contextmanager
def deb_files(path: Path) -> Iterator[tarfile.TarFile]:
    """The files a Debian package would install, as a tar stream to read once, in order.

    Read members with `extractfile`; the stream is not seekable, and nothing is extracted.

    Raises:
        ArchiveError: the package is broken, or packed in a way that cannot be read here.
    """
    with _broken(path), path.open("rb") as package:
        name, section = _data_section(package, path)
        with _decompressed(section, name) as data, tarfile.open(fileobj=data, mode="r|") as archive:
            yield archive


@contextmanager
def npm_files(path: Path) -> Iterator[tarfile.TarFile]:
    """The files of an npm package (or any tar file), as a tar stream to read once, in order.

    Raises:
        ArchiveError: the package is broken.
    """
    with _broken(path), tarfile.open(path, mode="r|*") as archive:
        yield archive


def _find(archive: tarfile.TarFile, member: str, archive_name: str) -> Iterator[bytes]:
    wanted = PurePosixPath(member)  # './usr/x' and 'usr/x' are the same path
    for info in archive:
        if PurePosixPath(info.name) != wanted:
            continue
        if not info.isfile():
            raise ArchiveError(f"'{member}' in '{archive_name}' is not a regular file")
        yield from chunks_of(cast(IO[bytes], archive.extractfile(info)))
        return
    raise ArchiveError(f"'{archive_name}' has no member '{member}'")


@contextmanager
def _broken(path: Path) -> Iterator[None]:
    try:
        yield
    except (*_BROKEN, RuntimeError, NotImplementedError) as error:
        # zipfile says RuntimeError of an encrypted member, NotImplementedError of an odd packing.
        raise ArchiveError(f"'{path.name}' is a broken archive ({error})") from error
    except OSError as error:
        # gzip and bz2 call bad data an OSError, without a number; a fault of the disk has one.
        if error.errno is not None:
            raise
        raise ArchiveError(f"'{path.name}' is a broken archive ({error})") from error


class _Section:
    """`size` bytes of a file from where it stands; reads as a file that ends there."""

    def __init__(self, stream: BinaryIO, size: int) -> None:
        self._stream = stream
        self._left = size

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes; all that are left when negative."""
        wanted = self._left if size < 0 else min(size, self._left)
        data = self._stream.read(wanted)
        self._left -= len(data)
        return data


def _data_section(package: BinaryIO, path: Path) -> tuple[str, _Section]:
    """Walk the ar members (`ar(5)`) to `data.tar.*`.

    Raises:
        ArchiveError: not an ar file, a size that cannot be, or no such member.
    """
    total = path.stat().st_size
    if package.read(len(_AR_MAGIC)) != _AR_MAGIC:
        raise ArchiveError(f"'{path.name}' is not a Debian package")
    while header := package.read(_AR_HEADER_BYTES):
        name, size = header[:16].decode("ascii", "replace").strip().rstrip("/"), header[48:58]
        whole = len(header) == _AR_HEADER_BYTES and header[58:] == b"`\n"
        if not whole or not size.strip().isdigit() or package.tell() + int(size) > total:
            raise ArchiveError(f"'{path.name}' is a broken Debian package (member '{name}')")
        if name.startswith("data.tar"):
            return name, _Section(package, int(size))
        package.seek(int(size) + int(size) % 2, 1)  # members begin at even offsets
    raise ArchiveError(f"'{path.name}' has no data.tar")


@contextmanager
def _decompressed(section: _Section, name: str) -> Iterator[IO[bytes]]:
    opener = _OPENERS.get(name.removeprefix("data.tar"))
    if opener is None:
        raise ArchiveError(f"'{name}' is packed in a way Unisono does not know")
    with opener(cast(IO[bytes], section)) as stream:
        yield stream


def _zstd(section: IO[bytes]) -> IO[bytes]:
    """Zstandard is in Python from 3.14 on; before, in a package nothing else here needs."""
    for name in ("compression.zstd", "backports.zstd"):
        try:
            return cast(IO[bytes], importlib.import_module(name).ZstdFile(section))
        except ImportError:
            continue
    raise ArchiveError("it is packed with zstd, which needs: pip install backports.zstd")


def _gzip(section: IO[bytes]) -> IO[bytes]:
    return cast(IO[bytes], gzip.GzipFile(fileobj=section))


_OPENERS: dict[str, Callable[[IO[bytes]], AbstractContextManager[IO[bytes]]]] = {
    "": nullcontext,
    ".gz": _gzip,
    ".bz2": bz2.BZ2File,
    ".xz": lzma.LZMAFile,
    ".zst": _zstd,
}
