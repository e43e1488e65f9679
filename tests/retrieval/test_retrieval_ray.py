"""The Ray engine writes the library that the local one writes."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import recordings
from fake_embedder import COLOURS, FakeEmbedder
from PIL import Image

from unisono.errors import DataError, MissingExtraError
from unisono.retrieval import Library
from unisono.retrieval.indexing import Outcome
from unisono.retrieval.record import FileInfo


@pytest.mark.slow
def test_the_same_rows_and_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray")
    from unisono.retrieval.ray_engine import on_ray

    # The workers of a cluster on this machine find the fake model as we do.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent))
    media = tmp_path / "media"
    media.mkdir()
    for name, colour in COLOURS.items():
        Image.new("RGB", (40, 30), colour).save(media / f"{name}.png")
    (media / "sound.wav").write_bytes(recordings.make_audio(seconds=12))
    (media / "broken.png").write_bytes(b"\x89PNG and no more")
    (media / "text.txt").write_text("red and green\n" * 60, encoding="utf-8")
    libraries = {}
    for name, engine in {"local": None, "ray": on_ray(FakeEmbedder(), workers=2)}.items():
        library = Library(tmp_path / name, FakeEmbedder())
        report = library.index([media], engine=engine, skip_errors=True)
        assert (report.new, len(report.failures)) == (8, 1)
        rows = library.table.rows_of(library.table.files())
        libraries[name] = sorted(rows, key=lambda row: row["id"])
    local, ray = libraries["local"], libraries["ray"]
    assert len(local) == len(ray)
    for ours, theirs in zip(local, ray, strict=True):
        assert np.allclose(ours.pop("vector"), theirs.pop("vector"), atol=1e-6)
        assert ours == theirs


def test_every_error_comes_back_from_a_worker() -> None:
    from unisono.retrieval.ray_engine import _portable

    missing = Outcome(
        FileInfo("/a.pdf", 1, 1, "a"), error=MissingExtraError("pypdfium2", "retrieval")
    )
    came_back = pickle.loads(pickle.dumps(_portable(missing)))
    assert str(came_back.error) == str(missing.error)
    broken = Outcome(FileInfo("/a.png", 1, 1, "a"), error=DataError("broken"))
    assert isinstance(pickle.loads(pickle.dumps(_portable(broken))).error, DataError)


@pytest.mark.slow
def test_workers_that_cannot_begin_are_one_clear_error(tmp_path: Path) -> None:
    pytest.importorskip("ray")
    from unisono.retrieval.ray_engine import on_ray

    (tmp_path / "a.txt").write_text("red", encoding="utf-8")
    library = Library(tmp_path / "library", FakeEmbedder())
    with pytest.raises(DataError, match="a Ray worker stopped: .*no-such-model"):
        library.index([tmp_path / "a.txt"], engine=on_ray("no-such-model", workers=1))
    assert len(library) == 0
