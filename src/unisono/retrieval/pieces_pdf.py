"""Documents page by page: as they look, with the words on them."""

from collections.abc import Iterator
from typing import Any

from unisono.errors import MediaDecodeError, MediaEmptyError, MissingExtraError
from unisono.media.source import open_source
from unisono.retrieval.piece import Piece
from unisono.retrieval.thumbnail import jpeg

_LONGER_SIDE_PX = 768
_MOST_PAGES = 2_000
_MOST_CHARACTERS = 2_000


def page_pieces(path: str) -> Iterator[Piece]:
    """Each page as a picture; its words are kept beside it, for people to read.

    Raises:
        MediaDecodeError: it is damaged, locked, or has too many pages.
        MediaEmptyError: it has no pages.
        MissingExtraError: pypdfium2 is not installed.
    """
    try:
        import pypdfium2
    except ImportError as error:
        raise MissingExtraError("pypdfium2", "retrieval") from error
    with open_source(path, "document") as opened:
        data = opened.stream.read()
    try:
        document = pypdfium2.PdfDocument(data)
    except pypdfium2.PdfiumError as error:
        raise MediaDecodeError(f"the document '{path}' cannot be read: {error}") from None
    try:
        if not 0 < len(document) <= _MOST_PAGES:
            kind = MediaDecodeError if len(document) else MediaEmptyError
            raise kind(f"the document '{path}' has {len(document):,} pages")
        for number in range(len(document)):
            try:
                yield _page(document[number], number + 1)
            except pypdfium2.PdfiumError as error:
                raise MediaDecodeError(f"page {number + 1} of '{path}': {error}") from None
    finally:
        document.close()


def _page(page: Any, number: int) -> Piece:
    width, height = page.get_size()
    scale = min(_LONGER_SIDE_PX / max(width, height, 1.0), 4.0)
    picture = page.render(scale=scale).to_pil().convert("RGB")
    words = " ".join(page.get_textpage().get_text_range().split())[:_MOST_CHARACTERS]
    return Piece("page", {"image": picture}, page=number, text=words, thumbnail=jpeg(picture))
