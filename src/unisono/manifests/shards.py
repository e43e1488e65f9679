"""WebDataset: tars read in their order; members of one key are a row.

Read with Python's own `tarfile`: the reader of `datasets` decodes sounds to encode them again.
"""

import json
import tarfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from unisono.errors import BadRowError, DataError
from unisono.manifests.files import fingerprint, titles
from unisono.manifests.parse import MEDIA, parse_row
from unisono.manifests.place import Place
from unisono.manifests.row import Row
from unisono.media import DEFAULT_LIMITS

_ENDINGS = {
    "image": ("jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff"),
    "audio": ("wav", "flac", "mp3", "ogg", "opus", "m4a", "aac"),
    "video": ("mp4", "webm", "mkv", "mov", "avi"),
    "text": ("txt", "caption", "cap"),
}
_KIND_OF = {ending: kind for kind, endings in _ENDINGS.items() for ending in endings}


class Tars:
    """WebDataset: members of one key (their name up to the first dot) are a row.

    Attributes:
        fingerprint: of all files.
    """

    def __init__(self, paths: Sequence[Path], media: Path | None) -> None:
        """Look at the shards; nothing is read yet.

        Raises:
            DataError: one cannot be read.
        """
        self._paths = sorted(paths)
        self._media = media
        self.fingerprint = fingerprint(self._paths)

    def stream(self, start: int = 0) -> Iterator[Row | BadRowError]:
        """The rows from number `start` on; those before are passed over unread.

        Raises:
            DataError: a shard is torn.
        """
        number = 0
        for path, title in zip(self._paths, titles(self._paths), strict=True):
            place = Place(self._media or path.parent)
            try:
                with tarfile.open(path) as archive:
                    for key, group in groupby(filter(tarfile.TarInfo.isfile, archive), _key):
                        members = list(group)
                        if number >= start:
                            yield _row(archive, members, f"{title}:{key}", place)
                        number += 1
                    _check_end(archive)
            except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
                raise DataError(f"the shard '{path}' is torn: {error}") from error


def _check_end(archive: tarfile.TarFile) -> None:
    """A header cut short must be an error; `tarfile` takes it for the end."""
    file = archive.fileobj
    if file is None:
        return
    file.seek(archive.offset)
    if 0 < len(file.read(tarfile.BLOCKSIZE)) < tarfile.BLOCKSIZE:
        raise tarfile.ReadError("it ends within a header")


def _row(
    archive: tarfile.TarFile, members: Sequence[tarfile.TarInfo], name: str, place: Place
) -> Row | BadRowError:
    try:
        contents = {member.name: _content(archive, member, name) for member in members}
        by_name = {known: data for path, data in contents.items() for known in _names(path)}
        return parse_row(_said(contents, name), name, Place(place.folder, by_name))
    except BadRowError as error:
        return error


def _key(member: tarfile.TarInfo) -> str:
    folder, slash, name = member.name.rpartition("/")
    return folder + slash + name.partition(".")[0]


def _names(path: str) -> set[str]:
    """What a .json may call a member: "a/7.seg.png", "7.seg.png" or "seg.png"."""
    base = path.rpartition("/")[2]
    return {path, base, base.partition(".")[2]}


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> bytes:
    if member.size > DEFAULT_LIMITS.max_bytes:
        raise BadRowError(f"{name}: a medium may have {DEFAULT_LIMITS.max_bytes:,} bytes")
    file = archive.extractfile(member)
    return b"" if file is None else file.read()


def _said(contents: Mapping[str, bytes], name: str) -> dict[str, Any]:
    """A row's members -> the row: a .json has fields, other endings tell the kind.

    Of several members of a kind the one with the shortest ending is meant, "7.png" before
    "7.seg.png", unless the .json names them.
    """
    endings = {path.rpartition("/")[2].partition(".")[2].lower(): path for path in contents}
    row = _fields(contents[endings["json"]], name) if "json" in endings else {}
    named = {known for path in contents for known in _names(path)}
    filled = {kind for kind in MEDIA if _is_named(row.get(kind), named)}
    for ending, path in sorted(endings.items(), key=lambda item: item[0].count(".")):
        kind = _KIND_OF.get(ending.rpartition(".")[2])
        if kind is None or kind in filled or "messages" in row:
            continue
        filled.add(kind)
        row[kind] = _decoded(contents[path], name) if kind == "text" else contents[path]
    return row


def _is_named(value: Any, names: set[str]) -> bool:
    return isinstance(value, list) or (isinstance(value, str) and value in names)


def _fields(content: bytes, name: str) -> dict[str, Any]:
    try:
        said = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadRowError(f"{name}: its .json is not JSON: {error}") from None
    if not isinstance(said, dict):
        raise BadRowError(f"{name}: its .json must be an object")
    return said


def _decoded(content: bytes, name: str) -> str:
    try:
        return content.decode().strip()
    except UnicodeDecodeError:
        raise BadRowError(f"{name}: its text is not UTF-8") from None
