"""One searchable piece of a file, and the table's columns that hold it.

Shapes: D width of the embeddings.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from unisono.runtime.embedder import Vector

if TYPE_CHECKING:
    import pyarrow

ABOUT_FILES = ("path", "content", "size_bytes", "modified_ns")
"""Columns that are the same in all rows of a file."""
SHOWN = ("id", "path", "modality", "start_s", "end_s", "page", "text", "thumbnail")
"""Columns of which a `Hit` is made."""


@dataclass(frozen=True)
class FileInfo:
    """A file as it was when it was read.

    Attributes:
        path: absolute.
        size_bytes, modified_ns: of the file system; the moment in nanoseconds since 1970.
        content: SHA-256 of its bytes, in hex.
    """

    path: str
    size_bytes: int
    modified_ns: int
    content: str


@dataclass(frozen=True, eq=False)
class Record:
    """A row.

    Attributes:
        file: that the piece is of.
        number: of the piece in its file, from 0.
        modality: "text", "image", "audio", "video" or "page".
        vector: float32 [D] of length 1.
        start_s, end_s: where in a sound or video; None elsewhere.
        page: of a document, from 1.
        text: the passage, or "".
        duration_s: of the whole sound or video.
        thumbnail: a small JPEG.
    """

    file: FileInfo
    number: int
    modality: str
    vector: Vector
    start_s: float | None = None
    end_s: float | None = None
    page: int | None = None
    text: str = ""
    duration_s: float | None = None
    thumbnail: bytes | None = None

    def row(self) -> dict[str, Any]:
        """Column -> value."""
        return {
            "id": record_id(self.file.path, self.number),
            **{name: getattr(self.file, name) for name in ABOUT_FILES},
            "number": self.number,
            "modality": self.modality,
            "start_s": self.start_s,
            "end_s": self.end_s,
            "page": self.page,
            "text": self.text,
            "duration_s": self.duration_s,
            "thumbnail": self.thumbnail,
            "vector": self.vector,
        }


def record_id(path: str, number: int) -> str:
    """The same for the same piece of the same file, in every run."""
    return hashlib.sha256(f"{number}\0{path}".encode("utf-8", "surrogateescape")).hexdigest()[:32]


def schema(width: int, metadata: Mapping[str, str]) -> "pyarrow.Schema":
    """The columns, for vectors of a width."""
    import pyarrow as pa

    fields = [
        key_field("id"),
        pa.field("path", pa.string()),
        pa.field("content", pa.string()),
        pa.field("size_bytes", pa.int64()),
        pa.field("modified_ns", pa.int64()),
        pa.field("number", pa.int32()),
        pa.field("modality", pa.string()),
        pa.field("start_s", pa.float64()),
        pa.field("end_s", pa.float64()),
        pa.field("page", pa.int32()),
        pa.field("text", pa.string()),
        pa.field("duration_s", pa.float64()),
        pa.field("thumbnail", pa.binary()),
        pa.field("vector", pa.list_(pa.float32(), width)),
    ]
    return pa.schema(fields, metadata=dict(metadata))


def key_field(name: str) -> "pyarrow.Field":
    """A column by which writers that insert the same row at once are told of each other.

    Said in the schema, it is there from the table's first version on; an entry of its own would
    come after a moment in which another process may write, or this one be killed.
    """
    import pyarrow as pa

    metadata = {"lance-schema:unenforced-primary-key:position": "1"}
    return pa.field(name, pa.string(), nullable=False, metadata=metadata)


def arrow_table(rows: Sequence[Mapping[str, Any]], width: int) -> "pyarrow.Table":
    """Rows as the table takes them."""
    import pyarrow as pa

    columns: dict[str, Any] = {}
    for field in schema(width, {}):
        values = [row[field.name] for row in rows]
        if field.name == "vector":
            flat = np.asarray(values, dtype=np.float32).reshape(-1)
            columns[field.name] = pa.FixedSizeListArray.from_arrays(pa.array(flat), width)
        else:
            columns[field.name] = pa.array(values, type=field.type)
    return pa.table(columns, schema=schema(width, {}))
