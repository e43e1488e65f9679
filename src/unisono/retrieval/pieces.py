"""A file -> the pieces that are searched for: what it is, is told by its bytes.

Pictures are one piece; sounds, videos, texts and documents are cut. Nothing here knows a model:
a piece carries an item for `Embedder.embed`.
"""

from collections.abc import Callable, Iterator
from pathlib import PurePath

from unisono.errors import MediaStreamMissingError
from unisono.media import load_audio, load_image
from unisono.media.source import open_source
from unisono.retrieval.piece import NotSearchableError, Piece
from unisono.retrieval.pieces_audio import audio_pieces
from unisono.retrieval.pieces_pdf import page_pieces
from unisono.retrieval.pieces_text import TEXT_SUFFIXES, text_pieces
from unisono.retrieval.pieces_video import video_pieces
from unisono.retrieval.thumbnail import jpeg

_HEAD_BYTES = 4096


def _suffixes(listed: str) -> frozenset[str]:
    return frozenset(listed.split())


_IMAGE_SUFFIXES = _suffixes(
    ".avif .bmp .gif .ico .jfif .jpe .jpeg .jpg .png .ppm .pgm .tga .tif .tiff .webp"
)
_AUDIO_SUFFIXES = _suffixes(".aac .aif .aiff .au .flac .m4a .mp3 .oga .ogg .opus .wav .wma")
_VIDEO_SUFFIXES = _suffixes(".3gp .avi .flv .m4v .mkv .mov .mp4 .mpeg .mpg .ogv .ts .webm .wmv")
_MAGIC: tuple[tuple[bytes, int, str], ...] = (
    (b"%PDF-", 0, "pdf"),
    (b"\x89PNG", 0, "image"),
    (b"\xff\xd8\xff", 0, "image"),
    (b"GIF8", 0, "image"),
    (b"BM", 0, "image"),
    (b"II*\0", 0, "image"),
    (b"MM\0*", 0, "image"),
    (b"WEBP", 8, "image"),
    (b"ftypavif", 4, "image"),
    (b"WAVE", 8, "audio"),
    (b"fLaC", 0, "audio"),
    (b"ID3", 0, "audio"),
    (b"FORM", 0, "audio"),
    (b"AVI ", 8, "container"),
    (b"OggS", 0, "container"),
    (b"\x1a\x45\xdf\xa3", 0, "container"),
    (b"ftyp", 4, "container"),
)
"""Bytes, where they stand, and what they begin; a container may have a picture or not."""


def pieces(path: str) -> Iterator[Piece]:
    """The pieces of a file, in its own order.

    Raises:
        NotSearchableError: it is neither picture, sound, video, text nor document.
        MediaError: it cannot be opened or decoded, or is too large.
        MissingExtraError: a document, without the reader of documents.
    """
    kind = kind_of(path)
    yield from _READERS[kind](path)


def kind_of(path: str) -> str:
    """ "image", "audio", "container", "text" or "pdf", by the first bytes, then by the name.

    Raises:
        NotSearchableError: it is none of them.
        MediaError: it cannot be opened, or is empty.
    """
    with open_source(path, "media") as opened:
        head = opened.stream.read(_HEAD_BYTES)
    for magic, place, kind in _MAGIC:
        if head[place : place + len(magic)] == magic:
            return kind
    suffix = PurePath(path).suffix.lower()
    named = {"image": _IMAGE_SUFFIXES, "audio": _AUDIO_SUFFIXES, "container": _VIDEO_SUFFIXES}
    for kind, suffixes in named.items():
        if suffix in suffixes:
            return kind
    if suffix in TEXT_SUFFIXES and b"\0" not in head:
        return "text"
    raise NotSearchableError(f"'{path}' is neither picture, sound, video, text nor document")


def _image_pieces(path: str) -> Iterator[Piece]:
    picture = load_image(path)
    yield Piece("image", {"image": picture}, thumbnail=jpeg(picture))


def _audio_pieces(path: str) -> Iterator[Piece]:
    yield from audio_pieces(load_audio(path))


def _container_pieces(path: str) -> Iterator[Piece]:
    """A video, or a sound in a container that could have held one."""
    try:
        yield from video_pieces(path)
    except MediaStreamMissingError:  # before the first piece
        yield from _audio_pieces(path)


_READERS: dict[str, Callable[[str], Iterator[Piece]]] = {
    "image": _image_pieces,
    "audio": _audio_pieces,
    "container": _container_pieces,
    "text": text_pieces,
    "pdf": page_pieces,
}
