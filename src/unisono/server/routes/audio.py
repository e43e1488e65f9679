"""`POST /v1/audio/transcriptions` and `/v1/audio/speech`."""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, AsyncIterator, Generator
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Form, Request, Response, UploadFile
from fastapi.responses import JSONResponse, PlainTextResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from unisono.errors import ConversationError
from unisono.media import Waveform
from unisono.server.encode_audio import MEDIA_TYPES, Pcm16Stream, encoder_of
from unisono.server.routes import client_of, closing, intake_of, last, state_of, unless_left
from unisono.server.state import State
from unisono.server.wire.request import WireRequest
from unisono.server.wire.subtitles import srt, vtt
from unisono.server.wire.transcripts import Granularity, verbose
from unisono.speech import Pcm, SentenceSplitter, Transcript

router = APIRouter()
TranscriptForm = Literal["json", "text", "srt", "vtt", "verbose_json"]
Chunk = tuple[Pcm, int]
"""Samples, and how many of them a second has."""


class TranscriptionRequest(BaseModel):
    """A sound whose words are asked for; the fields of a form."""

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    file: UploadFile
    model: str = ""
    language: Annotated[str | None, Field(max_length=20)] = None
    response_format: TranscriptForm = "json"
    stream: bool = False
    granularities: Annotated[
        list[Granularity], Field(alias="timestamp_granularities[]", max_length=2)
    ] = ["segment"]


@router.post("/v1/audio/transcriptions")
async def transcriptions(
    asked: Annotated[TranscriptionRequest, Form(media_type="multipart/form-data")],
    request: Request,
) -> Response:
    """Write down what is said in a sound."""
    sound = await intake_of(request).sound(await asked.file.read())
    work = _heard(state_of(request), asked, sound, client_of(request))
    transcript = await unless_left(request, work)
    if asked.stream and asked.response_format in ("json", "text"):
        return StreamingResponse(_words(transcript), media_type="text/event-stream")
    if asked.response_format == "text":
        return PlainTextResponse(transcript.text + "\n")
    if asked.response_format in ("srt", "vtt"):
        write = srt if asked.response_format == "srt" else vtt
        return PlainTextResponse(write(transcript.words))
    if asked.response_format == "json":
        return JSONResponse({"text": transcript.text})
    return JSONResponse(verbose(transcript, asked.granularities))


async def _heard(
    state: State, asked: TranscriptionRequest, sound: Waveform, client: str
) -> Transcript:
    timed = asked.response_format not in ("json", "text")

    def work() -> Generator[Transcript, None, None]:
        listener = state.assistant(asked.model).listener
        yield listener.listen(sound.samples, language=asked.language or None, word_times=timed)

    return await last(state.jobs.run(work, client=client))


async def _words(transcript: Transcript) -> AsyncIterator[str]:
    """The listener hears the whole sound before it says a word: so one piece, and the end."""
    if transcript.text:
        yield _event({"type": "transcript.text.delta", "delta": transcript.text})
    yield _event({"type": "transcript.text.done", "text": transcript.text})


class SpeechRequest(WireRequest):
    """A text to be spoken."""

    input: Annotated[str, Field(min_length=1, max_length=4096)]
    model: str = ""
    voice: str | dict[str, Any] = "default"
    response_format: Literal["wav", "mp3", "flac", "opus", "aac", "pcm", "pcm16"] = "mp3"
    stream_format: Literal["audio", "sse"] = "audio"
    speed: Annotated[float | None, Field(ge=1, le=1)] = None


@router.post("/v1/audio/speech")
async def speech(asked: SpeechRequest, request: Request) -> Response:
    """Speak a text, sentence by sentence where the format can be streamed."""
    state = state_of(request)
    state.check_speech(asked.voice)
    chunks = _spoken(state, asked, client_of(request))
    # What goes wrong before the first sound still has a status of its own.
    first = await unless_left(request, _first(chunks))
    if asked.stream_format == "sse":
        return StreamingResponse(_events(first, chunks), media_type="text/event-stream")
    return StreamingResponse(
        _file(first, chunks, asked.response_format),
        media_type=MEDIA_TYPES[asked.response_format],
    )


async def _first(chunks: AsyncIterator[Chunk]) -> Chunk:
    async for chunk in chunks:
        return chunk
    raise ConversationError("the text has nothing that could be spoken")


async def _spoken(state: State, asked: SpeechRequest, client: str) -> AsyncGenerator[Chunk, None]:
    def work() -> Generator[Chunk, None, None]:
        voice = state.assistant(asked.model).voice
        splitter = SentenceSplitter()
        for sentence in (*splitter.push(asked.input), *splitter.flush()):
            for pcm in voice.speak(sentence):
                yield pcm, voice.sample_rate_hz

    async for chunk in closing(state.jobs.run(work, client=client)):
        yield chunk


async def _file(first: Chunk, rest: AsyncIterator[Chunk], form: str) -> AsyncIterator[bytes]:
    """An encoded sound, in pieces as they are ready."""
    encoder = encoder_of(form, first[1])
    yield await asyncio.to_thread(encoder.push, first[0])
    async for pcm, _ in rest:
        yield await asyncio.to_thread(encoder.push, pcm)
    yield await asyncio.to_thread(encoder.flush)


async def _events(first: Chunk, rest: AsyncIterator[Chunk]) -> AsyncIterator[str]:
    """24 kHz samples as they are ready."""
    encoder = Pcm16Stream(first[1])
    yield _delta(encoder.push(first[0]))
    async for pcm, _ in rest:
        yield _delta(encoder.push(pcm))
    yield _delta(encoder.flush())
    usage = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    yield _event({"type": "speech.audio.done", "usage": usage})


def _delta(samples: bytes) -> str:
    return _event({"type": "speech.audio.delta", "audio": base64.b64encode(samples).decode()})


def _event(said: dict[str, Any]) -> str:
    return f"data: {json.dumps(said)}\n\n"
