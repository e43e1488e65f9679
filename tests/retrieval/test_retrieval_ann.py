"""The index over many vectors: when it is built, and what it finds."""

from pathlib import Path

import numpy as np
import pytest

from unisono.retrieval import table as lance
from unisono.retrieval.record import FileInfo, Record
from unisono.retrieval.table import PieceTable, connect

WIDTH = 64


def clustered(count: int, seed: int) -> np.ndarray:
    """[count, D] of length 1, in clusters, as embeddings lie."""
    draw = np.random.default_rng(seed)
    centres = np.random.default_rng(0).normal(size=(50, WIDTH))
    vectors = centres[draw.integers(0, 50, count)] + 0.5 * draw.normal(size=(count, WIDTH))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def rows(vectors: np.ndarray) -> list[dict[str, object]]:
    files = (FileInfo(f"/{i}.png", i, i, f"{i:x}") for i in range(len(vectors)))
    return [Record(file, 0, "image", one).row() for file, one in zip(files, vectors, strict=True)]


@pytest.fixture
def table(tmp_path: Path) -> PieceTable:
    return PieceTable(connect(str(tmp_path)), "pieces-x", width=WIDTH, made_by={})


def test_few_rows_are_searched_exactly(table: PieceTable) -> None:
    table.put(rows(clustered(500, 1)))
    table.improve()
    assert not table._latest().list_indices()
    assert table.recall(clustered(10, 2)) == 1.0


def test_an_index_is_built_and_extended(table: PieceTable, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lance, "INDEX_FROM", 2_000)
    vectors = clustered(3_000, 1)
    table.put(rows(vectors))
    table.improve()
    assert [one.columns for one in table._latest().list_indices()] == [["vector"]]
    assert table.recall(clustered(50, 2)) >= 0.95
    extra = rows(clustered(200, 3))
    for number, row in enumerate(extra):
        row["id"], row["path"] = f"extra{number}", f"/extra/{number}.png"
    table.put(extra)
    best, score = table.nearest(np.asarray(extra[0]["vector"]), 1)[0]
    assert best["path"] == "/extra/0.png"  # found though no index has it yet
    assert score == pytest.approx(1, abs=1e-5)
    table.improve()
    assert table.recall(clustered(50, 2)) >= 0.95


def test_scores_are_cosines(table: PieceTable) -> None:
    vectors = clustered(50, 1)
    table.put(rows(vectors))
    found = table.nearest(vectors[7], 50)
    expected = np.sort(vectors @ vectors[7])[::-1]
    assert np.allclose([score for _, score in found], expected, atol=1e-5)
