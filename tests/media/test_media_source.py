import base64
import os
import pickle
from urllib.parse import quote

import pytest

from unisono import errors
from unisono.media import Limits, load_audio, load_image, load_video, open_source
from unisono.media.source import shorten

LOADERS = {"audio": load_audio, "image": load_image, "video": load_video}
each_loader = pytest.mark.parametrize("kind", LOADERS)


def read(source, limits=Limits()):  # noqa: B008 -- frozen
    with open_source(source, "audio", limits) as media:
        return media.name, media.stream.read()


def test_a_path_bytes_and_data_urls_give_the_same_bytes(tmp_path):
    data = bytes(range(256))
    path = tmp_path / "a b.bin"
    path.write_bytes(data)
    encoded = base64.b64encode(data).decode()
    sources = [
        *(str(path), path, data, bytearray(data), memoryview(data)),
        *(f"data:audio/wav;base64,{encoded}", f"data:;base64,{quote(encoded)}"),
        *(f"DATA:audio/wav;codecs=1;BASE64,{encoded}", f"data:,{quote(data)}"),
    ]
    assert all(read(source)[1] == data for source in sources)


def test_names_are_the_users_words(tmp_path):
    (tmp_path / "x.mp3").write_bytes(b"abc")
    assert read(tmp_path / "x.mp3")[0] == f"audio file {shorten(str(tmp_path / 'x.mp3'))}"
    assert read(b"a" * 1234)[0] == "audio (1,234 bytes)"
    assert read("data:,abc")[0] == "audio (data: URL of 9 characters)"


@pytest.mark.parametrize(
    "url",
    [
        "data:",
        "data:audio/wav;base64",
        "data:;base64,abc",
        "data:;base64,@@@@",
        "data:;base64,YWJj=YWJj",
        "data:,%zz",
        "data:,%4",
        "data:,é",
        "data:;base64,%",
    ],
)
@each_loader
def test_malformed_data_urls(kind, url):
    with pytest.raises(errors.MediaDecodeError, match=f"^{kind} .*malformed"):
        LOADERS[kind](url)


@each_loader
def test_a_missing_file(kind):
    with pytest.raises(errors.MediaNotFoundError) as caught:
        LOADERS[kind]("no/such/file.xyz")
    assert str(caught.value) == f"{kind} file 'no/such/file.xyz' does not exist"


@each_loader
def test_nothing_in_it(kind, tmp_path):
    (tmp_path / "empty").touch()
    for source in (tmp_path / "empty", b"", "data:,", "data:;base64,"):
        with pytest.raises(errors.MediaEmptyError, match="is empty"):
            LOADERS[kind](source)


@each_loader
def test_folders_and_devices_are_refused_without_waiting(kind, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(errors.MediaAccessError, match="is a folder"):
        LOADERS[kind](tmp_path)
    for path in (tmp_path / "fifo", "/dev/zero"):
        with pytest.raises(errors.MediaAccessError, match="not a regular file"):
            LOADERS[kind](path)


@each_loader
@pytest.mark.parametrize(
    "url",
    ["http://a/b.wav", "HTTPS://a/b", "file:///etc/passwd", "file:x", "concat://a", "rtmp://a"],
)
def test_addresses_are_never_opened(kind, url):
    with pytest.raises(errors.MediaAccessError, match="is an address"):
        LOADERS[kind](url)


@each_loader
def test_paths_the_system_cannot_open(kind, tmp_path, monkeypatch):
    for path in ("a\0b", "x" * 10_000, "no\nnewline" * 900):
        with pytest.raises(errors.MediaError) as caught:
            LOADERS[kind](path)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) < 250

    def refuse(*_args):
        raise PermissionError(13, "Permission denied")

    path = tmp_path / "private"
    path.write_bytes(b"x")
    monkeypatch.setattr("builtins.open", refuse)
    with pytest.raises(errors.MediaAccessError, match="permission denied"):
        LOADERS[kind](path)


def test_the_byte_limit_holds_before_anything_is_read(tmp_path):
    huge = tmp_path / "huge.wav"
    with huge.open("wb") as stream:
        stream.truncate(1 << 40)  # a sparse terabyte
    with pytest.raises(errors.MediaTooLargeError, match="1,099,511,627,776 bytes; the limit is"):
        load_audio(huge)
    limits = Limits(max_bytes=10)
    for source in (
        b"x" * 11,
        f"data:,{'x' * 11}",
        f"data:;base64,{'eHh4' * 4}",
        "data:," + "%41" * 11,
    ):
        with pytest.raises(errors.MediaTooLargeError, match="the limit is 10"):
            read(source, limits)
    for source in (
        b"x" * 10,
        f"data:,{'x' * 10}",
        "data:;base64,eHh4eHh4eHh4eA==",
        "data:," + "%41" * 10,
    ):
        assert len(read(source, limits)[1]) == 10


@each_loader
@pytest.mark.parametrize("source", [None, 3, {"a": 1}, object()])
def test_what_is_no_source_at_all(kind, source):
    with pytest.raises(errors.MediaDecodeError, match=f"{kind} must be a path.* but is"):
        LOADERS[kind](source)


def test_the_file_is_closed_after_a_fault(tmp_path):
    path = tmp_path / "x.wav"
    path.write_bytes(pickle.dumps("no sound"))
    before = len(os.listdir("/proc/self/fd"))
    for load in LOADERS.values():
        with pytest.raises(errors.MediaDecodeError):
            load(path)
    assert len(os.listdir("/proc/self/fd")) == before
