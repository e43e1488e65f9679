"""Bad rows: named once, whatever happened to the file, and never for ever."""

import json
from pathlib import Path

import pytest

from unisono.errors import BadRowError, DataError, TooManyBadRowsError
from unisono.training.ledger import ENOUGH, Ledger


def all_bad(ledger: Ledger) -> None:
    for number in range(1000):
        ledger.bad(f"a:{number}", "a", BadRowError("torn"))


def test_all_bad_ends_even_if_any_share_is_allowed(tmp_path: Path) -> None:
    for rows, expected in ((150, 150), (7, 7), (None, ENOUGH)):
        ledger = Ledger(tmp_path / f"{rows}.jsonl", 1.0, rows)
        with pytest.raises(TooManyBadRowsError, match=f"{expected} of {expected} rows"):
            all_bad(ledger)
    some = Ledger(tmp_path / "some.jsonl", 1.0, 150)
    some.good()
    all_bad(some)
    assert some.state() == [1001, 1000]


def test_the_share_counts_from_a_hundred_rows_on(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "bad.jsonl", 0.1, 5000)
    for _ in range(ENOUGH - 20):
        ledger.good()
    for number in range(19):
        ledger.bad(f"a:{number}", "a", BadRowError("torn"))
    with pytest.raises(TooManyBadRowsError, match=r"20 of 100 .*20\.0%.*10\.0%.*bad\.jsonl"):
        ledger.bad("a:19", "a", BadRowError("torn"))


def test_a_line_cut_short_is_passed_over(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"name": "a:1", "source": "a", "reason": "x"}\n{"name": "a:2", "reason": "{}')
    ledger = Ledger(path, 1.0, 1000)
    for number in (1, 2, 3):
        ledger.bad(f"a:{number}", "a", BadRowError(f"a:{number}: two\nlines"))
    first, torn, *new = path.read_text().splitlines()
    assert json.loads(first)["name"] == "a:1"
    assert torn.endswith("{}")
    assert [json.loads(line)["name"] for line in new] == ["a:2", "a:3"]
    assert json.loads(new[0])["reason"] == "two lines"


def test_an_error_without_words(tmp_path: Path) -> None:
    Ledger(tmp_path / "bad.jsonl", 1.0, 9).bad("a:1", "a", BadRowError())
    assert json.loads((tmp_path / "bad.jsonl").read_text())["reason"] == ""


def test_a_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be written"):
        Ledger(tmp_path / "file" / "bad.jsonl", 1.0, 9).bad("a:1", "a", BadRowError("torn"))
