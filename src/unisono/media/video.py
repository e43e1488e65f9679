"""Video: evenly spaced frames with their times, and the sound beside them.

Legend: F frames, H height, W width, T samples. Frames are upright (the display matrix's
rotation applied) and at the size they were coded in; how many pixels a model sees is its
processor's affair.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import av
import numpy as np
from av.stream import Disposition
from numpy.typing import NDArray

from unisono.errors import (
    MediaDecodeError,
    MediaEmptyError,
    MediaStreamMissingError,
    MediaTooLargeError,
)
from unisono.media.audio import SAMPLE_RATE_HZ, Samples, decode_audio
from unisono.media.container import (
    check_declared_duration,
    check_seconds_so_far,
    decoded_frames,
    open_container,
)
from unisono.media.image import ImageSource, load_image
from unisono.media.source import DEFAULT_LIMITS, Limits, OpenedSource, Source, open_source

VideoSource = Source | Sequence[ImageSource]
"""A file; or its frames, one picture each, as data sets store them."""

_SAME_TIME_S = 1e-3
FRAMES_PER_S = 1.0
"""What frames without a file are taken for: as training data samples them."""


@dataclass(frozen=True, eq=False)
class Video:
    """Part of a video's frames, and all of its sound.

    frames: uint8 [F, H, W, 3], RGB. times_s: float64 [F], of each frame's appearance, the
    video's first frame being at 0. duration_s: of the whole video, the last frame's own
    time included. audio: float32 [T] at 16 kHz, or None when there is no sound.
    """

    frames: NDArray[np.uint8]
    times_s: NDArray[np.float64]
    duration_s: float
    audio: Samples | None


def load_video(
    source: VideoSource,
    *,
    frames: int = 64,
    with_audio: bool = True,
    limits: Limits = DEFAULT_LIMITS,
) -> Video:
    """`frames` frames spread evenly from the first to the last, or all if there are fewer.

    Of n frames those numbered linspace(0, n - 1, frames), cut to integers, are taken (as
    Ola does it); they are counted in display order. Only the frames taken are kept in memory.
    A video given as a list of its frames has no sound.

    Raises MediaNotFoundError, MediaAccessError, MediaDecodeError, MediaStreamMissingError (no
    video stream; missing sound is no error), MediaTruncatedError, MediaEmptyError, and
    MediaTooLargeError (seconds, pixels of a frame, pixels of all frames taken).
    """
    if frames < 1:
        raise ValueError(f"frames must be at least 1, but is {frames}")
    if isinstance(source, list | tuple):
        return _of_pictures(source, frames, limits)
    with open_source(cast("Source", source), "video", limits) as media:
        picks = _pick_frames(media, frames, limits)
        audio = _audio_or_none(media, limits) if with_audio else None
    return Video(
        np.stack(picks.pictures),
        np.array(picks.times_s) - picks.first_s,
        picks.last_s - picks.first_s,
        audio,
    )


def walk_video(
    source: Source, *, every_s: float, side_px: int, limits: Limits = DEFAULT_LIMITS
) -> Iterator[tuple[float, float, NDArray[np.uint8]]]:
    """Small frames at intervals, one after another, in one pass and little memory.

    Args:
        source: the video.
        every_s: at least so many seconds from one to the next; 0 for all.
        side_px: longer side of what is given out; smaller frames stay as they are.
        limits: see `load_video`.

    Yields:
        When the frame appears and when it ends in the video, in seconds from its first frame,
        and uint8 [H, W, 3].

    Raises:
        MediaError: see `load_video`.
    """
    with open_source(source, "video", limits) as media, open_container(media) as container:
        stream = video_stream(container, media.name, limits)
        stream.thread_type = "AUTO"
        track, last_s = _Picks(), -np.inf
        for frame in decoded_frames(container, stream, media.name):
            time_s = _track_time(track, frame, stream) - track.first_s
            check_seconds_so_far(track.last_s - track.first_s, media.name, limits)
            track.count += 1
            if time_s - last_s >= every_s - _SAME_TIME_S:
                _check_frame_pixels(frame.width, frame.height, media.name, limits)
                last_s = time_s
                small = _upright_rgb(_shrunk(frame, side_px), [], media.name)
                yield time_s, track.last_s - track.first_s, small
        if not track.count:
            raise MediaEmptyError(f"{media.name} has no video frames")


def load_sound_of_video(source: Source, *, limits: Limits = DEFAULT_LIMITS) -> Samples | None:
    """All of a video's sound, float32 [T] at 16 kHz; None if it has none.

    Raises:
        MediaError: see `load_video`.
    """
    with open_source(source, "video", limits) as media:
        return _audio_or_none(media, limits)


def spread(count: int, frames: int) -> NDArray[np.int64]:
    """Indices of `frames` evenly spaced among `count` frames; all of them when fewer."""
    return np.linspace(0, count - 1, min(frames, count)).astype(np.int64)


def _of_pictures(pictures: Sequence[ImageSource], frames: int, limits: Limits) -> Video:
    """Frames given one by one; all take the first one's size."""
    if not pictures:
        raise MediaEmptyError("video has no frames")
    numbers = spread(len(pictures), frames)
    taken = [load_image(pictures[number], limits=limits) for number in numbers]
    size = taken[0].size
    if len(taken) * size[0] * size[1] > limits.max_clip_pixels:
        raise MediaTooLargeError(
            f"video: {len(taken)} frames of {size[0]:,} × {size[1]:,} are more than "
            f"{limits.max_clip_pixels:,} pixels; take fewer frames"
        )
    alike = [np.asarray(one if one.size == size else one.resize(size)) for one in taken]
    return Video(np.stack(alike), numbers / FRAMES_PER_S, len(pictures) / FRAMES_PER_S, None)


