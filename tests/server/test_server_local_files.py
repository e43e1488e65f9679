"""Files of the server: only those below the folders that were named."""

import os
from pathlib import Path

import pytest

from unisono.errors import MediaAccessError, MediaTooLargeError
from unisono.server.local_files import LocalFiles


@pytest.fixture
def shown(tmp_path: Path) -> Path:
    folder = tmp_path / "shown"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "ä b.txt").write_bytes(b"inside")
    (folder / "inner").symlink_to(folder / "deep")
    (tmp_path / "secret.txt").write_bytes(b"secret")
    (tmp_path / "shown2").mkdir()
    (tmp_path / "shown2" / "secret.txt").write_bytes(b"secret")
    (folder / "link.txt").symlink_to(tmp_path / "secret.txt")
    (folder / "linked").symlink_to(tmp_path)
    os.mkfifo(folder / "pipe")
    return folder


def test_files_below_the_folder_are_read(shown: Path) -> None:
    files = LocalFiles([str(shown)])
    assert files.read(str(shown / "deep" / "ä b.txt"), 10) == b"inside"
    assert files.read(f"file://{shown}/deep/%C3%A4%20b.txt", 10) == b"inside"
    assert files.read(f"file://localhost{shown}/deep/../deep/ä b.txt", 10) == b"inside"
    assert files.read(str(shown / "inner" / "ä b.txt"), 10) == b"inside"
    with pytest.raises(MediaTooLargeError):
        files.read(str(shown / "deep" / "ä b.txt"), 5)


@pytest.mark.parametrize(
    "path",
    [
        "{}/../secret.txt",
        "{}/deep/../../secret.txt",
        "file://{}/%2e%2e/secret.txt",
        "{}/link.txt",
        "{}/linked/secret.txt",
        "{}2/secret.txt",
        "{}/pipe",
        "{}",
        "{}/",
        "{}/deep",
        "{}/nothing.txt",
        "{}/deep/ä b.txt/x",
        "{}/\0",
        "/etc/passwd",
        "/proc/self/environ",
        "/dev/zero",
        "file://other.host{}/deep/ä b.txt",
        "deep/ä b.txt",
        "~/x",
        "",
    ],
)
def test_nothing_else_is(shown: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(shown)
    with pytest.raises(MediaAccessError) as refused:
        LocalFiles([str(shown)]).read(path.format(shown), 100)
    assert "is not a file that this server reads" in str(refused.value)


def test_a_link_put_there_in_the_meantime_leads_nowhere(
    shown: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the check and the opening the folder becomes a link to somewhere else."""
    files, real = LocalFiles([str(shown)]), os.path.realpath
    (shown / "swapped").mkdir()
    (shown / "swapped" / "secret.txt").write_bytes(b"harmless")

    def then_swap(path: str) -> str:
        resolved = real(path)
        (shown / "swapped").rename(shown / "away")
        (shown / "swapped").symlink_to(shown.parent)
        return resolved

    monkeypatch.setattr(os.path, "realpath", then_swap)
    with pytest.raises(MediaAccessError):
        files.read(str(shown / "swapped" / "secret.txt"), 100)


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    with pytest.raises(MediaAccessError, match="nowhere"):
        LocalFiles([str(tmp_path / "nowhere")])
