"""What a client may say of its session, in the present vocabulary and that of the beta."""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from unisono.errors import ConversationError
from unisono.server.encode_audio import STREAM_RATE_HZ

_PCM = {"type": "audio/pcm", "rate": STREAM_RATE_HZ}
_FLAT_TO_NESTED: Mapping[str, tuple[str, ...]] = {
    "modalities": ("output_modalities",),
    "max_response_output_tokens": ("max_output_tokens",),
    "voice": ("audio", "output", "voice"),
    "speed": ("audio", "output", "speed"),
    "input_audio_format": ("audio", "input", "format"),
    "output_audio_format": ("audio", "output", "format"),
    "input_audio_transcription": ("audio", "input", "transcription"),
    "turn_detection": ("audio", "input", "turn_detection"),
}
"""Where fields of the beta are now."""


class TurnDetection(BaseModel):
    """When a turn ends, and what happens then.

    Attributes:
        threshold: probability of speech from which on somebody speaks.
        prefix_padding_ms: kept of what was before.
        silence_duration_ms: after so much silence the turn is over.
        create_response: then answer.
        interrupt_response: speech stops the answer.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    type: Literal["server_vad", "semantic_vad"] = "server_vad"
    threshold: float = Field(default=0.5, gt=0, lt=1)
    prefix_padding_ms: int = Field(default=300, ge=0, le=5000)
    silence_duration_ms: int = Field(default=500, ge=32, le=10_000)
    create_response: bool = True
    interrupt_response: bool = True


class _Transcription(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    language: str | None = None


class _Input(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    format: dict[str, Any] | str = Field(default_factory=lambda: dict(_PCM))
    turn_detection: TurnDetection | None = TurnDetection()
    transcription: _Transcription | None = None


class _Output(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    format: dict[str, Any] | str = Field(default_factory=lambda: dict(_PCM))
    voice: str = "default"


class _Audio(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    input: _Input = Field(default_factory=_Input)
    output: _Output = Field(default_factory=_Output)


class SessionSettings(BaseModel):
    """Of a session, or of one response where it says otherwise."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    instructions: str = Field(default="", max_length=100_000)
    output_modalities: tuple[Literal["text", "audio"], ...] = ("audio",)
    max_output_tokens: int | Literal["inf"] = "inf"
    temperature: float | None = Field(default=None, ge=0, le=2)
    audio: _Audio = Field(default_factory=_Audio)

    @property
    def speaks(self) -> bool:
        """Whether answers are to be heard."""
        return "audio" in self.output_modalities

    @property
    def turn_detection(self) -> TurnDetection | None:
        """None: the client says when a turn is over."""
        return self.audio.input.turn_detection

    def updated(self, change: Mapping[str, Any]) -> "SessionSettings":
        """With the fields that a client gave, and all others as they were.

        Raises:
            ConversationError: a field is not what it must be, or tools are asked for.
        """
        if change.get("tools"):
            raise ConversationError("tools are not supported")
        merged = _merged(self.model_dump(), _nested(change))
        try:
            found = SessionSettings.model_validate(merged)
        except ValidationError as error:
            fault = error.errors(include_url=False)[0]
            where = ".".join(map(str, fault["loc"]))
            raise ConversationError(f"session.{where}: {fault['msg']}") from None
        for form in (found.audio.input.format, found.audio.output.format):
            _check_format(form)
        return found

    def wire(self, name: str, model: str) -> dict[str, Any]:
        """The session as clients are told of it."""
        told = self.model_dump(mode="json", exclude={"temperature"})
        told["output_modalities"] = list(self.output_modalities)
        kind = {"object": "realtime.session", "type": "realtime", "id": name, "model": model}
        return {**kind, **told, "tools": [], "tool_choice": "auto"}


def _nested(change: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of the beta in their present places."""
    found = {key: value for key, value in change.items() if key not in _FLAT_TO_NESTED}
    for key, path in _FLAT_TO_NESTED.items():
        if key in change:
            inner: Any = change[key]
            for step in reversed(path):
                inner = {step: inner}
            found = _merged(found, inner)
    return found


def _merged(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    """The other's values before the one's, mappings merged likewise."""
    merged = dict(one)
    for key, value in other.items():
        held = merged.get(key)
        both = isinstance(held, Mapping) and isinstance(value, Mapping)
        merged[key] = _merged(held, value) if both and held is not None else value
    return merged


def _check_format(form: dict[str, Any] | str) -> None:
    if form == "pcm16":
        return
    if isinstance(form, str) or form.get("type") != "audio/pcm":
        raise ConversationError(f"the format of audio must be audio/pcm, but is {form!r} instead")
    if form.get("rate", STREAM_RATE_HZ) != STREAM_RATE_HZ:
        raise ConversationError(f"the rate of audio/pcm must be {STREAM_RATE_HZ}")
