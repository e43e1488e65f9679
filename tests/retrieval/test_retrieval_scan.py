"""Which files a walk finds, and what it says has become of them."""

import os
from pathlib import Path

import pytest

from unisono.errors import MediaNotFoundError
from unisono.retrieval.record import FileInfo
from unisono.retrieval.scan import Changes, compare, content_hash, scan


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b.txt", "a.txt", "sub/c.txt", ".hidden", ".git/x.txt", "жук 虫\n'.txt"):
        path = tmp_path / "media" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name, encoding="utf-8")
    return tmp_path / "media"


def names(folder: Path) -> list[str]:
    return [os.path.relpath(one.path, folder) for one in scan([folder])]


def known_of(folder: Path) -> dict[str, FileInfo]:
    return {
        one.path: FileInfo(one.path, one.size_bytes, one.modified_ns, content_hash(one.path))
        for one in scan([folder])
    }


def changes(folder: Path, known: dict[str, FileInfo]) -> Changes:
    return compare(scan([folder]), known, [folder])


def test_files_in_order_without_hidden_ones(folder: Path) -> None:
    assert names(folder) == ["a.txt", "b.txt", "жук 虫\n'.txt", "sub/c.txt"]


def test_links_in_a_circle_end(folder: Path) -> None:
    (folder / "sub" / "up").symlink_to(folder, target_is_directory=True)
    (folder / "broken").symlink_to(folder / "nowhere")
    (folder / "linked.txt").symlink_to(folder / "a.txt")
    assert "linked.txt" in names(folder)
    assert len(names(folder)) == 5


def test_a_pipe_is_passed_over(folder: Path) -> None:
    os.mkfifo(folder / "pipe.wav")
    assert "pipe.wav" not in names(folder)


def test_a_file_named_twice_is_found_once(folder: Path) -> None:
    assert len(list(scan([folder, folder / "a.txt", folder / "sub" / ".." / "a.txt"]))) == 4


def test_a_source_that_is_not_there(folder: Path) -> None:
    with pytest.raises(MediaNotFoundError, match="nowhere"):
        list(scan([folder / "nowhere"]))


def test_nothing_is_hashed_again_without_need(folder: Path) -> None:
    asked: list[str] = []
    found = compare(
        scan([folder]), known_of(folder), [folder], hashed=lambda p: asked.append(p) or ""
    )
    assert found.unchanged == 4
    assert not asked


def test_what_became_of_each_file(folder: Path) -> None:
    known = known_of(folder)
    (folder / "a.txt").write_text("other words", encoding="utf-8")
    (folder / "b.txt").rename(folder / "moved.txt")
    (folder / "sub" / "c.txt").unlink()
    os.utime(folder / "жук 虫\n'.txt", ns=(1, 1))
    (folder / "new.txt").write_text("new", encoding="utf-8")
    found = changes(folder, known)
    assert [Path(one.path).name for one in found.new] == ["a.txt", "new.txt"]
    again = {(Path(old).name, Path(one.path).name) for old, one in found.again}
    assert again == {("b.txt", "moved.txt"), ("жук 虫\n'.txt", "жук 虫\n'.txt")}
    assert sorted(Path(one).name for one in found.deleted) == ["b.txt", "c.txt"]


def test_only_what_was_scanned_is_deleted(folder: Path) -> None:
    known = known_of(folder)
    (folder / "a.txt").unlink()
    (folder / "sub" / "c.txt").unlink()
    found = compare(scan([folder / "sub"]), known, [folder / "sub"])
    assert [Path(one).name for one in found.deleted] == ["c.txt"]


def test_names_that_are_no_text_and_files_that_vanish(folder: Path) -> None:
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.txt")).write_text("x", encoding="utf-8")
    found = list(scan([folder]))
    (folder / "a.txt").unlink()
    told = compare(found, {}, [folder])
    assert len(told.new) == 3
    reasons = sorted(str(error) for _, error in told.unreadable)
    assert "not UTF-8" in reasons[0]
    assert "has gone" in reasons[1]
