"""Stage "split": a video -> clips, each with its frames and its sound in a pack.

One pass over the video: later stages read the packs and never the video again.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from unisono.curation.loudness import STEP_S, levels
from unisono.curation.probe import unusable
from unisono.curation.records import Case, Clip, Clips, Outcome, present
from unisono.curation.scenes import change, histogram, spans
from unisono.curation.store import Store
from unisono.errors import MediaError
from unisono.media import SAMPLE_RATE_HZ, load_sound_of_video, walk_video
from unisono.media.video import spread
from unisono.speech import wav_bytes

TOO_SHORT = "too short"
_QUALITY = 90


@dataclass(frozen=True)
class Split:
    """Find scenes and cut.

    Attributes:
        shortest_s, longest_s: of a clip.
        cut: change of the colours from one look to the next that is a cut, of 1.
        look_s: from one look to the next.
        frames_per_s: kept of a clip.
        most_frames: kept of a clip, evenly spaced, as Ola takes 64.
        side_px: of a kept frame, the longer side.
    """

    shortest_s: float = 5.0
    longest_s: float = 60.0
    cut: float = 0.4
    look_s: float = 0.25
    frames_per_s: float = 2.0
    most_frames: int = 64
    side_px: int = 448

    name: ClassVar[str] = "split"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("content", "video")
    gives: ClassVar[str] = ""
    record: ClassVar[type] = Clips

    def run(self, case: Case, store: Store) -> Outcome:
        """`Clips`."""
        video = present(case.video)
        try:
            seen = self._watch(case.path)
            sound = load_sound_of_video(case.path) if video.has_sound else None
        except MediaError as error:
            return unusable(error)
        heard = () if sound is None else levels(sound)
        found = spans(seen.cuts, seen.duration_s, (self.shortest_s, self.longest_s), heard, STEP_S)
        if not found:
            return Outcome(None, TOO_SHORT, f"{seen.duration_s:.2f} s")
        clips = []
        for start_s, end_s in found:
            pack = store.put_pack(self._chosen(seen, start_s, end_s), _part(sound, start_s, end_s))
            number = f"{case.content[:16]}-{round(start_s * 1000):07d}"
            inside = sum(start_s < cut < end_s for cut in seen.cuts)
            times = round(start_s, 3), round(end_s, 3)
            pixels = video.width_px * video.height_px
            clips.append(Clip(number, case.content, *times, inside, pixels, pack))
        return Outcome(Clips(tuple(clips)), metrics={"clips": len(clips), "cuts": len(seen.cuts)})

    def _watch(self, path: str) -> "_Seen":
        seen, before, kept_s = _Seen(), None, -np.inf
        for time_s, end_s, picture in walk_video(path, every_s=self.look_s, side_px=self.side_px):
            colours = histogram(picture)
            cut = before is not None and change(before, colours) > self.cut
            if cut:
                seen.cuts.append(time_s)
            # A scene's first frame is kept, whenever the last one was.
            if cut or time_s - kept_s >= 1 / self.frames_per_s - 1e-6:
                seen.frames.append((time_s, _jpeg(picture)))
                kept_s = time_s
            seen.duration_s, before = end_s, colours
        return seen

    def _chosen(self, seen: "_Seen", start_s: float, end_s: float) -> list[bytes]:
        inside = [one for time_s, one in seen.frames if start_s <= time_s < end_s]
        if not inside:  # a picture that stood still from before
            inside = [[one for time_s, one in seen.frames if time_s < end_s][-1]]
        return [inside[place] for place in spread(len(inside), self.most_frames)]


@dataclass
class _Seen:
    """What a pass over a video gathers."""

    cuts: list[float] = field(default_factory=list)
    frames: list[tuple[float, bytes]] = field(default_factory=list)
    duration_s: float = 0.0


def _jpeg(picture: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def _part(sound: NDArray[np.float32] | None, start_s: float, end_s: float) -> bytes:
    """The sound of a stretch, WAV; nothing where there is none."""
    if sound is None:
        return b""
    first, last = (round(at * SAMPLE_RATE_HZ) for at in (start_s, end_s))
    samples: Sequence[float] | NDArray[np.float32] = sound[first:last]
    return wav_bytes(np.asarray(samples), SAMPLE_RATE_HZ) if len(samples) else b""
