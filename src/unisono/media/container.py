"""Sound and video containers, opened safely through PyAV.

FFmpeg is handed bytes, never a name: so the file's ending cannot mislead it, and a playlist
cannot make it open other files or the network. What goes wrong becomes a MediaError here;
what the frames mean is for `audio` and `video`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

import av
from av.container import InputContainer

from unisono.errors import MediaDecodeError, MediaTooLargeError, MediaTruncatedError
from unisono.media.framing import cut_short
from unisono.media.source import Limits, OpenedSource

# Formats with no header at all: nothing but the file's ending says what they are.
_HEADERLESS = {".g722": "g722", ".ulaw": "mulaw", ".alaw": "alaw", ".gsm": "gsm"}
_HEADERS = (b"RIFF", b"OggS", b"fLaC", b"ID3", b"\x1aE\xdf\xa3", b"FORM")
# Their duration is a guess from the bit rate, so only a gross excess is refused unread.
_GUESSED_DURATION = {"mp3", "aac", "ac3", "eac3", "amr", "mpeg", "mpegts", "dts"}


class _Reader:
    """Only what FFmpeg needs of a stream; hides the file's name from it."""

    def __init__(self, stream: BinaryIO) -> None:
        self.read = stream.read
        self.seek = stream.seek
        self.tell = stream.tell


@contextmanager
def open_container(media: OpenedSource) -> Iterator[InputContainer]:
    """The container in `media`, from its start.

    Raises MediaTruncatedError when it is known to end too early (see `framing`), and
    MediaDecodeError when it is no sound or video at all.
    """
    reason = cut_short(media.stream, media.size_bytes)
    if reason:
        raise MediaTruncatedError(f"{media.name} is cut short: {reason}")
    try:
        container = av.open(
            _Reader(media.stream),
            format=_headerless_format(media),
            options={"protocol_whitelist": "none"},
            metadata_errors="replace",
        )
    except EOFError:  # FFmpeg knew the format, and then the bytes ran out
        raise MediaTruncatedError(f"{media.name} is cut short: it ends in its header") from None
    except (av.FFmpegError, ValueError, OSError) as error:
        raise MediaDecodeError(f"{media.name} cannot be decoded: {_words(error)}") from None
    with container:
        yield container


def decoded_frames(container: InputContainer, stream: Any, name: str) -> Iterator[Any]:
    """Every frame of `stream`, in display order.

    Damaged packets are left out, as players do; when they are the majority it is a
    MediaDecodeError. A container that breaks off after good packets is a MediaTruncatedError.
    """
    good, bad, reason = 0, 0, ""
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets, None)
        except (av.FFmpegError, OSError) as error:
            fault = MediaTruncatedError if good else MediaDecodeError
            raise fault(f"{name} breaks off: {_words(error)}") from None
        if packet is None:
            break
        try:
            frames = packet.decode()
        except (av.FFmpegError, ValueError) as error:
            bad, reason = bad + 1, _words(error)
            continue
        good += 1
        yield from frames
    if bad > good:
        raise MediaDecodeError(f"{name} cannot be decoded: {reason}")


def check_declared_duration(
    container: InputContainer, stream: Any, name: str, limits: Limits
) -> None:
    """Refuse, before decoding, what says that it is too long."""
    declared_s = (container.duration or 0) / av.time_base
    if stream.duration and stream.time_base:
        declared_s = float(stream.duration * stream.time_base)
    slack = 1.5 if container.format.name in _GUESSED_DURATION else 1.0
    if declared_s / slack > limits.max_seconds:
        raise too_long(name, declared_s, limits)


def check_seconds_so_far(seconds: float, name: str, limits: Limits) -> None:
    """Stop decoding what goes on beyond the limit, whatever its header said."""
    if seconds > limits.max_seconds:
        raise MediaTooLargeError(
            f"{name} goes on beyond the limit of {_spoken(limits.max_seconds)} s"
        )


def too_long(name: str, seconds: float, limits: Limits) -> MediaTooLargeError:
    """The error for a sound or video whose whole duration is known."""
    return MediaTooLargeError(
        f"{name} lasts {_spoken(seconds)} s; the limit is {_spoken(limits.max_seconds)} s"
    )


def _spoken(seconds: float) -> str:
    return f"{seconds:,.1f}".removesuffix(".0")


def _headerless_format(media: OpenedSource) -> str | None:
    media.stream.seek(0)
    head = media.stream.read(4)
    media.stream.seek(0)
    return None if head.startswith(_HEADERS) else _HEADERLESS.get(media.suffix)


def _words(error: Exception) -> str:
    """FFmpeg's reason alone, without its number and class."""
    return str(getattr(error, "strerror", None) or error).lower().rstrip(".")
