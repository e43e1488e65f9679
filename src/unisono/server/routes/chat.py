"""`POST /v1/chat/completions`."""

import asyncio
import base64
import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Generator, Sequence
from typing import Any, get_args

import numpy as np
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from unisono.conversation import Message
from unisono.errors import ConversationError, UnisonoError
from unisono.runtime import Event, Finished, SpeechChunk, TextDelta
from unisono.server.encode_audio import STREAM_RATE_HZ, AudioFormat, Pcm16Stream, encode
from unisono.server.intake import Intake
from unisono.server.routes import client_of, closing, intake_of, state_of, unless_left
from unisono.server.state import State
from unisono.server.wire.chat import (
    AudioOptions,
    ChatRequest,
    beyond_openai,
    chunk,
    completion,
    messages_of,
    named_audio,
)
from unisono.server.wire.errors import body, status_of

router = APIRouter()
_AUDIO_KEPT_S = 3600
_STREAMED = ("pcm16", "pcm")


@router.post("/v1/chat/completions")
async def chat_completions(asked: ChatRequest, request: Request) -> Response:
    """Answer a conversation; as OpenAI's, streamed or whole, with or without sound."""
    answer = _Answer(state_of(request), asked)
    events = answer.events(intake_of(request), client_of(request))
    if not asked.stream:
        return JSONResponse(await unless_left(request, answer.whole(events)))
    # What goes wrong before the first event still has a status of its own.
    first = await unless_left(request, _first(events))
    return StreamingResponse(answer.stream(first, events), media_type="text/event-stream")


async def _first(events: AsyncIterator[Event]) -> Event:
    return await anext(events)


class _Answer:
    """One answer, in the making."""

    def __init__(self, state: State, asked: ChatRequest) -> None:
        self.state, self.asked = state, asked
        self.name = f"chatcmpl-{uuid.uuid4().hex}"
        self.audio_name = f"audio-{uuid.uuid4().hex}"
        self.created = int(time.time())
        self.model = asked.model or next(iter(state.assistants), "")
        if asked.speaks:
            self._check_audio(asked.audio)

    def _check_audio(self, options: AudioOptions | None) -> None:
        if options is None:
            raise ConversationError("to hear the answer, say audio: {voice, format}")
        self.state.check_speech(options.voice)
        if self.asked.stream and options.format not in _STREAMED:
            raise ConversationError("streamed speech has the format pcm16")
        if options.format not in get_args(AudioFormat):
            listed = ", ".join(get_args(AudioFormat))
            raise ConversationError(f"format must be one of {listed}")

    async def events(self, intake: Intake, client: str) -> AsyncGenerator[Event, None]:
        """The assistant's, as they come."""
        spoken = await asyncio.to_thread(self.state.spoken.find, named_audio(self.asked.messages))
        messages = await asyncio.to_thread(messages_of, self.asked.messages, spoken)
        opened = await intake.messages(messages)
        events = self.state.jobs.run(lambda: self._work(opened), client=client)
        async for event in closing(events):
            yield event

    def _work(self, messages: Sequence[Message]) -> Generator[Event, None, None]:
        """In the model's thread."""
        settings = self.asked.settings(self.state.settings.max_tokens)
        assistant = self.state.assistant(self.asked.model)
        with self.state.turn(assistant):
            yield from assistant.stream(messages, speech=self.asked.speaks, **settings)

    async def whole(self, events: AsyncIterator[Event]) -> dict[str, Any]:
        """The answer in one piece."""
        pcm: list[Any] = []
        rate_hz, finished = 0, None
        async for event in events:
            if isinstance(event, SpeechChunk):
                pcm.append(event.pcm)
                rate_hz = event.sample_rate_hz
            elif isinstance(event, Finished):
                finished = event
        if finished is None:
            raise ConversationError("the answer broke off")
        audio = None
        if self.asked.speaks and self.asked.audio is not None:
            sound = np.concatenate(pcm) if pcm else np.zeros(0, np.float32)
            form = self.asked.audio.format
            data = await asyncio.to_thread(encode, sound, rate_hz or STREAM_RATE_HZ, form)
            await asyncio.to_thread(self.state.spoken.keep, self.audio_name, finished.text)
            audio = {
                "id": self.audio_name,
                "data": base64.b64encode(data).decode(),
                "expires_at": self.created + _AUDIO_KEPT_S,
                "transcript": finished.text,
            }
        return completion(self.name, self.model, self.created, finished, audio)

    async def stream(self, first: Event, rest: AsyncIterator[Event]) -> AsyncIterator[str]:
        """The answer as server-sent events."""
        yield self._line({"role": "assistant", "content": ""})
        try:
            async for line in self._lines(first, rest):
                yield line
        except UnisonoError as error:
            yield f"data: {json.dumps(body(str(error), status_of(error)))}\n\n"
            return
        yield "data: [DONE]\n\n"

    async def _lines(self, first: Event, rest: AsyncIterator[Event]) -> AsyncIterator[str]:
        encoder: Pcm16Stream | None = None
        async for event in _chained(first, rest):
            if isinstance(event, TextDelta):
                yield self._line({"content": event.text})
            elif isinstance(event, SpeechChunk):
                encoder = encoder or Pcm16Stream(event.sample_rate_hz)
                yield self._sound(encoder.push(event.pcm), event.text)
            else:
                if encoder is not None:
                    yield self._sound(encoder.flush(), "")
                    await asyncio.to_thread(self.state.spoken.keep, self.audio_name, event.text)
                yield self._line({}, finished=event)
                options = self.asked.stream_options
                if options is not None and options.include_usage:
                    last = chunk(self.name, self.model, self.created, None, counted=event.usage)
                    yield f"data: {json.dumps(last)}\n\n"

    def _sound(self, samples: bytes, text: str) -> str:
        audio: dict[str, Any] = {"id": self.audio_name, "data": base64.b64encode(samples).decode()}
        if text:
            audio["transcript"] = text
        return self._line({"audio": audio})

    def _line(self, delta: dict[str, Any], *, finished: Finished | None = None) -> str:
        reason = None if finished is None else finished.reason
        made = chunk(self.name, self.model, self.created, delta, reason=reason)
        if finished is not None:
            made["unisono"] = beyond_openai(finished)
        return f"data: {json.dumps(made)}\n\n"


async def _chained(first: Event, rest: AsyncIterator[Event]) -> AsyncIterator[Event]:
    yield first
    async for event in rest:
        yield event
