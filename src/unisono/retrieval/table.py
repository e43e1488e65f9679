"""The pieces of one model's library in a Lance table: written whole file by whole file.

Knows Lance, and neither files nor models. Lance writes a new version of the table with each
commit and never changes what is there: a reader goes on with the version it opened, and a process
that is killed leaves the last version as it was.

Shapes: N rows, D width of the embeddings, Q queries.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unisono.errors import DataError, MissingExtraError
from unisono.retrieval.commits import begin, insist, names, persist, told
from unisono.retrieval.filters import quoted
from unisono.retrieval.record import ABOUT_FILES, SHOWN, FileInfo, arrow_table, key_field, schema
from unisono.runtime.embedder import Vector

FORMAT = 1
"""Of the columns and their meaning; a library of a later one is not touched."""
INDEX_FROM = 10_000
"""Rows from which an index pays: a search takes 4 ms with one and 7 ms without, of 20,000 rows 4
and 12; below, there is nothing to save."""
PARTITION_ROWS = 4096
PROBES = 32
PROBED = 1 / 3
"""Partitions looked at: this many, or this share of them if that is more; see `build_index`."""

_AT_ONCE = 500  # paths in one condition
_KEPT = timedelta(hours=1)  # versions that a reader may still have open
_META = "unisono."


@dataclass(frozen=True)
class Failure:
    """A file that could not be read.

    Attributes:
        file: as it was then; its content is "" if that could not be read either.
        reason: in words.
    """

    file: FileInfo
    reason: str


@dataclass(frozen=True)
class Entry:
    """A table that a library holds.

    Attributes:
        table: its name.
        model: that made the vectors.
        fingerprint: of the model.
        width: D.
        rows: N.
    """

    table: str
    model: str
    fingerprint: str
    width: int
    rows: int


def connect(uri: str) -> Any:
    """A connection to a library: a folder, or an address such as `s3://…`.

    Raises:
        MissingExtraError: lancedb is not installed.
        DataError: there can be no library.
    """
    try:
        import lancedb
    except ImportError as error:
        raise MissingExtraError("lancedb", "retrieval") from error
    with told(f"the library '{uri}' cannot be opened"):
        return lancedb.connect(uri)


def entries(connection: Any) -> list[Entry]:
    """The tables of pieces that a library holds, by name."""
    found = []
    for name in sorted(names(connection)):
        if name.startswith("pieces-"):
            with told(f"the table '{name}' cannot be read"):
                table = connection.open_table(name)
            meta = _checked_metadata(table)
            found.append(
                Entry(
                    name,
                    meta.get("model", ""),
                    meta.get("fingerprint", ""),
                    table.schema.field("vector").type.list_size,
                    table.count_rows(),
                )
            )
    return found


class PieceTable:
    """One model's table; see the module.

    Attributes:
        name: of the table.
        width: D.
    """

    def __init__(
        self, connection: Any, name: str, *, width: int, made_by: Mapping[str, str]
    ) -> None:
        """Open the table, or make it.

        Args:
            connection: of `connect`.
            name: of the table.
            width: D.
            made_by: "model" and "fingerprint", kept with the table.

        Raises:
            DataError: it was written by a newer version, or has vectors of another width.
        """
        self.name, self.width = name, width
        self._connection = connection
        metadata = {f"{_META}format": str(FORMAT)} | {f"{_META}{k}": v for k, v in made_by.items()}
        begin(connection, name, schema(width, metadata))
        self._check(self._latest())

    def _latest(self) -> Any:
        with told(f"the table '{self.name}' cannot be read"):
            return self._connection.open_table(self.name)

    def _check(self, table: Any) -> None:
        _checked_metadata(table)
        own = table.schema.field("vector").type.list_size
        if own != self.width:
            raise DataError(
                f"the library's vectors have {own} numbers, but the model's have {self.width}"
            )

    def __len__(self) -> int:
        return int(self._latest().count_rows())

    @property
    def version(self) -> int:
        """Rises with every commit."""
        return int(self._latest().version)

    def files(self) -> dict[str, FileInfo]:
        """Path -> file, of all that have pieces."""
        query = self._latest().search().where("number = 0").select(list(ABOUT_FILES))
        return {
            row["path"]: FileInfo(**row)
            for batch in query.to_batches()
            for row in batch.select(list(ABOUT_FILES)).to_pylist()
        }

    def rows_of(self, paths: Iterable[str]) -> list[dict[str, Any]]:
        """All columns of the pieces of files."""
        table, found = self._latest(), []
        for condition in _among(paths):
            for batch in table.search().where(condition).to_batches():
                found += batch.select(table.schema.names).to_pylist()
        return found

    def put(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write whole files, in one commit: what these files had before is gone with it.

        Raises:
            DataError: the disk is full, or others write all the time.
        """
        if not rows:
            return
        paths = {row["path"] for row in rows}
        mine = f"path IN ({', '.join(map(quoted, sorted(paths)))})"

        def write() -> None:
            (
                self._latest()
                .merge_insert("id")
                .when_matched_update_all()
                .when_not_matched_insert_all()
                .when_not_matched_by_source_delete(mine)
                .execute(arrow_table(rows, self.width))
            )

        insist(write, "the pieces cannot be written")

    def remove(self, paths: Iterable[str]) -> None:
        """Forget files.

        Raises:
            DataError: as `put` does.
        """
        for condition in _among(paths):
            insist(partial(self._delete, condition), "pieces cannot be removed")

    def _delete(self, condition: str) -> None:
        self._latest().delete(condition)

    def nearest(
        self, query: Vector, count: int, *, where: str | None = None, exact: bool = False
    ) -> list[tuple[dict[str, Any], float]]:
        """The pieces nearest to a vector, the nearest first, with cosine similarities.

        Args:
            query: float32 [D] of length 1.
            count: at most so many.
            where: condition in SQL that they meet.
            exact: pass the index by.
        """
        with told("the library cannot be searched"):
            asked = self._asked(query, count, exact=exact)
            if where is not None:
                asked = asked.where(where, prefilter=True)
            found = asked.select([*SHOWN, "_distance"]).to_arrow().to_pylist()
        # Lance's "dot" distance is 1 - the product.
        return [(row, 1.0 - row.pop("_distance")) for row in found]

    def _asked(self, query: Vector, count: int, *, exact: bool) -> Any:
        table = self._latest()
        asked = table.search(query).distance_type("dot").limit(count)
        return asked.bypass_vector_index() if exact else asked.nprobes(probes(table.count_rows()))

    def vectors(self) -> Iterator[tuple[list[dict[str, Any]], NDArray[np.float32]]]:
        """Batches of all rows: what is shown of them, and float32 [n, D]."""
        columns = [*SHOWN, "vector"]
        for batch in self._latest().search().select(columns).to_batches():
            flat = batch.column("vector").flatten().to_numpy(zero_copy_only=False)
            yield batch.select(list(SHOWN)).to_pylist(), flat.reshape(-1, self.width)

    def improve(self) -> None:
        """Join small fragments, forget old versions, and build or extend the index if it pays.

        Where other writers come first again and again, it is left to the next time.
        """

        def improve() -> None:
            table = self._latest()
            if not self.is_indexed() and table.count_rows() >= INDEX_FROM:
                build_index(table)
            table.optimize(cleanup_older_than=_KEPT)

        with told("the table cannot be improved"):
            persist(improve)

    def is_indexed(self) -> bool:
        """Whether searches go through an index."""
        return any("vector" in one.columns for one in self._latest().list_indices())

    def recall(self, queries: Vector, count: int = 10) -> float:
        """The share of the exact search's hits that the default one finds.

        Args:
            queries: float32 [Q, D].
            count: hits looked at.
        """
        shares = []
        for query in queries:
            exact = self._ids(query, count, exact=True)
            shares.append(len(exact & self._ids(query, count, exact=False)) / max(1, len(exact)))
        return float(np.mean(shares)) if shares else 1.0

    def _ids(self, query: Vector, count: int, *, exact: bool) -> set[str]:
        asked = self._asked(query, count, exact=exact).select(["id", "_distance"])
        return set(asked.to_arrow()["id"].to_pylist())


