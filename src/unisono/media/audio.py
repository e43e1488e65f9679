"""Sound: from any source to one float32 channel at the rate asked for.

Legend: C channels, T samples. Decoding, mixing down and resampling go frame by frame, so a
long file never lies in memory at its native rate. Spectrograms are the processors' affair.
"""

from typing import Any

import av
import numpy as np
import soxr
from numpy.typing import NDArray

from unisono.errors import (
    MediaDecodeError,
    MediaEmptyError,
    MediaStreamMissingError,
    MediaTruncatedError,
)
from unisono.media.container import (
    check_declared_duration,
    check_seconds_so_far,
    decoded_frames,
    open_container,
    too_long,
)
from unisono.media.source import (
    DEFAULT_LIMITS,
    Limits,
    OpenedSource,
    Source,
    Waveform,
    check_finite,
    open_source,
)

SAMPLE_RATE_HZ = 16_000  # of every audio encoder in this library

AudioSource = Source | NDArray[Any] | Waveform | tuple[NDArray[Any], int]

Samples = NDArray[np.float32]  # [T], mono, in [-1, 1]

# Sample type -> (value of silence, full scale).
_SCALES: dict[str, tuple[float, float]] = {
    "uint8": (128.0, 2.0**7),
    "int16": (0.0, 2.0**15),
    "int32": (0.0, 2.0**31),
    "int64": (0.0, 2.0**63),
    "float32": (0.0, 1.0),
    "float64": (0.0, 1.0),
}
# Outside of these a header is broken or hostile: upsampling from 1 Hz costs 16,000 times it.
_RATES_HZ = range(100, 10_000_001)
# PyAV finds a frame's planes by their closing NULL, which frames of FFmpeg's full eight do not
# have: it reads past them and can crash. Such frames are interleaved first.
_UNSAFE_PLANES = 8
_LOUDEST_FLOAT = 2.0  # beyond clipping: such floats are integers that nobody scaled


