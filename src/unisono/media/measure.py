"""What a medium will cost to decode, found out before it is decoded.

A picture's header says its pixels, and no more are decoded. A video's header may say anything, so
its packets are counted: they are read, which is quick, and not decoded.
"""

from dataclasses import dataclass
from typing import Any

import av

from unisono.errors import MediaDecodeError
from unisono.media.container import check_seconds_so_far, open_container
from unisono.media.image import image_size
from unisono.media.source import DEFAULT_LIMITS, Limits, OpenedSource, Source, open_source
from unisono.media.video import video_stream


@dataclass(frozen=True)
class VideoCost:
    """What a video asks of whoever decodes it.

    Attributes:
        seconds: from the first packet to the end of the last.
        pixels: of all frames together, each decoded once.
    """

    seconds: float
    pixels: int


def image_pixels(source: Source, *, limits: Limits = DEFAULT_LIMITS) -> int:
    """Width times height, as the header says.

    Raises:
        MediaError: as `load_image`, for what the header shows.
    """
    width, height = image_size(source, limits=limits)
    return width * height


def video_cost(source: Source, *, limits: Limits = DEFAULT_LIMITS) -> VideoCost:
    """Count a video's packets.

    Raises:
        MediaError: as `load_video`, for what can be seen without decoding.
    """
    with open_source(source, "video", limits) as media, open_container(media) as container:
        stream = video_stream(container, media.name, limits)
        packets, seconds = _walk(container, stream, media, limits)
        size = stream.codec_context
        return VideoCost(seconds, packets * max(1, size.width * size.height))


@dataclass(frozen=True)
class VideoFacts:
    """What a video's header says.

    Attributes:
        declared_s: its length; 0 when nothing is said.
        width_px, height_px: of a frame as it is coded.
        has_sound: whether it has an audio stream.
    """

    declared_s: float
    width_px: int
    height_px: int
    has_sound: bool


def video_facts(source: Source, *, limits: Limits = DEFAULT_LIMITS) -> VideoFacts:
    """Read a video's header; nothing is decoded.

    Raises:
        MediaError: as `load_video`, for what can be seen without decoding.
    """
    with open_source(source, "video", limits) as media, open_container(media) as container:
        stream = video_stream(container, media.name, limits)
        declared_s = (container.duration or 0) / av.time_base
        if stream.duration and stream.time_base:
            declared_s = float(stream.duration * stream.time_base)
        size, sound = stream.codec_context, container.streams.best("audio")
        return VideoFacts(declared_s, size.width, size.height, sound is not None)


def _walk(container: Any, stream: Any, media: OpenedSource, limits: Limits) -> tuple[int, float]:
    """How many packets the stream has, and how many seconds."""
    count, first_s, last_s = 0, None, 0.0
    try:
        for packet in container.demux(stream):
            count += packet.size > 0
            if packet.pts is not None:
                time_s = float(packet.pts * packet.time_base)
                first_s = time_s if first_s is None else min(first_s, time_s)
                last_s = max(last_s, time_s + float((packet.duration or 0) * packet.time_base))
                check_seconds_so_far(last_s - first_s, media.name, limits)
    except (av.FFmpegError, OSError) as error:
        if not count:
            raise MediaDecodeError(f"{media.name} breaks off: {error}") from None
    return count, last_s - (first_s or 0.0)
