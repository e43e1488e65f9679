"""Cuts, kills, tampering, no network, two at once: what stands under a final name is whole."""

import errno
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from hub_registry import Registry
from hub_toys import CLOSED, catalog_of, debian, everything_under, npm, pypi

from unisono.errors import (
    CacheError,
    ChecksumError,
    DownloadError,
    IncompleteFileError,
    UnknownModelError,
)
from unisono.hub import Catalog, QuietProgress, cache, fetch_file, fetch_part, sha256_of

# Random, so that deflate does not shrink it and a cut falls in its midst.
DATA = b"".join(hashlib.sha256(bytes([i, j])).digest() for i in range(64) for j in range(64))
CATALOG = catalog_of(t=(DATA, [pypi(("toy==1.0", "t"))]))


def _ranges(registry: Registry, path: str) -> list[str | None]:
    return [wanted for asked, wanted in registry.requests if asked == path]


def test_a_cut_connection_is_taken_up_again_at_once(registry):
    wheel = registry.add_wheel("toy", {"t": DATA})
    registry.cut_after[wheel] = [50_000, 30_000]
    assert (fetch_part("toy", catalog=CATALOG) / "t").read_bytes() == DATA
    assert _ranges(registry, wheel) == [None, "bytes=50000-", "bytes=80000-"]


def test_a_second_try_resumes_what_the_first_left(registry, tmp_path):
    wheel = registry.add_wheel("toy", {"t": DATA})
    registry.cut_after[wheel] = [50_000, 0]
    with pytest.raises(DownloadError, match=r"the connection to 127\.0\.0\.1:\d+ broke"):
        fetch_part("toy", catalog=CATALOG)
    (left,) = [n for n in everything_under(tmp_path / "cache") if not n.startswith("locks")]
    assert left.startswith("downloads/toy/")
    assert left.endswith(".partial")
    registry.requests.clear()
    assert (fetch_part("toy", catalog=CATALOG) / "t").read_bytes() == DATA
    assert _ranges(registry, wheel) == ["bytes=50000-"]


def test_a_server_without_ranges_sends_all_again(registry):
    wheel = registry.add_wheel("toy", {"t": DATA})
    registry.ranges = False
    registry.cut_after[wheel] = [50_000]
    assert (fetch_part("toy", catalog=CATALOG) / "t").read_bytes() == DATA
    assert _ranges(registry, wheel) == [None, "bytes=50000-"]


def test_a_server_that_sends_another_piece_is_asked_for_all(registry):
    wheel = registry.add_wheel("toy", {"t": DATA})
    registry.wrong_range = True
    registry.cut_after[wheel] = [50_000]
    assert (fetch_part("toy", catalog=CATALOG) / "t").read_bytes() == DATA
    assert _ranges(registry, wheel) == [None, "bytes=50000-", None]


@pytest.mark.parametrize("excess", [0, 10])
def test_a_partial_as_long_as_the_file_or_longer(registry, tmp_path, excess):
    wheel = registry.add_wheel("toy", {"t": DATA})
    content = registry.files[wheel]
    _leave_partial(registry, wheel, tmp_path, content + b"x" * excess)
    assert (fetch_part("toy", catalog=CATALOG) / "t").read_bytes() == DATA


def test_half_of_another_file_is_found_out_and_dropped(registry, tmp_path):
    wheel = registry.add_wheel("toy", {"t": DATA})
    _leave_partial(registry, wheel, tmp_path, b"y" * 1000)
    assert (fetch_part("toy", catalog=CATALOG) / "t").read_bytes() == DATA
    assert _ranges(registry, wheel)[-2:] == ["bytes=1000-", None]


def _leave_partial(registry: Registry, wheel: str, tmp_path: Path, content: bytes) -> None:
    registry.cut_after[wheel] = [10, 0]
    with pytest.raises(DownloadError):
        fetch_part("toy", catalog=CATALOG)
    (partial,) = (tmp_path / "cache" / "downloads" / "toy").glob("*.partial")
    partial.write_bytes(content)


