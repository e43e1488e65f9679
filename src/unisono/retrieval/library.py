"""A library: what is in somebody's folders, to be found by words, pictures and sounds.

    library = Library("media.lance")
    library.index(["~/Pictures", "~/Music"], skip_errors=True)
    library.search(Query.of(text="a dog in the snow"))

Of each model a library holds a table of its own; a search asks one of them.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np

from unisono.errors import DataError
from unisono.retrieval.duplicates import near_duplicates
from unisono.retrieval.filters import Filter
from unisono.retrieval.hit import Hit
from unisono.retrieval.indexing import (
    Indexer,
    IndexReport,
    Progress,
    Work,
    local,
    without_failed,
)
from unisono.retrieval.pieces import pieces
from unisono.retrieval.query import Query, embed_query
from unisono.retrieval.scan import absolute, compare, scan
from unisono.retrieval.table import Entry, Failure, FailureTable, PieceTable, connect, entries
from unisono.runtime import load_embedder
from unisono.runtime.embedder import Embedder, Vector

DEFAULT_MODEL = "onepeace-nano"
_SPARE = 4
"""Pieces asked for per file wanted: the best of a file may not be alone at the front."""


class Library:
    """Pieces of files with their vectors, in Lance tables.

    Attributes:
        uri: a folder, or an address of an object store (`s3://…`, `gs://…`).
        embedder: the model that is asked.
        table: its table.
    """

    def __init__(self, uri: str | Path, model: str | Path | Embedder | None = None) -> None:
        """Open a library, or begin one.

        Args:
            uri: see above.
            model: an embedder, or what `unisono.load_embedder` takes; None for the library's own
                model if it has but one, or else `onepeace-nano`.

        Raises:
            DataError: the library cannot be opened, or a newer version has written it.
            HubError: there is no such model.
            MissingExtraError: lancedb is not installed.
        """
        self.uri = str(uri)
        self._connection = connect(self.uri)
        self.embedder = _embedder(model, self.models())
        made_by = {"model": self.embedder.name, "fingerprint": self.embedder.fingerprint}
        name = _table_name(self.embedder)
        self.table = PieceTable(self._connection, name, width=self.embedder.width, made_by=made_by)
        self._failures = FailureTable(self._connection, name)

    def __len__(self) -> int:
        """Pieces."""
        return len(self.table)

    def models(self) -> list[Entry]:
        """The tables of all models."""
        return entries(self._connection)

    def failures(self) -> list[Failure]:
        """Files that could not be read when they were last seen."""
        return list(self._failures.all().values())

    def index(
        self,
        sources: Iterable[str | Path],
        *,
        skip_errors: bool = False,
        retry: bool = False,
        engine: Work | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> IndexReport:
        """Bring the library up to date with folders and files.

        New and changed files are read, moved and copied ones keep their vectors, deleted ones are
        forgotten. What is written stays written, however the process ends.

        Args:
            sources: folders, walked whole, and files.
            skip_errors: note files that cannot be read, and go on.
            retry: try those again that failed before and have not changed.
            engine: who embeds; None for this process. See `ray_engine`.
            progress: is told how far it is.

        Raises:
            MediaError: a source, or without `skip_errors` a file, cannot be read.
            DataError: the library cannot be written.
        """
        listed = list(sources)
        changes = compare(scan(listed), self.table.files(), listed)
        failed = self._failures.all()
        if not retry:
            changes = without_failed(changes, failed)
        below = compare((), {path: one.file for path, one in failed.items()}, listed).deleted
        self._failures.remove(path for path in below if not os.path.lexists(path))
        indexer = Indexer(
            self.table,
            self._failures,
            engine or local(self.embedder),
            skip_errors=skip_errors,
            progress=progress,
        )
        return indexer.run(changes)

    def search(
        self,
        query: Query | str | Vector,
        *,
        limit: int = 10,
        where: Filter | None = None,
        exact: bool = False,
    ) -> list[Hit]:
        """The pieces nearest to a query, the nearest first.

        Args:
            query: what is looked for; a text stands for itself, a float32 [D] of length 1 too.
            limit: at most so many hits.
            where: what the hits must be like.
            exact: compare with every piece, rather than through the index.

        Raises:
            ConversationError: the query has nothing in it.
            DataError: the limit is none.
            MediaError: something in the query cannot be opened.
        """
        if limit < 1:
            raise DataError(f"limit must be at least 1, but is {limit} instead")
        vector = self._vector(query)
        condition = None if where is None else where.where()
        found = self.table.nearest(vector, limit, where=condition, exact=exact)
        return [Hit.of_row(row, score) for row, score in found]

    def similar(
        self, file: str | Path, *, limit: int = 10, where: Filter | None = None
    ) -> list[Hit]:
        """Pieces of other files that are like a file, each file by its best piece.

        Args:
            file: of the library or not.
            limit: at most so many files.
            where: what the hits must be like.

        Raises:
            MediaError: the file is not in the library and cannot be read.
        """
        path = absolute(file)
        vector = self._vector_of_file(path)
        hits = self.search(vector, limit=(limit + 1) * _SPARE, where=where)
        best: dict[str, Hit] = {}
        for hit in hits:
            if hit.path != path:
                best.setdefault(hit.path, hit)
        return list(best.values())[:limit]

    def duplicates(self, threshold: float = 0.98) -> list[list[Hit]]:
        """Groups of pieces of different files that are nearly the same.

        Args:
            threshold: cosine similarity, in (0, 1].

        Returns:
            The largest group first; a hit's score is the lowest similarity that links its group.

        Raises:
            DataError: the threshold is out of range.
        """
        rows, blocks = [], [np.empty((0, self.table.width), dtype=np.float32)]
        for batch, vectors in self.table.vectors():
            rows += batch
            blocks.append(vectors)
        owners = [row["path"] for row in rows]
        groups = near_duplicates(np.concatenate(blocks), threshold, owners=owners)
        return [
            [Hit.of_row(rows[member], group.similarity) for member in group.members]
            for group in groups
        ]

    def _vector(self, query: Query | str | Vector) -> Vector:
        if isinstance(query, np.ndarray):
            return query
        query = Query.of(text=query) if isinstance(query, str) else query
        return embed_query(self.embedder, query)

    def _vector_of_file(self, path: str) -> Vector:
        """The mean of a file's pieces."""
        rows = self.table.rows_of([path])
        if rows:
            vectors = np.array([row["vector"] for row in rows], dtype=np.float32)
        else:
            vectors = self.embedder.embed([piece.item for piece in pieces(path)])
        mean = vectors.mean(axis=0)
        return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-12), dtype=np.float32)


def _embedder(model: str | Path | Embedder | None, held: list[Entry]) -> Embedder:
    if isinstance(model, Embedder):
        return model
    return load_embedder(_model_of(held) if model is None else model)


def library_model(uri: str | Path) -> str:
    """The model that a library was made with; the default one for none, or for several.

    Raises:
        DataError: the library cannot be opened.
        MissingExtraError: lancedb is not installed.
    """
    return _model_of(entries(connect(str(uri))))


def _model_of(held: list[Entry]) -> str:
    names = {entry.model for entry in held}
    return names.pop() if len(names) == 1 else DEFAULT_MODEL


def _table_name(embedder: Embedder) -> str:
    """Readable, and another one for other weights."""
    slug = re.sub(r"[^a-z0-9]+", "-", Path(embedder.name).name.lower()).strip("-")[:40] or "model"
    digest = hashlib.sha256(embedder.fingerprint.encode()).hexdigest()[:12]
    return f"pieces-{slug}-{digest}"
