"""From keyword arguments to a message, and from events to a reply."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unisono.conversation import AudioPart, ImagePart, Message, Part, TextPart, VideoPart
from unisono.errors import ConversationError
from unisono.runtime.events import Event, Finished, SpeechChunk, TextDelta, Timings, Usage
from unisono.speech import wav_bytes


@dataclass(frozen=True, eq=False)
class Speech:
    """A whole answer, spoken: float32 mono `pcm` [T] in [-1, 1]."""

    pcm: np.ndarray
    sample_rate_hz: int

    @property
    def duration_s(self) -> float:
        """Seconds of sound."""
        return len(self.pcm) / self.sample_rate_hz

    def save(self, path: str | Path) -> None:
        """Write a WAV file of 16-bit samples."""
        Path(path).write_bytes(wav_bytes(self.pcm, self.sample_rate_hz))


@dataclass(frozen=True, eq=False)
class Reply:
    """A whole answer.

    Attributes:
        text: the answer.
        speech: the answer spoken; None if speech was not asked for or there was nothing to say.
        usage: tokens read and written.
        timings: how long it took.
        heard: the words heard in the question's sounds.
        notices: what of the question the model did not get, such as the end of a long sound.
    """

    text: str
    speech: Speech | None
    usage: Usage
    timings: Timings
    heard: tuple[str, ...]
    notices: tuple[str, ...]


def user_message(
    text: str | None, *, image: Any = None, audio: Any = None, video: Any = None
) -> Message:
    """A user's message; each medium may be one source or a list of them. Media come first."""
    parts: list[Part] = [ImagePart(image=source) for source in _listed(image)]
    parts += [VideoPart(video=source) for source in _listed(video)]
    parts += [AudioPart(audio=source) for source in _listed(audio)]
    if text:
        parts.append(TextPart(text=text))
    if not parts:
        raise ConversationError("a message must have a text, image, audio or video, but has none")
    return Message(role="user", content=tuple(parts))


def collect(events: Iterable[Event]) -> Reply:
    """Read a stream to its end."""
    chunks: list[SpeechChunk] = []
    for event in events:
        if isinstance(event, SpeechChunk):
            chunks.append(event)
        elif isinstance(event, TextDelta):
            continue
        else:
            return _reply(event, chunks)
    raise RuntimeError("the stream ended without a Finished event")


def _reply(finished: Finished, chunks: list[SpeechChunk]) -> Reply:
    speech = None
    if chunks:
        pcm = np.concatenate([chunk.pcm for chunk in chunks])
        speech = Speech(pcm, chunks[0].sample_rate_hz)
    return Reply(
        finished.text,
        speech,
        usage=finished.usage,
        timings=finished.timings,
        heard=finished.heard,
        notices=finished.notices,
    )


def _listed(sources: Any) -> list[Any]:
    if sources is None:
        return []
    return list(sources) if isinstance(sources, list) else [sources]
