"""Bytes to arrays with units: pictures, sounds and videos, safely and within limits."""

from unisono.media.audio import SAMPLE_RATE_HZ, AudioSource, Resampler, load_audio, resample
from unisono.media.image import ImageSource, load_class_map, load_image
from unisono.media.measure import VideoCost, image_pixels, video_cost
from unisono.media.source import (
    DEFAULT_LIMITS,
    Limits,
    OpenedSource,
    Source,
    Waveform,
    open_source,
)
from unisono.media.video import Video, VideoSource, load_sound_of_video, load_video, walk_video

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
    "VideoCost",
    "VideoSource",
    "Waveform",
    "image_pixels",
    "load_audio",
    "load_class_map",
    "load_image",
    "load_sound_of_video",
    "load_video",
    "open_source",
    "resample",
    "video_cost",
    "walk_video",
]
