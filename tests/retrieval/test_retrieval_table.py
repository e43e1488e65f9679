"""Tables that several write at once, and a disk that fills up."""

import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unisono.errors import DataError
from unisono.retrieval import commits
from unisono.retrieval import table as lance
from unisono.retrieval.record import FileInfo, Record, record_id
from unisono.retrieval.table import Failure, FailureTable, PieceTable, connect

WIDTH = 16
DRAW = np.random.default_rng(0)


def rows(start: int, count: int, *, pieces: int = 1) -> list[dict[str, Any]]:
    files = [FileInfo(f"/{i}.txt", i, i, f"{i:x}") for i in range(start, start + count)]
    vectors = DRAW.normal(size=(count, pieces, WIDTH)).astype(np.float32)
    return [
        Record(file, number, "text", vector, text="x" * 2000).row()
        for file, own in zip(files, vectors, strict=True)
        for number, vector in enumerate(own)
    ]


def opened(folder: Path) -> PieceTable:
    return PieceTable(connect(str(folder)), "pieces-x", width=WIDTH, made_by={})


def ids(table: PieceTable) -> list[str]:
    return [row["id"] for row in table.rows_of(table.files())]


def test_what_is_written_twice_is_there_once(tmp_path: Path) -> None:
    table = opened(tmp_path)
    for _ in range(2):
        table.put(rows(0, 10, pieces=3))
    assert len(set(ids(table))) == len(table) == 30
    table.put(rows(4, 2, pieces=1))  # files that have fewer pieces now
    assert len(table) == 26
    assert table.files()["/4.txt"] == FileInfo("/4.txt", 4, 4, "4")


def test_writers_and_a_tidier_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two write the same rows, one deletes others, one joins fragments and builds the index."""
    monkeypatch.setattr(lance, "INDEX_FROM", 150)
    monkeypatch.setattr(commits, "_PAUSE_S", 0.02)
    opened(tmp_path).put(rows(1000, 50))
    errors: list[Exception] = []

    def work(step: Any) -> None:
        table = opened(tmp_path)
        for turn in range(8):
            try:
                step(table, turn)
            except Exception as error:
                errors.append(error)

    steps = [
        lambda table, turn: table.put(rows(20 * turn, 40)),
        lambda table, turn: table.put(rows(20 * turn, 40)),
        lambda table, turn: table.remove([f"/{i}.txt" for i in range(1000 + turn, 1003 + turn)]),
        lambda table, turn: table.improve(),
    ]
    threads = [threading.Thread(target=work, args=(step,)) for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    expected = [*range(180), *range(1010, 1050)]
    table = opened(tmp_path)
    assert sorted(ids(table)) == sorted(record_id(f"/{i}.txt", 0) for i in expected)
    assert len(table) == len(expected)


def test_others_that_always_come_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commits, "_PAUSE_S", 0.0)
    table, tried = opened(tmp_path), []

    def conflict(*_: object) -> None:
        tried.append(1)
        raise RuntimeError("lance error: Retryable commit conflict for version 7")

    monkeypatch.setattr(table, "_delete", conflict)
    with pytest.raises(DataError, match="other processes write to the library all the time"):
        table.remove(["/1.txt"])
    assert len(tried) > 3


def test_failures_are_noted_once_a_file(tmp_path: Path) -> None:
    failures = FailureTable(connect(str(tmp_path)), "pieces-x")
    file = FileInfo("/it's.png", 3, 4, "ab")
    failures.put([Failure(file, "broken"), Failure(FileInfo("/b.png", 1, 1, ""), "gone")])
    failures.put([Failure(file, "broken still")])
    assert failures.all()["/it's.png"].reason == "broken still"
    failures.remove(["/it's.png"])
    assert list(failures.all()) == ["/b.png"]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 3 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=3m", "tmpfs", str(place)]
    try:
        subprocess.run(mount, check=True, capture_output=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        pytest.skip("may not mount a file system")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True, timeout=10)


def fill(table: PieceTable) -> None:
    for turn in range(100):
        table.put(rows(100 * turn, 100))


def test_a_disk_that_fills_up(small_disk: Path) -> None:
    table = opened(small_disk)
    with pytest.raises(DataError, match="no space is left on the disk"):
        fill(table)
    whole = len(table)
    assert whole >= 100
    assert whole % 100 == 0
    again = opened(small_disk)
    assert len(again) == whole
    wanted = again.rows_of(["/7.txt"])[0]
    found, _ = again.nearest(np.asarray(wanted["vector"], np.float32), 1)[0]
    assert found["path"] == "/7.txt"


def test_more_rows_are_looked_at_in_more_partitions() -> None:
    assert lance.probes(100_000) * lance.PARTITION_ROWS >= 100_000
    looked_at = [lance.probes(rows) * lance.PARTITION_ROWS / rows for rows in (10**6, 10**8)]
    assert np.allclose(looked_at, lance.PROBED, atol=0.01)