def test_a_source_with_other_bytes(registry, tmp_path):
    registry.add_wheel("toy", {"t": DATA[::-1]})
    with pytest.raises(ChecksumError) as caught:
        fetch_part("toy", catalog=CATALOG)
    message = str(caught.value)
    assert message.startswith("cannot fetch 't' of 'toy': pypi toy==1.0: sha256 is ")
    assert hashlib.sha256(DATA).hexdigest() in message
    assert hashlib.sha256(DATA[::-1]).hexdigest() in message
    assert not [n for n in everything_under(tmp_path / "cache") if not n.startswith("locks")]
    registry.add_wheel("toy", {"t": DATA})  # mended: the next try must not see the old wheel
    assert fetch_part("toy", catalog=CATALOG)


@pytest.mark.parametrize("content", [DATA[:-1], DATA + b"x"])
def test_a_source_with_too_few_or_too_many_bytes(registry, content):
    registry.add_wheel("toy", {"t": content})
    with pytest.raises(ChecksumError, match=r"pinned 131072"):
        fetch_part("toy", catalog=CATALOG)


# --- the cache -------------------------------------------------------------------------------


def test_a_full_cache_needs_no_network_and_reads_no_file_twice(registry, monkeypatch):
    registry.add_wheel("toy", {"t": DATA})
    first = fetch_file("toy", "t", catalog=CATALOG)
    time.sleep(0.1)
    fetch_file("toy", "t", catalog=CATALOG)  # hashes once more: the first stamp was too fresh
    registry.stop()
    registry.requests.clear()

    def refuse(*_: object) -> None:
        pytest.fail("a verified file was hashed, or the network asked, again")

    monkeypatch.setattr("unisono.hub.verify.sha256_of", refuse)
    monkeypatch.setattr("socket.socket.connect", refuse)
    assert fetch_file("toy", "t", catalog=CATALOG) == first
    registry.start()  # for the fixture to stop


def test_a_tampered_file_is_refused_then_repaired(registry):
    registry.add_wheel("toy", {"t": DATA})
    path = fetch_file("toy", "t", catalog=CATALOG)
    for settled in (False, True):
        if settled:
            time.sleep(0.1)
            fetch_file("toy", "t", catalog=CATALOG)
        status = path.stat()
        with path.open("r+b") as stream:  # same size, and the old mtime put back
            stream.seek(100)
            stream.write(b"!")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        with pytest.raises(ChecksumError) as caught:
            fetch_file("toy", "t", catalog=CATALOG)
        message = str(caught.value)
        assert str(path) in message
        assert sha256_of(path) in message
        assert hashlib.sha256(DATA).hexdigest() in message
        assert "`unisono pull toy`" in message
        assert fetch_file("toy", "t", catalog=CATALOG, repair=True).read_bytes() == DATA


@pytest.mark.parametrize(
    ("content", "error", "words"),
    [
        (DATA[:1000], IncompleteFileError, "must have 131072 bytes, but has 1000"),
        (b"", IncompleteFileError, "must have 131072 bytes, but has 0"),
        (DATA + b"x", ChecksumError, "that of 131073 bytes"),
    ],
)
def test_a_file_of_another_size_is_refused_then_repaired(registry, content, error, words):
    registry.add_wheel("toy", {"t": DATA})
    path = fetch_file("toy", "t", catalog=CATALOG)
    path.write_bytes(content)
    with pytest.raises(error, match=words):
        fetch_part("toy", catalog=CATALOG)
    assert fetch_file("toy", "t", catalog=CATALOG, repair=True).read_bytes() == DATA


def test_repair_without_network_leaves_the_damaged_file(registry, monkeypatch):
    registry.add_wheel("toy", {"t": DATA})
    path = fetch_file("toy", "t", catalog=CATALOG)
    path.write_bytes(DATA[:5])
    monkeypatch.setenv("PIP_INDEX_URL", CLOSED)
    with pytest.raises(DownloadError):
        fetch_part("toy", catalog=CATALOG, repair=True)
    assert path.read_bytes() == DATA[:5]


