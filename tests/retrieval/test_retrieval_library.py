"""A library over folders that change: nothing lost, nothing doubled, nothing embedded twice."""

import multiprocessing
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import recordings
from fake_embedder import COLOURS, FakeEmbedder
from PIL import Image

from unisono.errors import DataError, MediaDecodeError, MediaError
from unisono.retrieval import Filter, Library, Query
from unisono.retrieval import table as lance


@pytest.fixture
def media(tmp_path: Path) -> Path:
    folder = tmp_path / "media"
    (folder / "notes").mkdir(parents=True)
    for name, colour in COLOURS.items():
        Image.new("RGB", (40, 30), colour).save(folder / f"{name}.png")
    (folder / "notes" / "colours.txt").write_text("red and green\n" * 60, encoding="utf-8")
    (folder / "high.wav").write_bytes(recordings.make_audio(seconds=12))
    return folder


@pytest.fixture
def library(tmp_path: Path) -> Library:
    return Library(tmp_path / "library", FakeEmbedder())


def pieces_of(library: Library) -> list[tuple[str, int]]:
    held = library.table.rows_of(library.table.files())
    return [(Path(row["path"]).name, row["number"]) for row in held]


def test_indexed_and_found(library: Library, media: Path) -> None:
    report = library.index([media])
    assert (report.new, report.unchanged, report.failures) == (8, 0, [])
    assert len(library) == report.pieces > 8
    (best, *_) = library.search("red", where=Filter(modalities=("image",)))
    assert Path(best.path).name == "red.png"
    assert best.thumbnail


def test_hits_are_those_of_numpy(library: Library, media: Path) -> None:
    library.index([media])
    vectors = np.concatenate([block for _, block in library.table.vectors()])
    query = library.embedder.embed(text="green")[0]
    expected = np.sort(vectors @ query)[::-1][:5]
    assert np.allclose([hit.score for hit in library.search("green", limit=5)], expected, atol=1e-6)


def test_a_second_run_does_nothing(library: Library, media: Path) -> None:
    library.index([media])
    embedded, version = library.embedder.pieces.copy(), library.table.version
    report = library.index([media])
    assert (report.new, report.unchanged) == (0, 8)
    assert library.embedder.pieces == embedded
    assert library.table.version - version <= 1  # the tidying up


def test_changes_are_followed_and_nothing_is_embedded_twice(library: Library, media: Path) -> None:
    library.index([media])
    before = library.embedder.pieces["image"]
    (media / "red.png").rename(media / "notes" / "it's red.png")
    shutil.copy(media / "green.png", media / "green again.png")
    (media / "blue.png").unlink()
    report = library.index([media])
    assert (report.new, report.again, report.deleted) == (0, 2, 2)
    assert library.embedder.pieces["image"] == before
    names = {name for name, _ in pieces_of(library)}
    assert {"it's red.png", "green again.png", "green.png"} <= names
    assert not {"red.png", "blue.png"} & names


def test_a_file_that_shrinks_leaves_no_piece_behind(library: Library, media: Path) -> None:
    library.index([media])
    (media / "notes" / "colours.txt").write_text("blue", encoding="utf-8")
    library.index([media])
    assert [hit.text for hit in library.search("blue", where=Filter(modalities=("text",)))] == [
        "blue"
    ]


def test_bad_files_stop_or_are_noted(library: Library, media: Path) -> None:
    (media / "broken.png").write_bytes(b"\x89PNG and no more")
    (media / "empty.wav").write_bytes(b"")
    (media / "program").write_bytes(b"\x7fELF\0")
    with pytest.raises(MediaError, match=r"broken\.png"):
        library.index([media])
    report = library.index([media], skip_errors=True)
    assert len(report.failures) == 2
    assert report.passed_over == 1
    again = library.index([media], skip_errors=True)
    assert not again.failures  # known to be broken, and unchanged
    assert len(library.failures()) == 2
    (media / "empty.wav").write_bytes(recordings.make_audio(seconds=1))
    assert library.index([media], skip_errors=True).new == 1
    assert [Path(one.file.path).name for one in library.failures()] == ["broken.png"]


