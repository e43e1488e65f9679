"""retrieval.py: its files differ, its opponents do the same work, its sums are right."""

from pathlib import Path

import numpy as np
import pytest
import retrieval
from fake_embedder import FakeEmbedder

from unisono.retrieval.pieces import pieces
from unisono.retrieval.scan import content_hash
from unisono.retrieval.table import connect


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    retrieval.make_files(40, folder)
    return folder


def test_files_differ_and_are_one_piece_each(media: Path) -> None:
    files = [path for path in media.rglob("*") if path.is_file()]
    assert len({content_hash(str(path)) for path in files}) == len(files) == 40
    found = [piece.modality for path in files for piece in pieces(str(path))]
    assert {kind: found.count(kind) for kind in set(found)} == {"image": 28, "audio": 8, "text": 4}


def test_one_at_a_time_stores_everything(media: Path, tmp_path: Path) -> None:
    files = sorted(path for path in media.rglob("*") if path.is_file())[:10]
    embedder = FakeEmbedder()
    whole, storing = retrieval.one_at_a_time(files, tmp_path / "alone", embedder)
    assert 0 < storing < whole
    assert embedder.calls == len(files)
    assert connect(str(tmp_path / "alone")).open_table("vectors").count_rows() == len(files)


def test_sides_search_the_same_vectors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    monkeypatch.setattr(retrieval, "QUERIES", 12)
    sides = retrieval.vectors_side_by_side(500, tmp_path)
    assert set(sides) == {"numpy, exact", "faiss HNSW", "library, exact", "library, index"}
    assert sides["library, exact"]["recall@10"] == 1.0
    assert all(side["p50_ms"] <= side["p95_ms"] for side in sides.values())


def test_recall_is_a_share_of_the_exact_hits() -> None:
    assert retrieval.recall([{1, 2}, {3, 9}], [{1, 2}, {3, 4}]) == 0.75


def test_clusters_are_there_again_and_of_length_1() -> None:
    vectors = retrieval.clustered(100, 1)
    assert np.array_equal(vectors, retrieval.clustered(100, 1))
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
    assert not np.array_equal(vectors, retrieval.clustered(100, 2))
