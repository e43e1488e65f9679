"""Stage "probe": whether a file is a video at all. Its name says nothing, its bytes do."""

from dataclasses import dataclass
from typing import ClassVar

from unisono.curation.records import Case, Outcome, Video
from unisono.curation.store import Store
from unisono.errors import (
    MediaEmptyError,
    MediaError,
    MediaStreamMissingError,
    MediaTooLargeError,
    MediaTruncatedError,
)
from unisono.media.measure import video_facts

NO_PICTURE, BROKEN, CUT_SHORT = "no moving picture", "cannot be decoded", "cut short"
TOO_LARGE, EMPTY = "too large", "empty"

_REASONS: tuple[tuple[type[MediaError], str], ...] = (
    (MediaStreamMissingError, NO_PICTURE),
    (MediaTruncatedError, CUT_SHORT),
    (MediaTooLargeError, TOO_LARGE),
    (MediaEmptyError, EMPTY),
)


@dataclass(frozen=True)
class Probe:
    """Look at the header."""

    name: ClassVar[str] = "probe"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("content",)
    gives: ClassVar[str] = "video"
    record: ClassVar[type] = Video

    def run(self, case: Case, store: Store) -> Outcome:
        """A `Video`."""
        try:
            facts = video_facts(case.path)
        except MediaError as error:
            return unusable(error)
        video = Video(round(facts.declared_s, 3), facts.width_px, facts.height_px, facts.has_sound)
        return Outcome(video, metrics={"duration_s": video.duration_s})


def unusable(error: MediaError) -> Outcome:
    """The rejection of a file that cannot be read."""
    reason = next((words for kind, words in _REASONS if isinstance(error, kind)), BROKEN)
    return Outcome(None, reason, str(error))
