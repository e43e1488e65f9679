"""What a file is cut into."""

from dataclasses import dataclass

from unisono.errors import MediaDecodeError
from unisono.runtime.embedder import Item


class NotSearchableError(MediaDecodeError):
    """A file of a kind that is not searched, such as a program; a walk passes it over."""


@dataclass(frozen=True, eq=False)
class Piece:
    """A part of a file that is found for itself.

    Attributes:
        modality: "text", "image", "audio", "video" or "page".
        item: for `Embedder.embed`, decoded.
        start_s, end_s: where in a sound or video.
        page: of a document, from 1.
        text: the passage, or the words on a page.
        duration_s: of the whole sound or video.
        thumbnail: a small JPEG.
    """

    modality: str
    item: Item
    start_s: float | None = None
    end_s: float | None = None
    page: int | None = None
    text: str = ""
    duration_s: float | None = None
    thumbnail: bytes | None = None
