"""What may be said: the typed parts of a message.

A part holds what the user gave (a path, bytes, a `data:` URL, an array) and is checked here
for its form only. Opening it is `media`'s work, turning it into numbers the processor's.
The forms are those of the chat format of transformers: `{"type": "audio", "audio": …}`.
"""

import os
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


def _not_nothing(source: Any) -> Any:
    if source is None:
        raise ValueError("must be a path, bytes, a data: URL or an array, but is None")
    if isinstance(source, str) and not source.strip():
        raise ValueError("must be a path, bytes, a data: URL or an array, but is an empty text")
    return os.fspath(source) if isinstance(source, os.PathLike) else source


MediaSource = Annotated[Any, AfterValidator(_not_nothing)]
"""Whatever `unisono.media` can open."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class TextPart(_Part):
    """Written words."""

    type: Literal["text"] = "text"
    text: str


class ImagePart(_Part):
    """A picture."""

    type: Literal["image"] = "image"
    image: MediaSource


class AudioPart(_Part):
    """A sound; `transcript` holds the words in it once somebody has listened ("" for none)."""

    type: Literal["audio"] = "audio"
    audio: MediaSource
    transcript: str | None = None


class VideoPart(_Part):
    """A moving picture, with its sound unless `use_audio` is False."""

    type: Literal["video"] = "video"
    video: MediaSource
    use_audio: bool = True


MediaPart = ImagePart | AudioPart | VideoPart
Part = Annotated[TextPart | MediaPart, Field(discriminator="type")]


class Message(BaseModel):
    """One turn: who speaks, and the parts of what they say.

    A plain string is accepted as content and becomes one text part.

    Attributes:
        role: "system", "user" or "assistant".
        content: the parts, in the order they are meant.
        token_ids: for an answer the model gave itself, the ids it gave. Text does not always
            tokenise back to the ids it came from, and a session's KV cache knows the ids.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    role: Literal["system", "user", "assistant"]
    content: str | tuple[Part, ...]
    token_ids: tuple[int, ...] | None = None

    @property
    def parts(self) -> tuple[Part, ...]:
        """The content as parts."""
        if isinstance(self.content, str):
            return (TextPart(text=self.content),)
        return self.content