class Resampler:
    """Mono sound from one sample rate to another, chunk by chunk (soxr, "HQ").

    The chunks put together equal the whole resampled at once; after `flush` it is spent.
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        self._soxr = None if from_hz == to_hz else soxr.ResampleStream(from_hz, to_hz, 1)

    def push(self, samples: Samples) -> Samples:
        """[T] in, whatever is ready out (soxr lags a little behind)."""
        if self._soxr is None:
            return samples
        ready: Samples = self._soxr.resample_chunk(samples)
        return ready

    def flush(self) -> Samples:
        """What was still held back: call once, at the end."""
        nothing = np.zeros(0, np.float32)
        if self._soxr is None:
            return nothing
        rest: Samples = self._soxr.resample_chunk(nothing, last=True)
        return rest


def resample(samples: Samples, from_hz: int, to_hz: int) -> Samples:
    """[T] at `from_hz` to [round(T · to_hz / from_hz)] at `to_hz`."""
    resampler = Resampler(from_hz, to_hz)
    return np.concatenate([resampler.push(samples), resampler.flush()])


def load_audio(
    source: AudioSource, *, sample_rate_hz: int = SAMPLE_RATE_HZ, limits: Limits = DEFAULT_LIMITS
) -> Samples:
    """Sound as float32 mono [T] in [-1, 1] at `sample_rate_hz`; channels are averaged.

    source: a path, bytes or `data:` URL of any container FFmpeg reads (of a video, its best
    audio stream), a `Waveform`, a tuple (samples, rate), or a bare array (taken as 16 kHz).
    What only the file's ending can tell (G.722, raw G.711, GSM) needs a path.

    Raises MediaNotFoundError, MediaAccessError, MediaDecodeError, MediaStreamMissingError,
    MediaTooLargeError (from the header and while decoding), MediaEmptyError (no samples;
    silence is fine), and MediaTruncatedError where a format promises its length: WAV, AIFF,
    FLAC, Ogg, MP4, Matroska. A cut MP3 or ADTS file is a valid shorter one and loads.
    """
    if sample_rate_hz not in _RATES_HZ:
        raise ValueError(f"sample_rate_hz must be 100 to 10,000,000, but is {sample_rate_hz}")
    if isinstance(source, np.ndarray):
        source = Waveform(source, SAMPLE_RATE_HZ)
    if isinstance(source, tuple):
        source = _from_pair(source)
    if isinstance(source, Waveform):
        return _load_waveform(source, sample_rate_hz, limits)
    with open_source(source, "audio", limits) as media:
        return decode_audio(media, sample_rate_hz, limits)


def decode_audio(media: OpenedSource, sample_rate_hz: int, limits: Limits) -> Samples:
    """The best audio stream of an opened file: [T] at `sample_rate_hz`; see `load_audio`."""
    with open_container(media) as container:
        stream = container.streams.best("audio")
        if stream is None:
            raise MediaStreamMissingError(f"{media.name} has no audio stream")
        check_declared_duration(container, stream, media.name, limits)
        mixer = _Mixer(media.name, sample_rate_hz, limits)
        for frame in decoded_frames(container, stream, media.name):
            mixer.push(frame)
        if container.format.name == "flac" and stream.duration and stream.time_base:
            _check_complete(mixer, float(stream.duration * stream.time_base), media.name)
        return mixer.finish()


def _check_complete(mixer: "_Mixer", promised_s: float, name: str) -> None:
    """FLAC counts its samples in the header; half a millisecond is for rounding."""
    if mixer.seconds + 0.0005 < promised_s:
        raise MediaTruncatedError(
            f"{name} is cut short: {mixer.seconds:,.2f} s of {promised_s:,.2f} s are there"
        )


class _Mixer:
    """Decoded frames in; one channel at one rate out. Native rates may change midway."""

    def __init__(self, name: str, sample_rate_hz: int, limits: Limits) -> None:
        self.seconds = 0.0
        self._name, self._rate_hz, self._limits = name, sample_rate_hz, limits
        self._from_hz = 0
        self._resampler = Resampler(1, 1)
        self._chunks: list[Samples] = []

    def push(self, frame: Any) -> None:
        if frame.sample_rate != self._from_hz:
            self._change_rate(frame.sample_rate)
        self.seconds += frame.samples / frame.sample_rate
        check_seconds_so_far(self.seconds, self._name, self._limits)
        self._chunks.append(self._resampler.push(_frame_to_mono(frame, self._name)))

    def finish(self) -> Samples:
        self._chunks.append(self._resampler.flush())
        samples = np.concatenate(self._chunks)
        if samples.size == 0:
            raise MediaEmptyError(f"{self._name} has no audio samples")
        # Lossy codecs and the resampler's ripples go a little beyond full scale.
        return np.clip(samples, -1.0, 1.0, out=samples)

    def _change_rate(self, from_hz: int) -> None:
        if from_hz not in _RATES_HZ:
            raise MediaDecodeError(
                f"{self._name} has a sample rate of {from_hz:,} Hz, which cannot be"
            )
        self._chunks.append(self._resampler.flush())
        self._resampler = Resampler(from_hz, self._rate_hz)
        self._from_hz = from_hz


def _frame_to_mono(frame: av.AudioFrame, name: str) -> Samples:
    try:
        if frame.format.is_planar and frame.layout.nb_channels >= _UNSAFE_PLANES:
            frame = _interleaved(frame)
        array = frame.to_ndarray()
    except (ValueError, av.FFmpegError):
        raise MediaDecodeError(f"{name} has samples of type {frame.format.name}") from None
    if not frame.format.is_planar:  # [1, T·C], channels interleaved
        array = array.reshape(-1, frame.layout.nb_channels).T
    check_finite(array, name)
    return _mix_down(array)


def _interleaved(frame: av.AudioFrame) -> av.AudioFrame:
    to_flt = av.AudioResampler(format="flt", layout=frame.layout, rate=frame.sample_rate)
    return to_flt.resample(frame)[0]


def _mix_down(array: NDArray[Any]) -> Samples:
    """[C, T] of any type in `_SCALES` -> [T]: the mean of the channels, scaled to ±1."""
    silence, full_scale = _SCALES[array.dtype.name]
    mono: Samples = array.mean(axis=0, dtype=np.float64).astype(np.float32)
    if full_scale == 1.0:
        return mono
    return (mono - np.float32(silence)) / np.float32(full_scale)


def _from_pair(pair: tuple[Any, ...]) -> Waveform:
    if len(pair) != 2 or not isinstance(pair[0], np.ndarray):
        shown = ", ".join(type(item).__name__ for item in pair)
        raise MediaDecodeError(f"audio must be (samples, sample_rate_hz), but is ({shown}) instead")
    return Waveform(pair[0], pair[1])


def _load_waveform(waveform: Waveform, sample_rate_hz: int, limits: Limits) -> Samples:
    array = np.asarray(waveform.samples)
    name = f"audio array of shape {array.shape}"
    rate_hz = _valid_rate(waveform.sample_rate_hz, name)
    channels_first = _valid_channels(array, name)
    seconds = channels_first.shape[1] / rate_hz
    if seconds > limits.max_seconds:
        raise too_long(name, seconds, limits)
    mono = _mix_down(channels_first)
    return np.clip(resample(mono, rate_hz, sample_rate_hz), -1.0, 1.0)


def _valid_rate(rate_hz: Any, name: str) -> int:
    if rate_hz not in _RATES_HZ:  # as for any range, 44_100.0 is in it and 44_100.5 is not
        raise MediaDecodeError(
            f"{name} must have a sample rate of 100 to 10,000,000 Hz, but has {rate_hz} instead"
        )
    return int(rate_hz)


def _valid_channels(array: NDArray[Any], name: str) -> NDArray[Any]:
    """[T] or [C, T], checked -> [C, T]."""
    if array.dtype == np.float16:
        array = array.astype(np.float32)
    if array.dtype.name not in _SCALES:
        raise MediaDecodeError(
            f"{name} must be float, uint8, int16 or int32, but is {array.dtype} instead"
        )
    if array.size == 0:
        raise MediaEmptyError(f"{name} has no audio samples")
    if array.ndim == 1:
        array = array[None]
    if array.ndim != 2 or (array.shape[0] > 2 and array.shape[0] > array.shape[1]):
        raise MediaDecodeError(f"{name} must be [samples] or [channels, samples]")
    check_finite(array, name)
    loudest = np.abs(array).max() if np.issubdtype(array.dtype, np.floating) else 0.0
    if loudest > _LOUDEST_FLOAT:
        raise MediaDecodeError(f"{name} must be within [-1, 1], but reaches {loudest:g} instead")
    return array
