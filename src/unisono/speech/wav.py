"""WAV files, 16-bit PCM, written while the sound is still being made.

Knows the RIFF/WAVE header (Microsoft, "Multiple channel audio data and WAVE files"); knows
nothing of voices. Reading is `media.audio`'s.
"""

import contextlib
import io
import os
import secrets
import struct
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import numpy as np
import numpy.typing as npt

_HEADER_BYTES = 44
_BYTES_PER_SAMPLE = 2
_UNKNOWN_SIZE = 0xFFFFFFFF
"""What a header says while the length is not known; players then read to the end."""
_MAX_DATA_BYTES = _UNKNOWN_SIZE - _HEADER_BYTES


def to_int16(pcm: npt.NDArray[np.floating]) -> npt.NDArray[np.int16]:
    """Return PCM of any float type in [-1, 1] as int16, clipped, rounded symmetrically.

    Full scale is ±32767, so -1 and 1 are equally far from 0; NaN becomes silence.
    """
    scaled = np.nan_to_num(pcm, nan=0.0, posinf=1.0, neginf=-1.0).clip(-1.0, 1.0) * 32767.0
    rounded: npt.NDArray[np.int16] = np.rint(scaled).astype(np.int16)
    return rounded


def wav_header(sample_rate_hz: int, channels: int, data_bytes: int | None) -> bytes:
    """Return the 44 header bytes; `data_bytes=None` makes the header of an endless stream."""
    data = _UNKNOWN_SIZE if data_bytes is None else min(data_bytes, _MAX_DATA_BYTES)
    riff = _UNKNOWN_SIZE if data_bytes is None else data + _HEADER_BYTES - 8
    block = channels * _BYTES_PER_SAMPLE
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        *(b"RIFF", riff, b"WAVE", b"fmt ", 16, 1, channels),
        *(sample_rate_hz, sample_rate_hz * block, block, 8 * _BYTES_PER_SAMPLE, b"data", data),
    )


class WavWriter:
    """Writes chunks of float PCM as they come; a context manager.

    On a path, the sound goes into a hidden sibling that takes the path's name only when the
    block ends well: after an exception or Ctrl-C there is nothing new, and an older file of
    that name is untouched. On a seekable file object the header is corrected at the end; on a
    pipe it says "unknown length" (0xFFFFFFFF). A file object stays open, it is its owner's.

    Args:
        target: where to write.
        sample_rate_hz: samples per second and channel.
        channels: 1, or more with chunks of shape [T, channels].

    Raises:
        ValueError: the rate or the number of channels is not a positive number.
        OSError: the path cannot be written.
    """

    def __init__(
        self, target: str | os.PathLike[str] | BinaryIO, sample_rate_hz: int, channels: int = 1
    ) -> None:
        if sample_rate_hz <= 0 or not 1 <= channels <= 255:
            raise ValueError(
                f"a WAV file needs a positive sample rate and 1 to 255 channels, but got "
                f"{sample_rate_hz} Hz and {channels} channels"
            )
        self._sample_rate_hz = sample_rate_hz
        self._channels = channels
        self._path = Path(target) if isinstance(target, str | os.PathLike) else None
        self._file: BinaryIO | None = None if self._path else target  # type: ignore[assignment]
        self._temporary: Path | None = None
        self._start = 0
        self._data_bytes = 0

    @property
    def duration_s(self) -> float:
        """Seconds written so far."""
        return self._data_bytes / (self._sample_rate_hz * self._channels * _BYTES_PER_SAMPLE)

    def __enter__(self) -> Self:
        if self._path is not None:
            # Same folder, so that the final rename never crosses file systems.
            self._temporary = self._path.with_name(
                f".{self._path.name}.{secrets.token_hex(4)}.part"
            )
            self._file = self._temporary.open("xb")
        file = self._open_file()
        self._start = file.tell() if file.seekable() else 0
        file.write(wav_header(self._sample_rate_hz, self._channels, None))
        return self

    def write(self, chunk: npt.NDArray[np.floating]) -> None:
        """Append a chunk: float [T], or [T, channels]; values outside [-1, 1] are clipped.

        Raises:
            ValueError: the chunk's shape does not fit the number of channels.
        """
        if chunk.ndim == 1 and self._channels == 1:
            chunk = chunk[:, None]
        if chunk.ndim != 2 or chunk.shape[1] != self._channels:
            raise ValueError(
                f"a chunk must be of shape [T, {self._channels}], but is {list(chunk.shape)}"
            )
        data = to_int16(chunk).astype("<i2").tobytes()
        file = self._open_file()
        file.write(data)
        if not file.seekable():
            file.flush()  # a listener at the other end of the pipe is waiting
        self._data_bytes += len(data)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._temporary is None or self._path is None:
            if kind is None:
                self._finish_header()
            return
        try:
            if kind is None:
                self._finish_header()
            self._open_file().close()
            if kind is None:
                os.replace(self._temporary, self._path)
        finally:
            with contextlib.suppress(OSError):
                self._open_file().close()
            self._temporary.unlink(missing_ok=True)

    def _open_file(self) -> BinaryIO:
        if self._file is None:
            raise ValueError("a WavWriter writes only inside its `with` block")
        return self._file

    def _finish_header(self) -> None:
        file = self._open_file()
        if not file.seekable():
            file.flush()
            return
        end = file.tell()
        file.seek(self._start)
        file.write(wav_header(self._sample_rate_hz, self._channels, self._data_bytes))
        file.seek(end)
        file.flush()


def wav_bytes(pcm: npt.NDArray[np.floating], sample_rate_hz: int) -> bytes:
    """Return a whole WAV file of float PCM [T] or [T, channels]."""
    buffer = io.BytesIO()
    with WavWriter(buffer, sample_rate_hz, 1 if pcm.ndim == 1 else pcm.shape[-1]) as writer:
        writer.write(pcm)
    return buffer.getvalue()
