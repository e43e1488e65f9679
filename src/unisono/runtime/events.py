"""What an assistant's stream yields: text, speech, and at last the summary."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

FinishReason = Literal["stop", "length"]


@dataclass(frozen=True)
class TextDelta:
    """A piece of the answer's text; all pieces together are the text."""

    text: str


@dataclass(frozen=True, eq=False)
class SpeechChunk:
    """A piece of the answer, spoken; chunks come in the order of the text.

    Attributes:
        pcm: float32 mono [T] in [-1, 1].
        sample_rate_hz: of `pcm`.
        sentence: index of the spoken piece of text, from 0.
        text: that piece, with the first of its chunks; "" with later ones.
    """

    pcm: np.ndarray
    sample_rate_hz: int
    sentence: int
    text: str

    @property
    def duration_s(self) -> float:
        """Seconds of sound."""
        return len(self.pcm) / self.sample_rate_hz


@dataclass(frozen=True)
class Usage:
    """Tokens: of the prompt, of it already in the KV cache, and of the answer."""

    prompt_tokens: int
    cached_tokens: int
    completion_tokens: int


@dataclass(frozen=True)
class Timings:
    """Seconds from the call (`first_text_s`, `first_speech_s`, `total_s`) or spent in a step.

    Attributes:
        listening_s: spent hearing the words of sounds.
        first_text_s: until the first text; None when there was none.
        first_speech_s: until the first sound; None when there was none.
        total_s: until the end.
        tokens_per_s: of the answer after its first token; None for answers of one token.
    """

    listening_s: float
    first_text_s: float | None
    first_speech_s: float | None
    total_s: float
    tokens_per_s: float | None


@dataclass(frozen=True)
class Finished:
    """The end of an answer.

    Attributes:
        text: the whole answer.
        reason: "stop" when the model ended it, "length" when it was cut.
        usage: tokens read and written.
        timings: how long it took.
        heard: the words a listener heard in the question's sounds.
        notices: what of the question the model did not get, such as the end of a long sound.
    """

    text: str
    reason: FinishReason
    usage: Usage
    timings: Timings
    heard: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()


Event = TextDelta | SpeechChunk | Finished