class FailureTable:
    """Files that could not be read, beside a table of pieces."""

    def __init__(self, connection: Any, pieces: str) -> None:
        """Open the failures of the table of pieces so called, or make their table."""
        import pyarrow as pa

        self.name = pieces.replace("pieces-", "failures-", 1)
        self._connection = connection
        fields = [
            key_field("path"),
            pa.field("content", pa.string()),
            pa.field("size_bytes", pa.int64()),
            pa.field("modified_ns", pa.int64()),
            pa.field("reason", pa.string()),
        ]
        self._schema = pa.schema(fields)
        begin(connection, self.name, self._schema)

    def all(self) -> dict[str, Failure]:
        """Path -> failure."""
        rows = self._connection.open_table(self.name).to_arrow().to_pylist()
        failures = [Failure(reason=row.pop("reason"), file=FileInfo(**row)) for row in rows]
        return {failure.file.path: failure for failure in failures}

    def put(self, failures: Sequence[Failure]) -> None:
        """Note files; a file's earlier failure is forgotten."""
        import pyarrow as pa

        if failures:
            rows = [vars(one.file) | {"reason": one.reason} for one in failures]
            table = pa.Table.from_pylist(rows, schema=self._schema)
            insist(partial(self._write, table), "failures cannot be written")

    def _write(self, rows: Any) -> None:
        (
            self._connection.open_table(self.name)
            .merge_insert("path")
            .when_matched_update_all()
            .when_not_matched_insert_all()
            .execute(rows)
        )

    def remove(self, paths: Iterable[str]) -> None:
        """Forget failures."""
        for condition in _among(paths):
            insist(partial(self._delete, condition), "failures cannot be removed")

    def _delete(self, condition: str) -> None:
        self._connection.open_table(self.name).delete(condition)


