"""Folders made from others are whole or not there."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from unisono.errors import CacheError
from unisono.hub import Cache


def _write(folder: Path) -> None:
    (folder / "one").write_text("1")


def test_it_is_made_once(tmp_path: Path) -> None:
    cache, calls = Cache.at(tmp_path), []

    def write(folder: Path) -> None:
        calls.append(folder)
        _write(folder)

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: cache.derived("name", write), range(8)))
    assert set(found) == {tmp_path / "derived" / "name"}
    assert (found[0] / "one").read_text() == "1"
    assert len(calls) == 1


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    cache = Cache.at(tmp_path)

    def fail(folder: Path) -> None:
        _write(folder)
        raise ValueError("half-way")

    with pytest.raises(ValueError, match="half-way"):
        cache.derived("name", fail)
    assert [path.name for path in (tmp_path / "derived").iterdir() if path.is_dir()] == []
    assert cache.derived("name", _write).is_dir()


def test_what_a_killed_process_left_is_removed(tmp_path: Path) -> None:
    left = tmp_path / "derived" / ".unfinished-name"
    left.mkdir(parents=True)
    (left / "half").write_text("")
    folder = Cache.at(tmp_path).derived("name", _write)
    assert [path.name for path in folder.iterdir()] == ["one"]
    assert not left.exists()


def test_a_cache_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "derived").write_text("in the way")
    with pytest.raises(CacheError, match="cannot be used"):
        Cache.at(tmp_path).derived("name", _write)
