"""Files of all kinds, good and bad, cut into pieces."""

import io
from pathlib import Path

import numpy as np
import pypdfium2
import pytest
import recordings
from PIL import Image

from unisono.errors import MediaDecodeError, MediaEmptyError, MediaError, MediaTruncatedError
from unisono.retrieval.piece import NotSearchableError, Piece
from unisono.retrieval.pieces import kind_of, pieces
from unisono.retrieval.pieces_audio import windows
from unisono.retrieval.pieces_text import MOST_WORDS, passages


def cut(folder: Path, name: str, data: bytes) -> list[Piece]:
    path = folder / name
    path.write_bytes(data)
    return list(pieces(str(path)))


def png(colour: str = "red", mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (300, 200), colour).save(buffer, "PNG")
    return buffer.getvalue()


def pdf(pages: int) -> bytes:
    document = pypdfium2.PdfDocument.new()
    for _ in range(pages):
        document.new_page(200, 300)
    buffer = io.BytesIO()
    document.save(buffer)
    document.close()
    return buffer.getvalue()


def test_a_picture_is_one_piece_whatever_its_name(tmp_path: Path) -> None:
    (piece,) = cut(tmp_path, "picture.txt", png(mode="RGBA"))
    assert piece.modality == "image"
    assert max(Image.open(io.BytesIO(piece.thumbnail or b"")).size) == 128


def test_sounds_are_cut_in_windows(tmp_path: Path) -> None:
    found = cut(tmp_path, "sound.wav", recordings.make_audio(seconds=21.5))
    assert [(one.start_s, one.end_s) for one in found] == [(0, 10), (10, 20), (20, 21.5)]
    assert [one.item["audio"].samples.shape for one in found][-1] == (24_000,)


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [(0.2, [(0, 0.2)]), (10.5, [(0, 10.5)]), (11, [(0, 10), (10, 11)]), (20, [(0, 10), (10, 20)])],
)
def test_a_short_rest_belongs_to_the_window_before(
    seconds: float, expected: list[tuple[float, float]]
) -> None:
    assert windows(seconds) == expected


def test_a_video_is_cut_where_its_picture_changes(tmp_path: Path) -> None:
    path = tmp_path / "film.mp4"
    path.write_bytes(recordings.make_video((10, 10, 10, 240, 240, 240), range(0, 6000, 1000)))
    found = list(pieces(str(path)))
    assert [one.modality for one in found] == ["video", "video"]
    assert found[0].end_s == found[1].start_s
    assert found[1].end_s == found[0].duration_s
    dark, light = (np.asarray(one.item["video"][0]).mean() for one in found)
    assert dark < 60
    assert light > 180


def test_passages_lose_nothing_and_fit() -> None:
    text = "One two three. " * 60 + "word " * 130 + "\n漢字" * 500
    found = list(passages(text))
    assert "".join(" ".join(found).split()) == "".join(text.split())
    assert all(len(one.split()) <= MOST_WORDS and len(one) <= 300 for one in found)


def test_a_text_in_any_encoding(tmp_path: Path) -> None:
    assert cut(tmp_path, "a.txt", "жук".encode())[0].text == "жук"
    assert cut(tmp_path, "b.txt", "café".encode("latin-1"))[0].text == "café"


def test_pages_of_a_document(tmp_path: Path) -> None:
    found = cut(tmp_path, "a.pdf", pdf(3))
    assert [(one.modality, one.page) for one in found] == [("page", 1), ("page", 2), ("page", 3)]


@pytest.mark.parametrize(
    ("name", "data", "kind"),
    [
        ("zero.png", b"", MediaEmptyError),
        ("cut.png", png()[:50], MediaTruncatedError),
        ("cut.jpg", b"\xff\xd8\xff\xe0 and no more", MediaError),
        ("spaces.txt", b" \n ", MediaEmptyError),
        ("binary.txt", b"a" * 5000 + b"\0", MediaDecodeError),
        ("cut.pdf", pdf(1)[:100], MediaDecodeError),
        ("noise.mp4", bytes(range(256)) * 20, MediaError),
        ("cut.wav", recordings.make_audio(seconds=1)[:500], MediaTruncatedError),
    ],
)
def test_what_cannot_be_read_says_why(
    tmp_path: Path, name: str, data: bytes, kind: type[MediaError]
) -> None:
    with pytest.raises(kind, match=name):
        cut(tmp_path, name, data)


def test_programs_are_not_searched(tmp_path: Path) -> None:
    with pytest.raises(NotSearchableError):
        cut(tmp_path, "program", b"\x7fELF\0\0\0")
    with pytest.raises(MediaError, match="does not exist"):
        kind_of(str(tmp_path / "gone.png"))