def probes(rows: int) -> int:
    """How many partitions of so many rows are looked at."""
    return max(PROBES, round(PROBED * rows / PARTITION_ROWS))


def build_index(table: Any) -> None:
    """An index over the vectors: partitions of whole vectors (IVF_FLAT).

    Measured on 100,000 vectors of 192 numbers in 1,000 clusters, whose noise was 1 and 2.5 times
    as long as their centres, by recall@10 of both, milliseconds a search, and seconds to build,
    on two busy cores:

        no index                                  1.00   1.00   100    0
        IVF_FLAT of 4096 rows, 32 probes          1.00   1.00    12    1
        IVF_FLAT of 1024 rows, 32 probes          0.98   0.64     6    3
        IVF_PQ, 32 probes, refined 8 times        0.97            9   49
        IVF_HNSW_SQ, refined 8 times              1.00   0.52     8   68

    So many rows are 24 partitions, which the default looks through whole, in memory. Of more rows
    it looks through a third: that finds 0.99 of the hits among 10,800 pictures of Picturebook in
    onepeace-nano's embeddings when pictures are asked for, 0.97 when words are (21 partitions;
    more is found of more). What a graph saves is not worth a minute and half of the hits.
    """
    from lancedb.index import IvfFlat

    partitions = IvfFlat(distance_type="dot", target_partition_size=PARTITION_ROWS)
    table.create_index("vector", config=partitions)


def _checked_metadata(table: Any) -> dict[str, str]:
    """What is kept with a table, if this version can read the table."""
    raw = table.schema.metadata or {}
    prefix = _META.encode()
    metadata = {
        key[len(prefix) :].decode(): value.decode()
        for key, value in raw.items()
        if key.startswith(prefix)
    }
    made = metadata.get("format", "")
    if not made.isdigit() or int(made) > FORMAT:
        raise DataError(
            f"the library was written by a newer version (format {made or 'unknown'}; "
            f"this one reads up to {FORMAT}): update unisono"
        )
    return metadata


def _among(paths: Iterable[str]) -> Iterator[str]:
    listed = sorted(set(paths))
    for start in range(0, len(listed), _AT_ONCE):
        yield f"path IN ({', '.join(map(quoted, listed[start : start + _AT_ONCE]))})"
