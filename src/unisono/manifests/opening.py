"""From paths to a manifest: the reader is chosen by the files' endings."""

import bisect
import glob
import hashlib
import os
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from unisono.errors import DataError
from unisono.manifests.files import JsonArray, JsonLines, holds_lines, titles
from unisono.manifests.manifest import Manifest, StreamedManifest
from unisono.manifests.row import Row
from unisono.manifests.shards import Tars
from unisono.manifests.tables import StreamedTable, Table

_LINES = (".jsonl", ".ndjson")
PathLike = str | os.PathLike[str]


def open_manifest(
    path: PathLike | Sequence[PathLike],
    *,
    media: PathLike | None = None,
    streaming: bool | None = None,
) -> Manifest | StreamedManifest:
    """Open one manifest, or several of a kind as one.

    Args:
        path: of a file, a pattern with `*`, or a list of these: .jsonl, .json (one array),
            .tar (WebDataset) or .parquet.
        media: folder that paths in rows are relative to; None for each manifest's own.
        streaming: read in order instead of by number. None streams tars alone, which have no
            other way; Parquet may do both.

    Raises:
        DataError: a file is missing, empty, or of no kind that is read; kinds are mixed.
        MissingExtraError: Parquet needs `datasets`.
    """
    paths = _found([path] if isinstance(path, str | os.PathLike) else path)
    folder = None if media is None else Path(media)
    endings = {one.suffix.lower() for one in paths}
    opened: Manifest | StreamedManifest
    if endings <= {*_LINES, ".json"}:
        opened = _texts(paths, folder, streaming=bool(streaming))
    elif endings == {".tar"}:
        opened = _tars(paths, folder, streaming=streaming is not False)
    elif endings == {".parquet"}:
        opened = (StreamedTable if streaming else Table)(paths, folder)
    else:
        raise DataError(
            f"a manifest must be .jsonl, .json, .tar or .parquet, one kind at a time, "
            f"but is {', '.join(sorted(one or 'without an ending' for one in endings))}: "
            f"'{paths[0]}'"
        )
    if not (len(opened) if isinstance(opened, Manifest) else _any(opened)):
        raise DataError(f"manifest '{paths[0]}' has no rows")
    return opened


class Joined:
    """Several manifests, one behind the other."""

    def __init__(self, manifests: Sequence[Manifest]) -> None:
        self._manifests = list(manifests)
        self._ends = list(accumulate(map(len, manifests)))
        known = "".join(one.fingerprint for one in manifests)
        self.fingerprint = hashlib.sha256(known.encode()).hexdigest()

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Row:
        if not 0 <= index < len(self):
            raise IndexError(f"there are {len(self)} rows, but {index} was asked for")
        which = bisect.bisect_right(self._ends, index)
        return self._manifests[which][index - (self._ends[which - 1] if which else 0)]


def _texts(paths: Sequence[Path], media: Path | None, *, streaming: bool) -> Manifest:
    if streaming:
        raise DataError("JSON manifests are read by number, so streaming must not be asked for")
    opened = []
    for path, title in zip(paths, titles(paths), strict=True):
        by_line = path.suffix.lower() in _LINES or holds_lines(path)
        opened.append((JsonLines if by_line else JsonArray)(path, media, title))
    return opened[0] if len(opened) == 1 else Joined(opened)


def _tars(paths: Sequence[Path], media: Path | None, *, streaming: bool) -> Tars:
    if not streaming:
        raise DataError("tars are read in order, so streaming must not be false")
    return Tars(paths, media)


def _any(rows: StreamedManifest) -> bool:
    return next(rows.stream(0), None) is not None


def _found(patterns: Sequence[PathLike]) -> list[Path]:
    paths: list[Path] = []
    for pattern in (os.fspath(one) for one in patterns):
        if Path(pattern).is_file():
            paths.append(Path(pattern))
            continue
        matched = sorted(one for one in glob.glob(pattern, recursive=True) if os.path.isfile(one))
        if not matched:
            if os.path.isdir(pattern):
                raise DataError(f"a manifest must be a file, but '{pattern}' is a folder")
            raise DataError(f"there is no manifest '{pattern}'")
        paths += map(Path, matched)
    if not paths:
        raise DataError("a manifest must be named, but the list is empty")
    return paths