def test_offline_with_an_empty_cache_is_quick_and_one_line(no_network, tmp_path):
    sources = [pypi(("toy==1.0", "t")), debian("t"), npm("t"), {"kind": "local", "path": "/no"}]
    began = time.monotonic()
    with pytest.raises(DownloadError) as caught:
        fetch_part("toy", catalog=catalog_of(t=(DATA, sources)))
    assert time.monotonic() - began < 5
    message = str(caught.value)
    assert "\n" not in message
    for source in ("pypi toy==1.0", "debian toy 1.0-1", "npm toy@1.0.0", "local file /no"):
        assert source in message
    assert "no connection to 127.0.0.1:9" in message


def test_the_hub_client_is_not_let_loose_on_a_silent_host(no_network, monkeypatch, tmp_path):
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", CLOSED)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    source = {"kind": "hf", "repo": "a/b", "path": "t", "revision": "main"}
    began = time.monotonic()
    with pytest.raises(DownloadError, match=r"hf a/b: no connection to 127\.0\.0\.1:9"):
        fetch_part("toy", catalog=catalog_of(t=(DATA, [source])))
    assert time.monotonic() - began < 5


def test_an_unknown_part_or_file(no_network):
    with pytest.raises(UnknownModelError, match="did you mean toy"):
        fetch_part("toyy", catalog=CATALOG)
    with pytest.raises(UnknownModelError, match="no file is called 'u'"):
        fetch_file("toy", "u", catalog=CATALOG)


def test_a_cache_that_cannot_be_made(registry, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(
        CacheError, match=r"the cache '.*file/cache' cannot be used: Not a directory"
    ):
        fetch_part("toy", catalog=CATALOG, cache_dir=tmp_path / "file" / "cache")


def test_a_full_disk_is_one_line_and_no_other_source_is_tried(registry, monkeypatch):
    wheel = registry.add_wheel("toy", {"t": DATA})

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    twice = catalog_of(t=(DATA, [pypi(("toy==1.0", "t"))] * 2))
    with pytest.raises(CacheError, match="No space left on device; free some room, or set UNISONO"):
        fetch_part("toy", catalog=twice)
    assert registry.count(wheel) == 1


def test_a_cache_one_may_only_read_still_serves(registry, monkeypatch):
    registry.add_wheel("toy", {"t": DATA})
    fetch_part("toy", catalog=CATALOG)
    real = Path.write_text

    def refuse(path: Path, *arguments: object, **options: object) -> int:
        if "verified" in path.parts:
            raise OSError(errno.EROFS, "Read-only file system")
        return real(path, *arguments, **options)

    monkeypatch.setattr(Path, "write_text", refuse)
    assert fetch_part("toy", catalog=CATALOG)


# --- other processes -------------------------------------------------------------------------

FETCH = """
import json, sys
from unisono.hub import Catalog, fetch_part
fetch_part("toy", catalog=Catalog.model_validate(json.loads(sys.argv[1])))
"""


def _start(limit_bytes: int | None = None, catalog: Catalog = CATALOG) -> "subprocess.Popen[str]":
    prefix = ""
    if limit_bytes:
        prefix = f"import resource as r; r.setrlimit(r.RLIMIT_FSIZE, ({limit_bytes},) * 2)\n"
    command = [sys.executable, "-c", prefix + FETCH, json.dumps(catalog.model_dump(mode="json"))]
    return subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=dict(os.environ))


