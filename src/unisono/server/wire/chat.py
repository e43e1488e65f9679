"""`/v1/chat/completions`: requests and answers."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from unisono.conversation import AudioPart, ImagePart, Message, TextPart, VideoPart
from unisono.errors import ConversationError
from unisono.runtime import Finished, Usage
from unisono.server.wire.media import Address, from_base64, from_url
from unisono.server.wire.request import WireRequest

Role = Literal["system", "developer", "user", "assistant"]


_MOST_STOPS = 16
_NOT_DONE = (
    *("tools", "functions", "logprobs", "logit_bias"),
    *("presence_penalty", "frequency_penalty"),
)
Stop = Annotated[str, Field(min_length=1, max_length=1000)]


class _Wire(BaseModel):
    model_config = ConfigDict(extra="ignore")  # clients send more than anybody reads


class Url(_Wire):
    """A medium: a `data:` URL, or an address where the server may look."""

    url: str


class InputAudio(_Wire):
    """A sound in base64."""

    data: str
    format: str = "wav"


class ContentPart(_Wire):
    """One part of a message, in any of the forms that clients write."""

    type: Literal["text", "image_url", "input_audio", "audio_url", "video_url", "refusal"]
    text: str | None = None
    image_url: Url | str | None = None
    audio_url: Url | str | None = None
    video_url: Url | str | None = None
    input_audio: InputAudio | None = None
    refusal: str | None = None


class EarlierAudio(_Wire):
    """An answer that was spoken before."""

    id: str


class ChatMessage(_Wire):
    """One turn."""

    role: Role
    content: str | list[ContentPart] | None = None
    audio: EarlierAudio | None = None


class AudioOptions(_Wire):
    """How an answer is to sound."""

    voice: str | dict[str, Any] = "default"
    format: str = "wav"


class StreamOptions(_Wire):
    """What a stream says besides."""

    include_usage: bool = False


class ChatRequest(WireRequest):
    """A conversation to be answered.

    What would change the answer and cannot be done is refused; what would not is passed over.
    """

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=1000)]
    model: str = ""
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    modalities: Annotated[list[Literal["text", "audio"]] | None, Field(min_length=1)] = None
    audio: AudioOptions | None = None
    max_tokens: Annotated[int | None, Field(ge=1)] = None
    max_completion_tokens: Annotated[int | None, Field(ge=1)] = None
    temperature: Annotated[float | None, Field(ge=0, le=2)] = None
    top_p: Annotated[float | None, Field(gt=0, le=1)] = None
    seed: Annotated[int | None, Field(ge=-(2**63), lt=2**63)] = None
    stop: Stop | Annotated[list[Stop], Field(max_length=_MOST_STOPS)] | None = None
    n: Annotated[int | None, Field(ge=1, le=1)] = None
    tools: list[Any] | None = None
    functions: list[Any] | None = None
    logprobs: bool | None = None
    logit_bias: dict[str, float] | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    response_format: dict[str, Any] | None = None

    @model_validator(mode="after")
    def _nothing_that_cannot_be_done(self) -> "ChatRequest":
        for name in _NOT_DONE:
            if getattr(self, name):
                raise ValueError(f"{name} is not supported")
        if self.response_format and self.response_format.get("type") != "text":
            raise ValueError("response_format must be text; others are not supported")
        return self

    @property
    def speaks(self) -> bool:
        """Whether the answer is to be heard."""
        return "audio" in (self.modalities or ())

    def settings(self, most_tokens: int) -> dict[str, Any]:
        """The fields of `GenerationSettings` that were given; answers have a longest length."""
        asked = self.max_completion_tokens or self.max_tokens or most_tokens
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop or ())
        given = {
            "max_new_tokens": min(asked, most_tokens),
            "temperature": self.temperature,
            "top_p": self.top_p,
            "seed": self.seed,
            "stop": stop or None,
        }
        return {name: value for name, value in given.items() if value is not None}


def messages_of(messages: Sequence[ChatMessage], spoken: Mapping[str, str]) -> list[Message]:
    """The conversation as the assistant takes it, once `Intake` has opened its media.

    Args:
        messages: as they came.
        spoken: id of an earlier spoken answer -> its text.

    Raises:
        ConversationError: a part has nothing in it, or an earlier answer is not known.
    """
    typed = [_message(one, spoken) for one in messages]
    leading = next((i for i, one in enumerate(typed) if one.role != "system"), len(typed))
    return [*_joined(typed[:leading]), *typed[leading:]]


def named_audio(messages: Sequence[ChatMessage]) -> list[str]:
    """The ids of earlier spoken answers."""
    return [one.audio.id for one in messages if one.audio is not None]


def _joined(system: list[Message]) -> list[Message]:
    """What several messages tell the model about itself is one; it knows no others."""
    if len(system) < 2:
        return system
    return [Message(role="system", content=tuple(part for one in system for part in one.parts))]


def _message(message: ChatMessage, spoken: Mapping[str, str]) -> Message:
    role = "system" if message.role == "developer" else message.role
    if message.audio is not None:
        if message.role != "assistant":
            raise ConversationError("only an assistant's message may name a spoken answer")
        if message.audio.id not in spoken:
            raise ConversationError(f"there is no spoken answer {message.audio.id!r} any more")
        return Message(role="assistant", content=spoken[message.audio.id])
    content = message.content or ""
    if isinstance(content, str):
        return Message(role=role, content=content)
    return Message(role=role, content=tuple(map(_part, content)))


def _part(part: ContentPart) -> TextPart | ImagePart | AudioPart | VideoPart:
    if part.type == "text" and part.text is not None:
        return TextPart(text=part.text)
    if part.type == "refusal" and part.refusal is not None:
        return TextPart(text=part.refusal)
    if part.type == "image_url" and part.image_url is not None:
        return ImagePart(image=_source(part.image_url))
    if part.type == "audio_url" and part.audio_url is not None:
        return AudioPart(audio=_source(part.audio_url))
    if part.type == "video_url" and part.video_url is not None:
        return VideoPart(video=_source(part.video_url))
    if part.type == "input_audio" and part.input_audio is not None:
        return AudioPart(audio=from_base64(part.input_audio.data, "input_audio"))
    raise ConversationError(f"a part of type {part.type!r} must have the field {part.type!r}")


def _source(given: Url | str) -> str | Address:
    return from_url(given if isinstance(given, str) else given.url)


def usage(counted: Usage) -> dict[str, Any]:
    """As OpenAI counts."""
    return {
        "prompt_tokens": counted.prompt_tokens,
        "completion_tokens": counted.completion_tokens,
        "total_tokens": counted.prompt_tokens + counted.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": counted.cached_tokens},
    }


def completion(
    name: str, model: str, created: int, finished: Finished, audio: Mapping[str, Any] | None
) -> dict[str, Any]:
    """A whole answer."""
    message: dict[str, Any] = {"role": "assistant", "content": finished.text, "refusal": None}
    if audio is not None:
        message |= {"content": None, "audio": dict(audio)}
    choice = {"index": 0, "message": message, "finish_reason": finished.reason, "logprobs": None}
    return {
        "id": name,
        "object": "chat.completion",
        "created": created,
        "model": model,
        "choices": [choice],
        "usage": usage(finished.usage),
        "unisono": beyond_openai(finished),
    }


def beyond_openai(finished: Finished) -> dict[str, Any]:
    """What OpenAI's answers have no field for, in a field of our own: the words that a listener
    heard in the question's sounds, and what of the question the model did not get."""
    return {"heard": list(finished.heard), "notices": list(finished.notices)}


def chunk(
    name: str,
    model: str,
    created: int,
    delta: Mapping[str, Any] | None,
    *,
    reason: str | None = None,
    counted: Usage | None = None,
) -> dict[str, Any]:
    """A piece of a streamed answer; without a delta, the last one, with the usage alone."""
    choices: Sequence[Mapping[str, Any]] = ()
    if delta is not None:
        choices = ({"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None},)
    return {
        "id": name,
        "object": "chat.completion.chunk",
        "created": created,
        "model": model,
        "choices": list(choices),
        "usage": None if counted is None else usage(counted),
    }
