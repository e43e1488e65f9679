"""What a search finds: one piece of a file, and how near it is."""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Hit:
    """A piece of a file that answers a query.

    Attributes:
        path: of the file.
        modality: "text", "image", "audio", "video" or "page".
        score: cosine similarity to the query, in [-1, 1].
        start_s, end_s: where the piece is in a sound or video; None elsewhere.
        page: of a document, from 1; None elsewhere.
        text: the passage, or "".
        thumbnail: a small JPEG, if there is one.
        id: of the piece, the same in every run; `file_of` finds its file.
    """

    path: str
    modality: str
    score: float
    start_s: float | None = None
    end_s: float | None = None
    page: int | None = None
    text: str = ""
    thumbnail: bytes | None = None
    id: str = ""

    @classmethod
    def of_row(cls, row: Mapping[str, Any], score: float) -> "Hit":
        """From a row of the table; columns it has besides are passed over."""
        names = ("path", "modality", "start_s", "end_s", "page", "thumbnail")
        columns: dict[str, Any] = {name: row.get(name) for name in names}
        return cls(score=score, text=row.get("text") or "", id=row.get("id") or "", **columns)

    @property
    def place(self) -> str:
        """Where in the file the piece is, for people: "0:05-0:15", "page 3", or ""."""
        if self.page is not None:
            return f"page {self.page}"
        if self.start_s is None:
            return ""
        if self.end_s is None:
            return _clock(self.start_s)
        return f"{_clock(self.start_s)}-{_clock(self.end_s)}"

    @property
    def name(self) -> str:
        """The file's name without its folders."""
        return Path(self.path).name

    def as_json(self, *, thumbnail: bool = False) -> dict[str, Any]:
        """JSON values; a key without a value is null.

        Args:
            thumbnail: also give the preview, as a `data:` URL.
        """
        entry: dict[str, Any] = {
            "id": self.id,
            "path": self.path,
            "modality": self.modality,
            "score": round(self.score, 6),
            "start_s": self.start_s,
            "end_s": self.end_s,
            "page": self.page,
            "text": self.text,
        }
        if thumbnail:
            entry["thumbnail"] = self.thumbnail and _data_url(self.thumbnail)
        return entry


def _clock(seconds: float) -> str:
    """75.5 -> "1:15.5"; tenths only where there are any."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    whole, tenth = divmod(rest, 10)
    said = f"{minutes}:{whole:02}"
    if minutes >= 60:
        said = f"{minutes // 60}:{minutes % 60:02}:{whole:02}"
    return f"{said}.{tenth}" if tenth else said


def _data_url(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
