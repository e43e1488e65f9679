"""Real files made on the fly with FFmpeg's own encoders, in memory."""

import io
from collections.abc import Callable
from fractions import Fraction

import av
import numpy as np

TONE_HZ = 440


def tone(seconds: float, rate_hz: int, channels: int = 1) -> np.ndarray:
    """[C, T] float32: the same sine of amplitude 0.4 in every channel."""
    times_s = np.arange(round(seconds * rate_hz)) / rate_hz
    sine = 0.4 * np.sin(2 * np.pi * TONE_HZ * times_s)
    return np.tile(sine, (channels, 1)).astype(np.float32)


def add_tone(container, codec: str, rate_hz: int, layout: str, seconds: float) -> Callable:
    """Add an audio stream; the function returned writes it."""
    options = {"strict": "experimental"} if codec == "vorbis" else {}
    stream = container.add_stream(codec, rate=rate_hz, layout=layout, options=options)

    def write() -> None:
        stream.codec_context.open(strict=False)
        array = tone(seconds, rate_hz, av.AudioLayout(layout).nb_channels)
        interleaved = np.ascontiguousarray(array.T).reshape(1, -1)
        frame = av.AudioFrame.from_ndarray(interleaved, format="flt", layout=layout)
        frame.sample_rate, frame.pts = rate_hz, 0
        to_codec = av.AudioResampler(
            format=stream.codec_context.format.name,
            layout=layout,
            rate=rate_hz,
            frame_size=stream.codec_context.frame_size or 1024,
        )
        for part in [*to_codec.resample(frame), *to_codec.resample(None)]:
            container.mux(stream.encode(part))
        container.mux(stream.encode(None))

    return write


def make_audio(form="wav", codec="pcm_s16le", rate_hz=16_000, layout="mono", seconds=1.0) -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=form) as container:
        add_tone(container, codec, rate_hz, layout, seconds)()
    return buffer.getvalue()


def make_video(
    levels,
    times=None,
    *,
    form="mp4",
    codec="libx264",
    size=(64, 48),
    options=None,
    rotation=0,
    audio="",
    paint=None,
) -> bytes:
    """Frame i is all gray of level `levels[i]`, shown at `times[i]` ms (or at 25 per second)."""
    clock = Fraction(1, 25) if times is None else Fraction(1, 1000)
    times = range(len(levels)) if times is None else times
    buffer = io.BytesIO()
    with av.open(buffer, "w", format=form) as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height = size
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = clock
        if rotation:
            stream.set_display_rotation(rotation)
        write_audio = add_tone(container, audio, 48_000, "stereo", 1.0) if audio else None
        for level, time in zip(levels, times, strict=True):
            picture = np.full((size[1], size[0], 3), level, np.uint8)
            if paint:
                paint(picture)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = time, clock
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
        if write_audio:
            write_audio()
    return buffer.getvalue()
