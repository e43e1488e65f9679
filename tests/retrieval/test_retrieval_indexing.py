"""What a run does about copies, swapped names, files that break, and large pictures."""

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fake_embedder import FakeEmbedder
from PIL import Image

from unisono.errors import MediaAccessError
from unisono.retrieval import Library, indexing, scan
from unisono.retrieval.indexing import Read, local
from unisono.retrieval.piece import Piece
from unisono.retrieval.record import FileInfo


@pytest.fixture
def media(tmp_path: Path) -> Path:
    folder = tmp_path / "media"
    folder.mkdir()
    for number in range(9):
        (folder / f"{number}.txt").write_text(f"number {number}", encoding="utf-8")
    return folder


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "library", FakeEmbedder())


def texts(library: Library) -> dict[str, str]:
    """File name -> text, checked against its vector."""
    rows = library.table.rows_of(library.table.files())
    for row in rows:
        expected = library.embedder.embed(text=row["text"])[0]
        assert np.allclose(row["vector"], expected, atol=1e-6), row["path"]
    return {Path(row["path"]).name: row["text"] for row in rows}


def test_copies_are_embedded_once(library: Library, media: Path) -> None:
    for name in ("copy.txt", "another.txt"):
        shutil.copy(media / "3.txt", media / name)
    report = library.index([media])
    assert (report.new, report.again, report.pieces) == (9, 2, 9)
    assert library.embedder.pieces["text"] == 9
    found = texts(library)
    assert found["copy.txt"] == found["another.txt"] == "number 3"
    assert len(found) == len(library) == 11


def test_copies_of_a_broken_file_fail_each_for_itself(library: Library, media: Path) -> None:
    for name in ("a.png", "b.png"):
        (media / name).write_bytes(b"\x89PNG and no more")
    report = library.index([media], skip_errors=True)
    assert sorted(Path(one.file.path).name for one in report.failures) == ["a.png", "b.png"]
    assert all(Path(one.file.path).name in one.reason for one in report.failures)


@pytest.mark.parametrize("interval", [2, 500])
@pytest.mark.parametrize("step", [1, -1, 4])
def test_names_that_go_round(
    library: Library, media: Path, monkeypatch: pytest.MonkeyPatch, interval: int, step: int
) -> None:
    """Files renumbered among each other, in one commit or in several."""
    monkeypatch.setattr(indexing, "INTERVAL_ROWS", interval)
    library.index([media])
    for number in range(9):
        os.rename(media / f"{number}.txt", media / f"{number}.tmp")
    for number in range(9):
        os.rename(media / f"{number}.tmp", media / f"{(number + step) % 9}.txt")
        # A later time of change, as a copy over the file would have.
        os.utime(media / f"{(number + step) % 9}.txt", ns=(number + 1, number + 1))
    report = library.index([media])
    assert report.again + report.new == 9
    assert report.again > 3
    assert texts(library) == {f"{(i + step) % 9}.txt": f"number {i}" for i in range(9)}
    assert library.index([media]).unchanged == 9


def test_a_file_that_breaks_is_not_found_as_it_was(library: Library, media: Path) -> None:
    picture = media / "a.png"
    Image.new("RGB", (9, 9), "red").save(picture)
    library.index([media])
    picture.write_bytes(b"\x89PNG and no more")
    assert len(library.index([media], skip_errors=True).failures) == 1
    assert "a.png" not in texts(library)
    picture.unlink()
    library.index([media])
    assert library.failures() == []


def test_a_locked_file_stays_as_it_was(
    library: Library, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.index([media])
    (media / "1.txt").write_text("other words", encoding="utf-8")

    def locked(path: str) -> str:
        raise MediaAccessError(f"'{path}' cannot be read: it is locked")

    monkeypatch.setitem(scan.compare.__kwdefaults__, "hashed", locked)
    report = library.index([media], skip_errors=True)
    assert [one.reason.endswith("it is locked") for one in report.failures] == [True]
    assert texts(library)["1.txt"] == "number 1"
    monkeypatch.undo()
    assert library.index([media], skip_errors=True).new == 1
    assert texts(library)["1.txt"] == "other words"
    assert library.failures() == []


def test_failures_elsewhere_are_kept(library: Library, media: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "a.png").write_bytes(b"\x89PNG and no more")
    library.index([elsewhere], skip_errors=True)
    shutil.rmtree(elsewhere)  # or a disk that is not plugged in
    library.index([media])
    assert len(library.failures()) == 1


def test_large_pictures_are_held_in_small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "_BYTES_AT_ONCE", 100_000)
    held: list[int] = []

    def reads(side_px: int, kind: str) -> list[Read]:
        pixels = np.zeros((side_px, side_px, 3), np.uint8)
        items: dict[str, Any] = {
            "image": {"image": Image.fromarray(pixels)},
            "video": {"video": [pixels], "text": "snow"},
        }
        file = FileInfo("/a", 1, 1, "a")
        return [Read(file, [Piece("image", items[kind])]) for _ in range(10)]

    for kind in ("image", "video"):
        held = [len(batch) for batch in indexing._in_batches(reads(100, kind))]
        assert held == [4, 4, 2]
        held = [len(batch) for batch in indexing._in_batches(reads(10, kind))]
        assert held == [10]


def test_no_more_is_read_than_is_asked_for(media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that stops does not go on reading, and one that goes on reads little ahead."""
    opened: list[str] = []

    def counted(file: FileInfo) -> Read:
        opened.append(file.path)
        return Read(file, [Piece("text", {"text": "a"})])

    monkeypatch.setattr(indexing, "read", counted)
    monkeypatch.setattr(indexing, "_PIECES_AT_ONCE", 4)
    files = [FileInfo(f"/{i}", 1, 1, "a") for i in range(1000)]
    batches = local(FakeEmbedder())(files)
    assert [outcome.file for outcome in next(batches)] == files[:4]
    assert len(opened) <= 4 + indexing.WORKERS * indexing._AHEAD
    batches.close()  # type: ignore[attr-defined]
    assert len(opened) <= 4 + indexing.WORKERS * indexing._AHEAD
