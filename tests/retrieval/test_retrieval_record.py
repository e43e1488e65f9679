"""Rows, and the columns they are written to."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unisono.errors import DataError
from unisono.retrieval.record import FileInfo, Record, arrow_table, record_id, schema
from unisono.retrieval.table import FailureTable, PieceTable, connect, entries

WIDTH = 4
FILE = FileInfo('/日本/it\'s "one".png', 12, 34, "ab")


def record(number: int = 0, **changes: object) -> Record:
    vector = np.arange(WIDTH, dtype=np.float32) + number
    return Record(FILE, number, "audio", vector, **changes)  # type: ignore[arg-type]


def test_rows_come_back_as_they_were() -> None:
    rows = [record(start_s=1.5, end_s=2.5, thumbnail=b"\0jpeg"), record(1, page=3, text="Ünï 🙂")]
    given_rows = [one.row() for one in rows]
    table = arrow_table(given_rows, WIDTH)
    assert table.schema == schema(WIDTH, {})
    for ours, theirs in zip(given_rows, table.to_pylist(), strict=True):
        assert np.array_equal(ours.pop("vector"), theirs.pop("vector"))
        assert ours == theirs
    assert table.column("vector").type == pa.list_(pa.float32(), WIDTH)


def test_no_rows_are_a_table_too() -> None:
    assert arrow_table([], WIDTH).num_rows == 0
    assert arrow_table([], WIDTH).schema == schema(WIDTH, {})


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.text(), st.integers(0, 99)), max_size=20))
def test_every_piece_has_its_own_id(pieces: list[tuple[str, int]]) -> None:
    ids = {record_id(path, number) for path, number in pieces}
    assert len(ids) == len(set(pieces))


def test_ids_are_the_same_in_every_run() -> None:
    # Of libraries that people have: they must not change.
    assert record_id("/a.png", 0) == "157555d03a8e0c9da70dc40f126dd590"


def _open(uri: str) -> None:
    connection = connect(uri)
    PieceTable(connection, "pieces-x", width=WIDTH, made_by={})
    FailureTable(connection, "pieces-x")


def test_a_table_has_its_key_from_the_first_version_on(tmp_path: Path) -> None:
    _open(str(tmp_path))
    for name, column in {"pieces-x": "id", "failures-x": "path"}.items():
        table = connect(str(tmp_path)).open_table(name)
        assert table.version == 1
        with pytest.raises(Exception, match="already set"):
            table.set_unenforced_primary_key(column)


def test_several_may_begin_a_library_at_once(tmp_path: Path) -> None:
    for turn in range(20):
        uri = str(tmp_path / str(turn))
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(_open, [uri] * 8))
        assert [entry.rows for entry in entries(connect(uri))] == [0]


def test_tables_of_another_shape_of_a_newer_version(tmp_path: Path) -> None:
    connection = connect(str(tmp_path))
    other = pa.schema([("embedding", pa.binary())], metadata={"unisono.format": "99"})
    connection.create_table("pieces-later", schema=other)
    for look in (entries, lambda one: PieceTable(one, "pieces-later", width=4, made_by={})):
        with pytest.raises(DataError, match="newer version .format 99"):
            look(connection)
    assert connection.open_table("pieces-later").schema.names == ["embedding"]
