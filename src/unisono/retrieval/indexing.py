"""Files -> rows: decoded side by side, embedded in batches, written in intervals.

A file is written whole or not at all, so whatever is stopped, by Ctrl-C or kill -9, goes on where
the last interval ended.
"""

import itertools
import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any

import numpy as np
from PIL import Image

from unisono.errors import UnisonoError
from unisono.retrieval.piece import NotSearchableError, Piece
from unisono.retrieval.pieces import pieces
from unisono.retrieval.record import FileInfo, Record, record_id
from unisono.retrieval.scan import Changes
from unisono.retrieval.table import Failure, FailureTable, PieceTable
from unisono.runtime.embedder import Embedder, Vector

WORKERS = max(1, (os.cpu_count() or 1) // 2)
"""Threads that open files. The model's own threads wait for each other: beside them, more than half
the cores make it slower (2 cores, a run each on a loaded machine: 150 files/s with 1, 86 with 2,
30 with 4)."""
INTERVAL_S = 5.0
INTERVAL_ROWS = 500
"""A commit follows whichever is over first."""
_BATCH = 16
_PIECES_AT_ONCE = 8 * _BATCH
_BYTES_AT_ONCE = 256 << 20
"""Decoded, so that a folder of large photographs fits into memory."""
_AHEAD = 2
"""Files opened ahead, per worker."""


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        done: files read, failed ones included.
        total: files that are to be read.
        pieces: written, or about to be.
        failed: files.
        seconds: since reading began.
    """

    done: int
    total: int
    pieces: int
    failed: int
    seconds: float

    @property
    def files_per_s(self) -> float:
        """0 before anything is done."""
        return self.done / self.seconds if self.seconds else 0.0

    @property
    def left_s(self) -> float | None:
        """About how long the rest takes; None before anything is done."""
        return (self.total - self.done) / self.files_per_s if self.done else None


@dataclass
class IndexReport:
    """What a run has done.

    Attributes:
        new, again, deleted, unchanged: files; "again" are moved, copied and touched ones, whose
            vectors were there already.
        passed_over: files of kinds that are not searched.
        pieces: written for the new ones.
        failures: files that could not be read.
        seconds: that it took.
    """

    new: int = 0
    again: int = 0
    deleted: int = 0
    unchanged: int = 0
    passed_over: int = 0
    pieces: int = 0
    failures: list[Failure] = field(default_factory=list)
    seconds: float = 0.0


@dataclass
class Outcome:
    """What became of a file: rows, or an error."""

    file: FileInfo
    rows: list[dict[str, Any]] = field(default_factory=list)
    error: UnisonoError | None = None


Work = Callable[[Sequence[FileInfo]], Iterator[list[Outcome]]]
"""Files -> what becomes of them, batch by batch; who does it, and where, is an engine's affair."""


class Indexer:
    """Brings a model's tables up to date with folders."""

    def __init__(
        self,
        table: PieceTable,
        failures: FailureTable,
        work: Work,
        *,
        skip_errors: bool = False,
        progress: Callable[[Progress], None] | None = None,
    ) -> None:
        """Write into tables what an engine makes of files.

        Args:
            table, failures: of one model.
            work: the engine, with that model.
            skip_errors: note files that cannot be read and go on, rather than stop at the first.
            progress: is told after every batch.
        """
        self._table, self._failures, self._work = table, failures, work
        self._skip_errors, self._progress = skip_errors, progress
        self._report = IndexReport()
        self._failed_before = frozenset(failures.all())
        self._noted = 0

    def run(self, changes: Changes) -> IndexReport:
        """Do what is to be done.

        Raises:
            DataError: the library cannot be written.
            MediaError: a file cannot be read, unless they are skipped.
        """
        started = time.perf_counter()
        self._report, self._noted = IndexReport(unchanged=changes.unchanged), 0
        for found, error in changes.unreadable:
            info = FileInfo(found.path, found.size_bytes, found.modified_ns, "")
            self._fail(Outcome(info, error=error))
        first, copies = _copies_apart(changes.new)
        lost = self._again(changes.again)
        self._read_new([*first, *lost])
        lost = self._again(copies)
        self._read_new(lost)
        self._forget(changes.deleted)
        self._table.improve()
        self._report.seconds = time.perf_counter() - started
        return self._report

    def _again(self, again: Sequence[tuple[str, FileInfo]]) -> list[FileInfo]:
        """Give pieces that are there to files that have the same bytes.

        Returns:
            The files whose pieces are there no more: of many that have changed their names among
            each other, one may have been written over before its turn.
        """
        lost = []
        for batch in _batched(again, INTERVAL_ROWS):
            rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
            for row in self._table.rows_of(path for path, _ in batch):
                rows.setdefault((row["path"], row["content"]), []).append(row)
            given = [(file, rows.get((path, file.content), [])) for path, file in batch]
            self._table.put([_renamed(row, file) for file, own in given for row in own])
            self._report.again += sum(1 for _, own in given if own)
            lost += [file for file, own in given if not own]
        return lost

    def _forget(self, deleted: Sequence[str]) -> None:
        """Files that are gone, and what was held of those that can be read no more."""
        # One whose bytes cannot be read at all may be locked for a moment: it stays as it was.
        broken = {one.file.path for one in self._report.failures if one.file.content}
        self._table.remove({*deleted, *broken})
        self._report.deleted = len(deleted)

    def _read_new(self, files: Sequence[FileInfo]) -> None:
        started, waiting, done = time.perf_counter(), _Interval(), 0
        for outcomes in self._work(files):
            for outcome in outcomes:
                waiting.rows += self._taken(outcome)
            done += len(outcomes)
            if waiting.is_over():
                self._write(waiting)
                waiting = _Interval()
            self._tell(done, len(files), time.perf_counter() - started)
        self._write(waiting)

    def _taken(self, outcome: Outcome) -> list[dict[str, Any]]:
        if outcome.error is not None:
            self._fail(outcome)
            return []
        self._report.new += 1
        self._report.pieces += len(outcome.rows)
        return outcome.rows

    def _fail(self, outcome: Outcome) -> None:
        if isinstance(outcome.error, NotSearchableError):
            self._report.passed_over += 1
            return
        if not self._skip_errors and outcome.error is not None:
            raise outcome.error
        self._report.failures.append(Failure(_storable(outcome.file), str(outcome.error)))

    def _write(self, waiting: "_Interval") -> None:
        self._table.put(waiting.rows)
        self._failures.remove({row["path"] for row in waiting.rows} & self._failed_before)
        self._failures.put(self._report.failures[self._noted :])
        self._noted = len(self._report.failures)

    def _tell(self, done: int, total: int, seconds: float) -> None:
        if self._progress is not None:
            failed = len(self._report.failures)
            self._progress(Progress(done, total, self._report.pieces, failed, seconds))


def _copies_apart(
    files: Sequence[FileInfo],
) -> tuple[list[FileInfo], list[tuple[str, FileInfo]]]:
    """One file of each content, and the others, each with the path of that one."""
    first: dict[str, FileInfo] = {}
    for file in files:
        first.setdefault(file.content, file)
    copies = [(first[file.content].path, file) for file in files if first[file.content] is not file]
    return list(first.values()), copies


def without_failed(changes: Changes, failures: Mapping[str, Failure]) -> Changes:
    """Leave out what failed before and has not changed since."""
    kept = [file for file in changes.new if not _is_same_failure(file, failures)]
    return replace(changes, new=kept)


def _is_same_failure(file: FileInfo, failures: Mapping[str, Failure]) -> bool:
    failure = failures.get(file.path)
    return failure is not None and failure.file.content == file.content


@dataclass
class _Interval:
    """Rows waiting to be written together."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    began: float = field(default_factory=time.perf_counter)

    def is_over(self) -> bool:
        too_many = len(self.rows) >= INTERVAL_ROWS
        return too_many or time.perf_counter() - self.began >= INTERVAL_S


@dataclass
class Read:
    """A file with its pieces, or why there are none."""

    file: FileInfo
    pieces: list[Piece] = field(default_factory=list)
    error: UnisonoError | None = None


def local(embedder: Embedder) -> Work:
    """The engine of this process: threads open files, the model embeds them in batches."""

    def work(files: Sequence[FileInfo]) -> Iterator[list[Outcome]]:
        for reads in _in_batches(_read_ahead(files)):
            yield embedded(embedder, reads)

    return work


def read(file: FileInfo) -> Read:
    """Open a file and cut it."""
    try:
        found = list(pieces(file.path))
        return Read(_unless_changed(file), found)
    except UnisonoError as error:
        return Read(file, error=error)


def embedded(embedder: Embedder, reads: Sequence[Read]) -> list[Outcome]:
    """The rows of files that were read, all pieces embedded together."""
    owners = [place for place, read in enumerate(reads) for _ in read.pieces]
    items = [piece.item for read in reads for piece in read.pieces]
    vectors: list[list[Vector]] = [[] for _ in reads]
    errors = [read.error for read in reads]
    for one in embedder.embed_each(items, batch_size=_BATCH):
        place = owners[one.index]
        if one.vector is None:
            errors[place] = errors[place] or one.error
        else:
            vectors[place].append(one.vector)
    return [
        Outcome(one.file, [] if error else _rows(one, own), error)
        for one, own, error in zip(reads, vectors, errors, strict=True)
    ]


def _unless_changed(file: FileInfo) -> FileInfo:
    """A file that somebody wrote to while it was read is read again the next time."""
    try:
        now = os.stat(file.path)
    except OSError:
        return file  # gone since: the next scan will see it
    same = (now.st_size, now.st_mtime_ns) == (file.size_bytes, file.modified_ns)
    return file if same else replace(file, modified_ns=0, content="")


def _read_ahead(files: Iterable[FileInfo]) -> Iterator[Read]:
    """Files opened by several threads, in order, and a bounded number of them at a time."""
    waiting: deque[Future[Read]] = deque()
    coming = iter(files)
    with ThreadPoolExecutor(WORKERS) as pool:
        try:
            for file in itertools.islice(coming, WORKERS * _AHEAD):
                waiting.append(pool.submit(read, file))
            while waiting:
                yield waiting.popleft().result()
                for file in itertools.islice(coming, 1):
                    waiting.append(pool.submit(read, file))
        finally:
            for one in waiting:
                one.cancel()


def _in_batches(reads: Iterable[Read]) -> Iterator[list[Read]]:
    """As many files as have about `_PIECES_AT_ONCE` pieces, or `_BYTES_AT_ONCE`, together."""
    held: list[Read] = []
    count = size_bytes = 0
    for one in reads:
        held.append(one)
        count += max(1, len(one.pieces))
        size_bytes += sum(_decoded_bytes(list(piece.item.values())) for piece in one.pieces)
        if count >= _PIECES_AT_ONCE or size_bytes >= _BYTES_AT_ONCE:
            yield held
            held, count, size_bytes = [], 0, 0
    if held:
        yield held


def _decoded_bytes(content: Any) -> int:
    """About how much memory pictures, samples, frames and texts take."""
    if isinstance(content, Image.Image):
        return content.width * content.height * len(content.getbands())
    if isinstance(content, np.ndarray):
        return int(content.nbytes)
    if isinstance(content, list | tuple):
        return sum(map(_decoded_bytes, content))
    if is_dataclass(content):
        return sum(_decoded_bytes(getattr(content, one.name)) for one in fields(content))
    return len(content) if isinstance(content, str | bytes) else 0


def _rows(read: Read, vectors: Sequence[Vector]) -> list[dict[str, Any]]:
    return [
        Record(
            read.file,
            number,
            piece.modality,
            vector,
            start_s=piece.start_s,
            end_s=piece.end_s,
            page=piece.page,
            text=piece.text,
            duration_s=piece.duration_s,
            thumbnail=piece.thumbnail,
        ).row()
        for number, (piece, vector) in enumerate(zip(read.pieces, vectors, strict=True))
    ]


def _renamed(row: Mapping[str, Any], file: FileInfo) -> dict[str, Any]:
    return {**row, **vars(file), "id": record_id(file.path, row["number"])}


def _storable(file: FileInfo) -> FileInfo:
    return replace(file, path=file.path.encode("utf-8", "backslashreplace").decode())


def _batched(values: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    for start in range(0, len(values), size):
        yield values[start : start + size]
