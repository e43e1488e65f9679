"""Where media comes from, and how much of it is allowed in.

Knows paths, bytes, `data:` URLs and arrays, and the limits on bytes. Knows nothing of
pictures, codecs or containers. Web addresses and `file://` are never opened here: whoever
serves other people's requests must decide about fetching, not a decoder.
"""

import base64
import binascii
import io
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, BinaryIO
from urllib.parse import unquote_to_bytes

import numpy as np
from numpy.typing import NDArray

from unisono.errors import (
    MediaAccessError,
    MediaDecodeError,
    MediaEmptyError,
    MediaError,
    MediaNotFoundError,
    MediaTooLargeError,
)

Source = str | os.PathLike[str] | bytes | bytearray | memoryview
"""A path, a `data:` URL (as str), or the bytes of a file."""

_ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://|file:", re.ASCII)
_BROKEN_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_SHOWN_CHARACTERS = 120


@dataclass(frozen=True)
class Limits:
    """What a single medium may cost; beyond it `MediaTooLargeError` is raised.

    The default of `max_pixels` is just below the size at which Pillow itself warns.
    """

    max_bytes: int = 1 << 30  # of the file, before anything is decoded
    max_pixels: int = 89_000_000  # of a picture, read from its header
    max_seconds: float = 3600.0  # of a sound or video, as declared and as decoded
    max_frame_pixels: int = 36_000_000  # of one video frame; 8K is 33 million
    max_clip_pixels: int = 600_000_000  # of all frames taken from a video; 3 bytes each


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, eq=False)
class Waveform:
    """Sound already in memory.

    samples: [T], or [C, T] with C channels; float in [-1, 1], or uint8, int16, int32.
    """

    samples: NDArray[Any]
    sample_rate_hz: int


@dataclass(frozen=True)
class OpenedSource:
    """A medium's bytes, ready to read: nothing is decoded yet."""

    name: str  # in the user's words: "audio file 'x.mp3'"
    stream: BinaryIO  # seekable
    size_bytes: int
    suffix: str  # ".mp3"; "" when there is no file name


@contextmanager
def open_source(
    source: Source, kind: str, limits: Limits = DEFAULT_LIMITS
) -> Iterator[OpenedSource]:
    """Open `source` for reading, its size checked first; `kind` ("audio") is for messages.

    Raises MediaNotFoundError, MediaAccessError (a folder, a device, no permission, a web
    address), MediaTooLargeError, MediaEmptyError, and MediaDecodeError (malformed `data:` URL).
    """
    opened = _open(source, kind, limits)
    with opened.stream:
        if opened.size_bytes == 0:
            raise MediaEmptyError(f"{opened.name} is empty")
        yield opened


def shorten(text: str) -> str:
    """`text` on one line and short enough for a message: its middle is left out."""
    shown = repr(text)[1:-1]
    if len(shown) > _SHOWN_CHARACTERS:
        shown = f"{shown[:60]}…{shown[-50:]}"
    return f"'{shown}'"


def _open(source: Source, kind: str, limits: Limits) -> OpenedSource:
    if isinstance(source, bytes | bytearray | memoryview):
        data = bytes(source)
        return _from_bytes(data, f"{kind} ({len(data):,} bytes)", limits)
    if not isinstance(source, str | os.PathLike):
        raise MediaDecodeError(
            f"{kind} must be a path, bytes, a data: URL or an array, "
            f"but is {type(source).__name__} instead"
        )
    path = os.fspath(source)
    if isinstance(source, str) and path[:5].lower() == "data:":
        return _from_data_url(path, kind, limits)
    if isinstance(source, str) and _ADDRESS.match(path):
        raise MediaAccessError(
            f"{kind} {shorten(path)} is an address, and addresses are not opened: "
            "pass a path, or fetch it and pass its bytes"
        )
    return _from_path(path, kind, limits)


def _from_bytes(data: bytes, name: str, limits: Limits) -> OpenedSource:
    _check_size(len(data), name, limits)
    return OpenedSource(name, io.BytesIO(data), len(data), "")


def _check_size(size_bytes: int, name: str, limits: Limits) -> None:
    if size_bytes > limits.max_bytes:
        raise MediaTooLargeError(
            f"{name} has {size_bytes:,} bytes; the limit is {limits.max_bytes:,}"
        )


def _from_path(path: str, kind: str, limits: Limits) -> OpenedSource:
    name = f"{kind} file {shorten(path)}"
    try:
        info = os.stat(path)
        # Looked at before opening: to open a FIFO would wait for its writer.
        if not stat.S_ISREG(info.st_mode):
            what = "a folder" if stat.S_ISDIR(info.st_mode) else "not a regular file"
            raise MediaAccessError(f"{name} is {what}")
        _check_size(info.st_size, name, limits)
        stream = open(path, "rb")  # noqa: SIM115 -- open_source closes it
    except FileNotFoundError:
        raise MediaNotFoundError(f"{name} does not exist") from None
    except MediaError:
        raise
    except PermissionError:
        raise MediaAccessError(f"{name} may not be read: permission denied") from None
    except (OSError, ValueError) as error:
        # ValueError: a NUL in the path; OSError: the path is too long, a disk fails.
        reason = getattr(error, "strerror", None) or error
        raise MediaAccessError(f"{name} cannot be opened: {reason}") from None
    return OpenedSource(name, stream, info.st_size, PurePath(path).suffix.lower())


def _from_data_url(url: str, kind: str, limits: Limits) -> OpenedSource:
    """RFC 2397: `data:[type][;parameters][;base64],payload`."""
    name = f"{kind} (data: URL of {len(url):,} characters)"
    header, comma, payload = url.partition(",")
    if not comma:
        raise MediaDecodeError(f"{name} is malformed: it has no comma before its data")
    # A byte takes at most three characters ("%41"), so this refuses before any decoding.
    _check_size(len(payload) // 3, name, limits)
    try:
        data = payload.encode("ascii")
    except UnicodeEncodeError:
        raise MediaDecodeError(f"{name} is malformed: it is not ASCII") from None
    if _BROKEN_ESCAPE.search(data):
        raise MediaDecodeError(f"{name} is malformed: a '%' without two hex digits")
    data = unquote_to_bytes(data)
    if header.lower().endswith(";base64"):
        _check_size(len(data) // 4 * 3 - 2, name, limits)
        try:
            data = base64.b64decode(b"".join(data.split()), validate=True)
        except binascii.Error as error:
            raise MediaDecodeError(f"{name} is malformed base64: {error}") from None
    return _from_bytes(data, name, limits)


def check_finite(values: NDArray[Any], name: str) -> None:
    """Raise MediaDecodeError when a float array holds NaN or infinity."""
    if np.issubdtype(values.dtype, np.floating) and not np.isfinite(values).all():
        raise MediaDecodeError(f"{name} holds values that are not finite numbers")
