"""Videos in segments: from cut to cut, or in equal parts where nothing is cut."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unisono.media import SAMPLE_RATE_HZ, load_sound_of_video, walk_video
from unisono.media.source import Waveform
from unisono.retrieval.piece import Piece
from unisono.retrieval.thumbnail import jpeg

EVERY_S = 0.5
"""Between the frames that are looked at."""
LONGEST_S = 10.0
_SHORTEST_S = 1.0
_KEY_FRAMES = 4
_SIDE_PX = 256
_CUT = 0.16
"""Mean change of a frame's pixels, of 1, that is a cut: films lie below 0.08 between their cuts."""
_LOOK_PX = (16, 16)
_LEAST_SOUND_S = 0.1


@dataclass
class _Segment:
    start_s: float
    end_s: float = 0.0
    frames: list[NDArray[np.uint8]] = field(default_factory=list)


def video_pieces(path: str) -> Iterator[Piece]:
    """Segments with up to four key frames each, and the sound of the same time.

    Raises:
        MediaStreamMissingError: there is no moving picture, before anything is given out.
        MediaError: see `unisono.media.load_video`.
    """
    segments = list(_segments(path))
    sound = load_sound_of_video(path)
    duration_s = segments[-1].end_s
    for segment in segments:
        picks = np.linspace(0, len(segment.frames) - 1, min(_KEY_FRAMES, len(segment.frames)))
        pictures = [Image.fromarray(segment.frames[round(pick)]) for pick in picks]
        item: dict[str, object] = {"video": pictures}
        if (part := _sound_of(sound, segment)) is not None:
            item["audio"] = Waveform(part, SAMPLE_RATE_HZ)
        yield Piece(
            "video",
            item,
            start_s=segment.start_s,
            end_s=segment.end_s,
            duration_s=duration_s,
            thumbnail=jpeg(pictures[len(pictures) // 2]),
        )


def _segments(path: str) -> Iterator[_Segment]:
    segment, before = _Segment(0.0), None
    for time_s, end_s, frame in walk_video(path, every_s=EVERY_S, side_px=_SIDE_PX):
        look = _look(frame)
        cut = before is not None and float(np.abs(look - before).mean()) > _CUT
        lasted_s = time_s - segment.start_s
        if (cut and lasted_s >= _SHORTEST_S) or lasted_s >= LONGEST_S:
            segment.end_s = time_s
            yield segment
            segment = _Segment(time_s)
        segment.frames.append(frame)
        segment.end_s, before = end_s, look
    yield segment


def _look(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    small = Image.fromarray(frame).convert("L").resize(_LOOK_PX, Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32) / np.float32(255)


def _sound_of(sound: NDArray[np.float32] | None, segment: _Segment) -> NDArray[np.float32] | None:
    """The samples of a segment's time; None if there are hardly any, or only silence."""
    if sound is None:
        return None
    first, last = (round(at * SAMPLE_RATE_HZ) for at in (segment.start_s, segment.end_s))
    part = sound[first:last]
    heard = len(part) >= _LEAST_SOUND_S * SAMPLE_RATE_HZ and bool(np.any(part))
    return part if heard else None
