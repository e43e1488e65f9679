"""Frames and sound -> an MP4 file (H.264 and AAC), the same bytes each time."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.context import Flags
from numpy.typing import NDArray

from unisono.media import SAMPLE_RATE_HZ

_AAC_BITS_PER_S = 40_000
_CRF = "20"


def write_clip(
    path: Path,
    frames: NDArray[np.uint8],
    sound: NDArray[np.float32],
    *,
    frames_per_s: int,
    sample_rate_hz: int = SAMPLE_RATE_HZ,
) -> None:
    """Write an MP4 file whose index stands first.

    One thread, fixed settings and no times in the header: the same input makes the same file, as
    long as the libraries are of the same version.

    Args:
        path: of the file.
        frames: uint8 [F, H, W, 3]; H and W even.
        sound: [T] in [-1, 1], mono.
        frames_per_s: frames shown in a second.
        sample_rate_hz: samples in a second, one that AAC knows.
    """
    options = {"fflags": "+bitexact", "movflags": "+faststart"}
    with av.open(str(path), "w", format="mp4", options=options) as container:
        video = _video_stream(container, frames, frames_per_s)
        audio = container.add_stream("aac", rate=sample_rate_hz, layout="mono")
        audio.codec_context.bit_rate = _AAC_BITS_PER_S
        _fix(audio.codec_context)
        for index, picture in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = index, Fraction(1, frames_per_s)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        container.mux(audio.encode(_audio_frame(sound, sample_rate_hz)))
        container.mux(audio.encode(None))


def _video_stream(container: Any, frames: NDArray[np.uint8], frames_per_s: int) -> Any:
    options = {"crf": _CRF, "preset": "veryfast", "tune": "animation"}
    video = container.add_stream("libx264", rate=frames_per_s, options=options)
    video.height, video.width = frames.shape[1:3]
    video.pix_fmt = "yuv420p"
    video.gop_size = frames_per_s
    _fix(video.codec_context)
    return video


def _fix(codec: Any) -> None:
    codec.thread_count = 1
    codec.flags |= int(Flags.bitexact)


def _audio_frame(sound: NDArray[np.float32], sample_rate_hz: int) -> av.AudioFrame:
    clipped = np.clip(sound, -1.0, 1.0).astype(np.float32)
    frame = av.AudioFrame.from_ndarray(clipped[None], format="fltp", layout="mono")
    frame.sample_rate, frame.pts = sample_rate_hz, 0
    frame.time_base = Fraction(1, sample_rate_hz)
    return frame