@pytest.mark.parametrize("name", ["SIGINT", "SIGKILL"])
def test_killed_in_the_middle_nothing_stands_under_a_final_name(registry, tmp_path, name):
    wheel = registry.add_wheel("toy", {"t": DATA})
    registry.delay_s[wheel] = 0.02  # 131 kB take 2.6 s
    process = _start()
    _wait_for(lambda: registry.count(wheel) == 1)
    downloads = tmp_path / "cache" / "downloads" / "toy"
    _wait_for(lambda: sum(path.stat().st_size for path in downloads.glob("*.partial")) > 0)
    process.send_signal(getattr(signal, name))
    _, errors = process.communicate(timeout=20)
    assert process.returncode != 0
    assert ("KeyboardInterrupt" in errors) == (name == "SIGINT")
    left = [path for path in everything_under(tmp_path / "cache") if not path.startswith("locks")]
    assert {path.split("/")[0] for path in left} == {"downloads"}
    registry.delay_s.clear()
    registry.requests.clear()
    assert (fetch_part("toy", catalog=CATALOG) / "t").read_bytes() == DATA
    (resumed,) = _ranges(registry, wheel)
    assert resumed is not None


def _wait_for(condition, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.01)


def test_two_processes_at_once_fetch_once(registry, tmp_path):
    wheel = registry.add_wheel("toy", {"t": DATA})
    registry.delay_s[wheel] = 0.01
    processes = [_start(), _start()]
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 0, errors
    assert registry.count(wheel) == 1
    assert (tmp_path / "cache" / "parts" / "toy" / "t").read_bytes() == DATA


@pytest.mark.parametrize("there", [True, False])
def test_hugging_face_hub(registry, tmp_path, monkeypatch, there):
    monkeypatch.setenv("HF_ENDPOINT", registry.url)  # its client reads these when imported
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    if there:
        registry.files["/a/b/resolve/main/sub/t"] = DATA
    source = {"kind": "hf", "repo": "a/b", "path": "sub/t", "revision": "main"}
    process = _start(catalog=catalog_of(t=(DATA, [source])))
    _, errors = process.communicate(timeout=60)
    assert (process.returncode == 0) == there, errors
    if there:
        assert everything_under(tmp_path / "cache" / "parts") == ["toy/t"]
        assert not (tmp_path / "cache" / "downloads" / "toy").exists()
    else:
        assert "DownloadError: cannot fetch 't' of 'toy': hf a/b: 404" in errors


@pytest.mark.skipif(sys.platform == "win32", reason="no such limit there")
def test_no_room_for_the_file(registry, tmp_path):
    registry.add_wheel("toy", {"t": DATA})
    _, errors = (process := _start(limit_bytes=20_000)).communicate(timeout=60)
    assert process.returncode == 1
    assert "CacheError: the cache" in errors
    assert "free some room" in errors
    assert not (tmp_path / "cache" / "parts").exists()


def test_one_who_waits_is_told(registry, tmp_path):
    wheel = registry.add_wheel("toy", {"t": DATA})
    registry.delay_s[wheel] = 0.01
    notes: list[str] = []

    class Noting(QuietProgress):
        def note(self, message: str) -> None:
            notes.append(message)

    first = threading.Thread(target=fetch_part, args=("toy",), kwargs={"catalog": CATALOG})
    first.start()
    _wait_for(lambda: registry.count(wheel) == 1)
    fetch_part("toy", catalog=CATALOG, progress=Noting())
    first.join()
    assert notes == ["another process is fetching 'toy'; waiting for it"]
    assert registry.count(wheel) == 1


def test_the_users_cache_folder_is_the_default(monkeypatch):
    monkeypatch.delenv("UNISONO_CACHE", raising=False)
    assert cache.default_cache_folder().name == "unisono"
    assert cache.Cache.at(None).folder == cache.default_cache_folder()


@pytest.mark.slow
def test_the_smallest_part_really_comes_from_its_registry(tmp_path):
    path = fetch_file("piper-en-us-joe-medium", "en_US-joe-medium.onnx.json", cache_dir=tmp_path)
    assert json.loads(path.read_text())["audio"]["sample_rate"] == 22050
    text = fetch_file("asterisk-core-sounds-en-g722", "core-sounds-en.txt.gz", cache_dir=tmp_path)
    assert text.stat().st_size == 8558
