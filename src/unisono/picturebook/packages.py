"""The files inside the packages that the picturebook is made of.

Debian and npm packages are archives that anyone may have put anything into: members are read as
streams, one after the other, within a limit of size, and never written where an archive says.
"""

import tarfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from functools import cache
from pathlib import Path, PurePosixPath

from unisono.hub import Catalog, deb_files, fetch_part, load_catalog, npm_files, read_catalog

LARGEST_MEMBER_BYTES = 64 * 2**20


SOURCES = Path(__file__).parent / "sources"


@cache
def sources() -> Catalog:
    """Every package the picturebook is made of: where it is, its sha256, its licence."""
    catalogs = [load_catalog(), *(read_catalog(path) for path in sorted(SOURCES.glob("*.toml")))]
    parts = {name: part for catalog in catalogs for name, part in catalog.parts.items()}
    return Catalog(models={}, parts=parts)


def package_files(part: str) -> list[Path]:
    """The package files of a part of `sources`, fetched and verified.

    Raises:
        HubError: they cannot be had.
    """
    folder = fetch_part(part, catalog=sources())
    return [folder / file.name for file in sources().part(part).files]


def members(
    part: str, wanted: Callable[[str], bool], *, largest_bytes: int = LARGEST_MEMBER_BYTES
) -> Iterator[tuple[str, bytes]]:
    """The regular files inside a part's packages, in the packages' order.

    Args:
        part: of `sources`; its files are Debian (.deb) or npm (.tgz) packages.
        wanted: told a member's path, without leading "./".
        largest_bytes: larger members are passed over.

    Yields:
        A member's path and its bytes.

    Raises:
        HubError: the packages cannot be had, or are broken.
    """
    for path in package_files(part):
        with _opened(path) as archive:
            for info in archive:
                name = str(PurePosixPath(info.name))
                if info.isfile() and info.size <= largest_bytes and wanted(name):
                    stream = archive.extractfile(info)
                    if stream is not None:
                        yield name, stream.read()


def _opened(path: Path) -> AbstractContextManager[tarfile.TarFile]:
    return deb_files(path) if path.suffix == ".deb" else npm_files(path)
