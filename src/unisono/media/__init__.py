"""Bytes to arrays with units: pictures, sounds and videos, safely and within limits."""

from unisono.media.audio import SAMPLE_RATE_HZ, AudioSource, Resampler, load_audio, resample
from unisono.media.image import ImageSource, load_image
from unisono.media.source import (
    DEFAULT_LIMITS,
    Limits,
    OpenedSource,
    Source,
    Waveform,
    open_source,
)
from unisono.media.video import Video, VideoSource, load_video

__all__ = [
    "DEFAULT_LIMITS",
    "SAMPLE_RATE_HZ",
    "AudioSource",
    "ImageSource",
    "Limits",
    "OpenedSource",
    "Resampler",
    "Source",
    "Video",
    "VideoSource",
    "Waveform",
    "load_audio",
    "load_image",
    "load_video",
    "open_source",
    "resample",
]
