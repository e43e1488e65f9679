"""What the stages hand on: frozen records, JSON at rest. Knows no stage and no model.

Nothing here names a place on the disk: a video is its bytes' hash, so that a file that was moved
or renamed is known again.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, is_dataclass
from functools import cache
from typing import Any, Literal, TypeVar

from pydantic import TypeAdapter

from unisono.speech import Word

T = TypeVar("T")

Needs = Literal["picture", "sound", "both"]
"""What a question cannot be answered without."""


@dataclass(frozen=True)
class Video:
    """A file that can be played: what its header and its first frame say.

    Attributes:
        duration_s: as declared; 0 when nothing is.
        has_sound: whether it has an audio stream.
    """

    duration_s: float
    width_px: int
    height_px: int
    has_sound: bool


@dataclass(frozen=True)
class Pack:
    """Frames and sound of a clip in one file, one behind the other, as Ola's patches have them.

    Attributes:
        name: SHA-256 of the file.
        frames: bytes of each frame, a JPEG.
        sound: bytes of the WAV behind them, 0 for none.
    """

    name: str
    frames: tuple[int, ...]
    sound: int


@dataclass(frozen=True)
class Clip:
    """A stretch of a video.

    Attributes:
        id: of the video's hash and the beginning.
        source: SHA-256 of the video's bytes.
        cuts: between scenes, inside the clip.
        pixels: of a frame of the video, as it was coded.
    """

    id: str
    source: str
    start_s: float
    end_s: float
    cuts: int
    pixels: int
    pack: Pack

    @property
    def duration_s(self) -> float:
        """Its length."""
        return self.end_s - self.start_s


@dataclass(frozen=True)
class Clips:
    """All clips of a video, in order."""

    clips: tuple[Clip, ...]


@dataclass(frozen=True)
class Loudness:
    """Level of the sound, dBFS, for each `STEP_S` of a clip."""

    levels_db: tuple[float, ...]


@dataclass(frozen=True)
class Heard:
    """What a listener wrote down; times from the clip's beginning."""

    words: tuple[Word, ...]
    language: str
    language_probability: float


@dataclass(frozen=True)
class Vectors:
    """A clip to a representation model, and to the eye.

    Attributes:
        picture: [D] of length 1, of its frames.
        sound: [D] of length 1; empty when the model does not hear.
        hashes: difference hashes of key frames, 64 bits each, in hex.
    """

    picture: tuple[float, ...]
    sound: tuple[float, ...]
    hashes: tuple[str, ...]


@dataclass(frozen=True)
class Label:
    """One of the labels that were offered, and its probability among them."""

    text: str
    probability: float


@dataclass(frozen=True)
class Labels:
    """The likeliest labels of the frames and of the sound, the best first."""

    pictures: tuple[Label, ...]
    sounds: tuple[Label, ...]


@dataclass(frozen=True)
class Sentence:
    """A cleaned line of the subtitles."""

    text: str
    start_s: float
    end_s: float


@dataclass(frozen=True)
class Subtitles:
    """What is said; no sentences where nobody speaks."""

    sentences: tuple[Sentence, ...]
    language: str

    @property
    def text(self) -> str:
        """All sentences."""
        return " ".join(sentence.text for sentence in self.sentences)


@dataclass(frozen=True)
class Question:
    """A question about a clip.

    Attributes:
        form: of the template, or the writer's name.
        needs: what its writer says it needs.
        choices: the answers it offers, if it does.
        group: questions of one group stand or fall together: a yes/no question is right by
            chance half the time, both of a pair of them seldom.
    """

    form: str
    needs: Needs
    text: str
    answer: str
    choices: tuple[str, ...] = ()
    group: str = ""


@dataclass(frozen=True)
class Dropped:
    """A question that was left out."""

    question: Question
    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Questions:
    """Questions about one clip."""

    kept: tuple[Question, ...]
    dropped: tuple[Dropped, ...] = ()


@dataclass(frozen=True)
class Nothing:
    """The record of a filter, which only says yes or no."""


@dataclass(frozen=True)
class Case:
    """All that is known of a file or a clip on its way through the stages.

    Attributes:
        path: where the video lies today; no key depends on it.
        content: SHA-256 of its bytes.
    """

    path: str
    content: str
    video: Video | None = None
    clip: Clip | None = None
    loudness: Loudness | None = None
    heard: Heard | None = None
    vectors: Vectors | None = None
    labels: Labels | None = None
    subtitles: Subtitles | None = None
    questions: Questions | None = None


@dataclass(frozen=True)
class Rejection:
    """What was left out, and why.

    Attributes:
        kind: "file", "clip" or "question".
        id: of the clip, or the path of the file.
        reason: one of a few, to be counted.
        detail: the numbers or words behind it.
    """

    kind: str
    id: str
    path: str
    stage: str
    reason: str
    detail: str = ""
    start_s: float | None = None
    end_s: float | None = None


@dataclass(frozen=True)
class Outcome:
    """What a stage made of a case.

    Attributes:
        record: None when it is rejected.
        reason: why it is rejected; "" when it is not.
        detail: the numbers behind the reason.
        metrics: name -> number, for the report's plots.
    """

    record: object | None
    reason: str = ""
    detail: str = ""
    metrics: Mapping[str, float] = field(default_factory=dict)


def present(value: T | None) -> T:
    """A record that an earlier stage has made.

    Raises:
        RuntimeError: the stages are in the wrong order.
    """
    if value is None:
        raise RuntimeError("a stage needs a record that no stage before it makes")
    return value


def plain(record: Any) -> Any:
    """A record as JSON values."""
    return asdict(record) if is_dataclass(record) and not isinstance(record, type) else record


@cache
def adapter_of(kind: type) -> TypeAdapter[Any]:
    """What reads records of a type from JSON values, checked."""
    return TypeAdapter(kind)