def test_a_failed_file_is_tried_again_on_request(library: Library, media: Path) -> None:
    (media / "broken.png").write_bytes(b"\x89PNG and no more")
    library.index([media], skip_errors=True)
    assert len(library.index([media], skip_errors=True, retry=True).failures) == 1


def test_similar_and_duplicates(library: Library, media: Path) -> None:
    shutil.copy(media / "green.png", media / "green again.png")
    library.index([media])
    assert Path(library.similar(media / "green.png")[0].path).name == "green again.png"
    groups = [{Path(hit.path).name for hit in group} for group in library.duplicates()]
    assert {"green.png", "green again.png"} in groups
    outside = media.parent / "outside.png"
    Image.new("RGB", (20, 20), COLOURS["blue"]).save(outside)
    assert Path(library.similar(outside)[0].path).name == "blue.png"


def test_a_sum_of_parts(library: Library, media: Path) -> None:
    library.index([media])
    query = Query.of(text="red green", minus_text="green")
    best = library.search(query, where=Filter(modalities=("image",)))[0]
    assert Path(best.path).name == "red.png"


def test_models_side_by_side(library: Library, media: Path, tmp_path: Path) -> None:
    library.index([media])
    other = Library(library.uri, FakeEmbedder(width=32, name="other"))
    assert len(other) == 0
    other.index([media])
    assert [(one.model, one.width) for one in other.models()] == [("fake", 64), ("other", 32)]
    assert len(library) == len(other)


def test_reading_while_writing(library: Library, media: Path) -> None:
    library.index([media / "red.png"])
    reader = Library(library.uri, FakeEmbedder())
    assert len(reader) == 1
    library.index([media])
    assert len(reader) == len(library) > 1
    assert Path(reader.search("green")[0].path).exists()


def test_a_newer_library_is_left_alone(
    library: Library, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.index([media])
    monkeypatch.setattr(lance, "FORMAT", 0)
    with pytest.raises(DataError, match="newer version"):
        Library(library.uri, FakeEmbedder())
    monkeypatch.undo()
    assert len(Library(library.uri, FakeEmbedder())) == len(library)


def test_a_full_disk_is_one_clear_error(
    library: Library, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library.index([media / "red.png"])

    def full(rows: object, width: int) -> object:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(lance, "arrow_table", full)
    with pytest.raises(DataError, match="no space is left"):
        library.index([media])
    monkeypatch.undo()
    assert [Path(hit.path).name for hit in library.search("red")] == ["red.png"]
    assert library.index([media]).new == 7


def test_a_damaged_library_is_one_clear_error(library: Library, media: Path) -> None:
    library.index([media])
    for manifest in Path(library.uri).rglob("*.manifest"):
        manifest.write_bytes(b"nonsense")
    with pytest.raises(DataError):
        Library(library.uri, FakeEmbedder())


def test_a_file_that_vanishes_while_it_is_read(
    library: Library, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from unisono.retrieval import indexing

    def gone(path: str) -> object:
        os.unlink(path)
        raise MediaDecodeError(f"'{path}' has gone")

    monkeypatch.setattr(indexing, "pieces", gone)
    report = library.index([media], skip_errors=True)
    assert len(report.failures) == 8
    assert len(library) == 0


def test_progress_is_told(library: Library, media: Path) -> None:
    told = []
    library.index([media], progress=told.append)
    assert (told[-1].done, told[-1].total, told[-1].left_s) == (8, 8, 0)
    assert told[-1].files_per_s > 0


def _write(uri: str, folder: str) -> None:
    Library(uri, FakeEmbedder()).index([folder])


@pytest.mark.slow
def test_two_writers_at_once(library: Library, media: Path) -> None:
    """The same files from two processes: each piece is there once."""
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write, args=(library.uri, str(media))) for _ in range(2)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert [writer.exitcode for writer in writers] == [0, 0]
    held = pieces_of(library)
    assert len(set(held)) == len(held) == len(library)
    assert library.index([media]).unchanged == 8
