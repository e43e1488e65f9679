"""Speech in the formats that clients ask for, whole or as it comes."""

import io
from typing import Any, Literal, Protocol, get_args

import av
import numpy as np

from unisono.errors import UnisonoError
from unisono.media import Resampler
from unisono.speech import Pcm, to_int16, wav_bytes

AudioFormat = Literal["wav", "mp3", "flac", "opus", "aac", "pcm16", "pcm"]
STREAM_RATE_HZ = 24_000
"""Of headerless samples, as in OpenAI's interface."""

_CONTAINERS = {
    "mp3": ("mp3", "libmp3lame"),
    "flac": ("flac", "flac"),
    "opus": ("ogg", "libopus"),
    "aac": ("adts", "aac"),
}
_PROMISES_LENGTH = frozenset({"flac"})
"""Whose headers are written last: players take a stream of one for a broken file."""
_OPUS_RATE_HZ = 48_000
MEDIA_TYPES = {
    "wav": "audio/wav",
    "mp3": "audio/mpeg",
    "flac": "audio/flac",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "pcm16": "audio/pcm",
    "pcm": "audio/pcm",
}


class Encoder(Protocol):
    """Samples in, bytes of a file out."""

    def push(self, pcm: Pcm) -> bytes:
        """The bytes that are ready."""
        ...

    def flush(self) -> bytes:
        """The rest; once, at the end."""
        ...


def encoder_of(form: str, sample_rate_hz: int) -> Encoder:
    """An encoder; WAV and FLAC give all their bytes at the end.

    Args:
        form: one of `AudioFormat`; `pcm16` is 24 kHz, little-endian, without a header.
        sample_rate_hz: of the samples that will be pushed.

    Raises:
        UnisonoError: there is no such format.
    """
    if form not in get_args(AudioFormat):
        raise UnisonoError(
            f"format must be one of {', '.join(get_args(AudioFormat))}, but is {form!r} instead"
        )
    if form == "wav":
        return _Wav(sample_rate_hz)
    if form in ("pcm16", "pcm"):
        return Pcm16Stream(sample_rate_hz)
    return _InContainer(sample_rate_hz, form)


def encode(pcm: Pcm, sample_rate_hz: int, form: str) -> bytes:
    """A whole sound, float32 [T], as a file.

    Raises:
        UnisonoError: there is no such format.
    """
    encoder = encoder_of(form, sample_rate_hz)
    return encoder.push(pcm) + encoder.flush()


class Pcm16Stream:
    """Chunks of one rate -> 24 kHz samples, without a seam between the chunks."""

    def __init__(self, sample_rate_hz: int) -> None:
        self._resampler = Resampler(sample_rate_hz, STREAM_RATE_HZ)

    def push(self, pcm: Pcm) -> bytes:
        """The samples that are ready."""
        return to_int16(self._resampler.push(pcm)).astype("<i2").tobytes()

    def flush(self) -> bytes:
        """The rest."""
        return to_int16(self._resampler.flush()).astype("<i2").tobytes()


class _Wav:
    """A header that says the length comes first, so everything waits for the end."""

    def __init__(self, sample_rate_hz: int) -> None:
        self._rate_hz = sample_rate_hz
        self._held: list[Pcm] = [np.zeros(0, np.float32)]

    def push(self, pcm: Pcm) -> bytes:
        self._held.append(pcm)
        return b""

    def flush(self) -> bytes:
        return wav_bytes(np.concatenate(self._held), self._rate_hz)


class _Sink:
    """What FFmpeg writes to; one that cannot be sought in makes it write a stream."""

    def __init__(self) -> None:
        self.written = bytearray()

    def write(self, data: bytes) -> int:
        self.written += data
        return len(data)


class _InContainer:
    """A codec in a container."""

    def __init__(self, sample_rate_hz: int, form: str) -> None:
        name, codec = _CONTAINERS[form]
        rate_hz = _OPUS_RATE_HZ if form == "opus" else sample_rate_hz
        self._resampler = Resampler(sample_rate_hz, rate_hz)
        self._sink: Any = io.BytesIO() if form in _PROMISES_LENGTH else _Sink()
        self._container = av.open(self._sink, "w", format=name)
        self._stream = self._container.add_stream(codec, rate=rate_hz, layout="mono")
        context = self._stream.codec_context
        context.open(strict=False)
        self._rate_hz, self._pushed = rate_hz, 0
        self._to_codec = av.AudioResampler(
            format=context.format.name,
            layout="mono",
            rate=rate_hz,
            frame_size=context.frame_size or 1024,
        )

    def push(self, pcm: Pcm) -> bytes:
        self._encode(self._resampler.push(pcm))
        return self._ready()

    def flush(self) -> bytes:
        self._encode(self._resampler.flush())
        for part in self._to_codec.resample(None):
            self._container.mux(self._stream.encode(part))
        self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._sink.getvalue() if isinstance(self._sink, io.BytesIO) else self._ready()

    def _encode(self, samples: Pcm) -> None:
        if len(samples) == 0:
            return
        frame = av.AudioFrame.from_ndarray(to_int16(samples)[None].astype(np.int16), "s16", "mono")
        frame.sample_rate, frame.pts = self._rate_hz, self._pushed
        self._pushed += len(samples)
        for part in self._to_codec.resample(frame):
            self._container.mux(self._stream.encode(part))

    def _ready(self) -> bytes:
        if isinstance(self._sink, io.BytesIO):
            return b""
        ready = bytes(self._sink.written)
        self._sink.written.clear()
        return ready
