"""Parquet, through `datasets`: by row number, or as a stream."""

import bisect
from collections.abc import Iterator, Sequence
from importlib import import_module
from itertools import accumulate
from pathlib import Path
from typing import Any

from unisono.errors import BadRowError, DataError, MissingExtraError
from unisono.manifests.files import fingerprint, titles
from unisono.manifests.parse import parse_row
from unisono.manifests.place import Place
from unisono.manifests.row import Row


class _Tables:
    """Parquet files in the order of their names, and where each one's rows begin."""

    def __init__(self, paths: Sequence[Path], media: Path | None) -> None:
        """Read how many rows there are.

        Raises:
            DataError: a file cannot be read.
            MissingExtraError: datasets is not installed.
        """
        self._datasets = _library()
        self._paths = sorted(paths)
        self._titles = titles(self._paths)
        self._media = media
        self._ends = list(accumulate(map(_count, self._paths)))
        self.fingerprint = fingerprint(self._paths)

    def _file(self, index: int) -> tuple[int, int]:
        """Which file a row is in, and its number there."""
        which = bisect.bisect_right(self._ends, index)
        return which, index - (self._ends[which - 1] if which else 0)

    def _row(self, said: Any, index: int) -> Row:
        which, number = self._file(index)
        place = Place(self._media or self._paths[which].parent)
        return parse_row(said, f"{self._titles[which]}:{number}", place)

    def _load(self, first: int = 0, **options: Any) -> Any:
        """The data set of the files from number `first` on."""
        files = [str(path) for path in self._paths[first:]]
        try:
            return self._datasets.load_dataset(
                "parquet", data_files=files, split="train", **options
            )
        except Exception as error:  # whatever Arrow raises; the reason is in its cause
            reason = error.__cause__ or error
            raise DataError(f"manifest '{files[0]}' cannot be read: {reason}") from error


class StreamedTable(_Tables):
    """Parquet, row by row.

    Attributes:
        fingerprint: of all files.
    """

    def stream(self, start: int = 0) -> Iterator[Row | BadRowError]:
        """The rows from number `start` on; whole files before it are not opened.

        Raises:
            DataError: a file is torn.
        """
        first, skipped = self._file(start)
        if first == len(self._paths):
            return
        # Undecoded, media stay the bytes that they are.
        rows = self._load(first, streaming=True).decode(False).skip(skipped)
        try:
            for index, said in enumerate(rows, start):
                try:
                    yield self._row(said, index)
                except BadRowError as error:
                    yield error
        except (OSError, ValueError, self._datasets.exceptions.DatasetsError) as error:
            raise DataError(f"'{self._paths[first]}' or one after it is torn: {error}") from error


class Table(_Tables):
    """Parquet by row number, through Arrow's memory map.

    Attributes:
        fingerprint: of all files.
    """

    def __init__(self, paths: Sequence[Path], media: Path | None) -> None:
        """Convert the files to Arrow's form, in the cache of `datasets`, unless they are there.

        Raises:
            DataError: a file cannot be read.
            MissingExtraError: datasets is not installed.
        """
        super().__init__(paths, media)
        self._rows: Any = self._load().with_format("arrow") if len(self) else ()

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Row:
        if not 0 <= index < len(self):
            raise IndexError(f"there are {len(self)} rows, but {index} was asked for")
        # Arrow's own form is not decoded either.
        (said,) = self._rows[index : index + 1].to_pylist()
        return self._row(said, index)


def _library() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("datasets", "train") from error
    datasets.utils.logging.disable_progress_bar()
    return datasets


def _count(path: Path) -> int:
    """Rows of a file, which its last bytes tell."""
    # It comes with datasets; it has no type stubs.
    parquet = import_module("pyarrow.parquet")
    try:
        return int(parquet.read_metadata(path).num_rows)
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"manifest '{path}' cannot be read: {reason}") from error