@dataclass
class _Picks:
    """What one pass over the frames gathers."""

    count: int = 0
    pictures: list[NDArray[np.uint8]] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)
    first_s: float = 0.0
    last_s: float = 0.0  # the end of the last frame, not its beginning


def _pick_frames(media: OpenedSource, frames: int, limits: Limits) -> _Picks:
    """Count the packets, then decode and keep the frames wanted.

    Reading packets is cheap, but they are not always one a frame (packed B-frames, interlaced
    fields, damage): when decoding finds another number, it is done again with that number.
    """
    expected = _count_packets(media, limits)
    picks = _decode_picks(media, spread(expected, frames), limits)
    if picks.count not in (0, expected):
        picks = _decode_picks(media, spread(picks.count, frames), limits)
    if not picks.pictures:
        raise MediaEmptyError(f"{media.name} has no video frames")
    return picks


def video_stream(container: Any, name: str, limits: Limits) -> Any:
    """The best moving picture of a container, within limits.

    Raises:
        MediaError: there is none, or none that can be decoded, or it is too large.
    """
    stream = container.streams.best("video")
    # A song's cover picture is a "video stream" of one frame to FFmpeg.
    if stream is None or stream.disposition & Disposition.attached_pic:
        raise MediaStreamMissingError(f"{name} has no video stream")
    if stream.codec_context is None:
        raise MediaDecodeError(f"{name} has a video codec that cannot be decoded")
    _check_frame_pixels(stream.codec_context.width, stream.codec_context.height, name, limits)
    check_declared_duration(container, stream, name, limits)
    return stream


def _count_packets(media: OpenedSource, limits: Limits) -> int:
    with open_container(media) as container:
        stream = video_stream(container, media.name, limits)
        try:
            packets = container.demux(stream)
            return max(1, sum(1 for p in packets if p.size and not p.is_discard))
        except (av.FFmpegError, OSError):
            return 1  # decoding will meet the same fault and name it


def _decode_picks(media: OpenedSource, wanted: NDArray[np.int64], limits: Limits) -> _Picks:
    picks = _Picks()
    keep = set(wanted.tolist())
    with open_container(media) as container:
        stream = video_stream(container, media.name, limits)
        stream.thread_type = "AUTO"
        for frame in decoded_frames(container, stream, media.name):
            time_s = _track_time(picks, frame, stream)
            check_seconds_so_far(picks.last_s - picks.first_s, media.name, limits)
            if picks.count in keep:
                _check_frame_pixels(frame.width, frame.height, media.name, limits)
                _check_clip_pixels(frame, len(keep), media.name, limits)
                picks.pictures.append(_upright_rgb(frame, picks.pictures, media.name))
                picks.times_s.append(time_s)
            picks.count += 1
    return picks


def _track_time(picks: _Picks, frame: Any, stream: Any) -> float:
    """The frame's time in seconds; without a time stamp it follows the last one's end."""
    nominal_s = 1 / float(stream.average_rate or stream.guessed_rate or 25)
    time_s = picks.last_s if frame.time is None else float(frame.time)
    duration_s = float(frame.duration * frame.time_base) if frame.duration else nominal_s
    if picks.count == 0:
        picks.first_s = time_s
    picks.last_s = max(picks.last_s, time_s + duration_s)
    return time_s


def _check_frame_pixels(width: int, height: int, name: str, limits: Limits) -> None:
    if width * height > limits.max_frame_pixels:
        raise MediaTooLargeError(
            f"{name} has frames of {width:,} × {height:,} = {width * height:,} pixels; "
            f"the limit is {limits.max_frame_pixels:,}"
        )


def _check_clip_pixels(frame: Any, count: int, name: str, limits: Limits) -> None:
    if count * frame.width * frame.height > limits.max_clip_pixels:
        raise MediaTooLargeError(
            f"{name}: {count} frames of {frame.width:,} × {frame.height:,} are more than "
            f"{limits.max_clip_pixels:,} pixels; take fewer frames"
        )


def _upright_rgb(frame: Any, earlier: list[NDArray[np.uint8]], name: str) -> NDArray[np.uint8]:
    """[H, W, 3]; should the size change midway, every frame takes the first one's."""
    quarter_turns = round(frame.rotation / 90) % 4  # counter-clockwise, as np.rot90 counts
    width, height = frame.width, frame.height
    if earlier:
        height, width = earlier[0].shape[:2]
        if quarter_turns % 2:
            height, width = width, height
    try:
        picture = frame.reformat(width=width, height=height, format="rgb24").to_ndarray()
    except (ValueError, av.FFmpegError) as error:
        raise MediaDecodeError(f"{name} has a frame that cannot be shown: {error}") from None
    return np.ascontiguousarray(np.rot90(picture, quarter_turns))


def _shrunk(frame: Any, side_px: int) -> Any:
    scale = side_px / max(frame.width, frame.height)
    if scale >= 1:
        return frame
    width, height = (max(1, round(side * scale)) for side in (frame.width, frame.height))
    return frame.reformat(width=width, height=height, format="rgb24")


def _audio_or_none(media: OpenedSource, limits: Limits) -> Samples | None:
    try:
        return decode_audio(media, SAMPLE_RATE_HZ, limits)
    except (MediaStreamMissingError, MediaEmptyError):
        return None
