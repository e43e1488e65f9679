"""One client's connection: its events in, ours out, one answer at a time."""

import asyncio
import json
import logging
import time
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Any

from starlette.websockets import WebSocket, WebSocketDisconnect

from unisono.conversation import AudioPart
from unisono.errors import ConversationError, UnisonoError
from unisono.media import SAMPLE_RATE_HZ, Waveform
from unisono.media.audio import Samples
from unisono.server.drain import GOING_DOWN
from unisono.server.intake import Intake
from unisono.server.jobs import GoingDownError
from unisono.server.logs import event, fault
from unisono.server.realtime.answer import Answer, Reason
from unisono.server.realtime.conversation import Conversation, Item, item_of
from unisono.server.realtime.microphone import Microphone, SpeechStarted, SpeechStopped
from unisono.server.realtime.session import SessionSettings, TurnDetection
from unisono.server.state import State
from unisono.server.wire.media import from_base64

_SHORTEST_TURN_S = 0.1
_SERVICE_RESTART = 1012
_BETA_NAMES = {
    "response.output_text.delta": "response.text.delta",
    "response.output_text.done": "response.text.done",
    "response.output_audio.delta": "response.audio.delta",
    "response.output_audio.done": "response.audio.done",
    "response.output_audio_transcript.delta": "response.audio_transcript.delta",
    "response.output_audio_transcript.done": "response.audio_transcript.done",
    "conversation.item.added": "conversation.item.created",
}
"""What clients of the beta call our events."""

Handler = Callable[[Mapping[str, Any]], Awaitable[None]]


class Connection:
    """See the module."""

    def __init__(
        self, socket: WebSocket, state: State, intake: Intake, *, model: str, client: str
    ) -> None:
        """Prepare a session.

        Args:
            socket: accepted.
            state: of the server.
            intake: the door for media.
            model: that answers; "" for the default.
            client: whose turns in the queue these are.
        """
        self._socket, self._state, self._intake = socket, state, intake
        self._model, self._client = model or next(iter(state.assistants), ""), client
        self._beta = "realtime=v1" in socket.headers.get("openai-beta", "")
        self._session = SessionSettings()
        self._name = f"sess_{uuid.uuid4().hex}"
        self._conversation = Conversation()
        self._microphone = Microphone(state.settings.max_media_s)
        self._turn = f"item_{uuid.uuid4().hex}"  # of what comes through the microphone
        self._answer: Answer | None = None
        self._answering: asyncio.Task[None] | None = None
        self._sending = asyncio.Lock()
        self._handlers: dict[str, Handler] = {
            "session.update": self._update,
            "input_audio_buffer.append": self._append,
            "input_audio_buffer.commit": self._commit,
            "input_audio_buffer.clear": self._clear,
            "conversation.item.create": self._create,
            "conversation.item.delete": self._delete,
            "conversation.item.retrieve": self._retrieve,
            "conversation.item.truncate": self._truncate,
            "response.create": self._respond,
            "response.cancel": self._cancel,
            "output_audio_buffer.clear": self._cancel,
        }

    async def run(self) -> None:
        """Until the client leaves, says nothing for too long, or the server goes down."""
        leaving = asyncio.create_task(self._leave_with_the_server())
        try:
            await self._send({"type": "session.created", "session": self._wire()})
            while True:
                async with asyncio.timeout(self._state.settings.idle_timeout_s):
                    message = await self._socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                await self._take(message)
        except TimeoutError:
            await self._socket.close(1001, "nothing was said for too long")
        except (WebSocketDisconnect, RuntimeError):  # closed while something was being sent
            return
        finally:
            leaving.cancel()
            await self._stop("client_cancelled")

    async def _leave_with_the_server(self) -> None:
        """When it goes down: let the answer end, tell the client, and close."""
        await self._state.drain.began.wait()
        if self._answering is not None:
            await asyncio.wait({self._answering})
        with suppress(WebSocketDisconnect, RuntimeError, TimeoutError):
            await self._error("server_error", GOING_DOWN, None)
            await self._socket.close(_SERVICE_RESTART, GOING_DOWN)

    async def _take(self, message: Mapping[str, Any]) -> None:
        """One message; whatever is wrong with it is said, and the session goes on."""
        name = None
        try:
            told = _parsed(message)
            name = told.get("event_id")
            handler = self._handlers.get(str(told.get("type")))
            if handler is None:
                raise ConversationError(f"there is no event {told.get('type')!s:.80}")
            await handler(told)
        except UnisonoError as error:
            await self._error("invalid_request_error", str(error), name)
        except (WebSocketDisconnect, RuntimeError):
            raise
        except Exception as error:
            event(logging.ERROR, "failed", path="/v1/realtime", **fault(error))
            await self._error("server_error", "the server failed", name)

    async def _update(self, told: Mapping[str, Any]) -> None:
        self._session = self._session.updated(_object(told, "session"))
        await self._send({"type": "session.updated", "session": self._wire()})

    async def _append(self, told: Mapping[str, Any]) -> None:
        audio = told.get("audio")
        data = from_base64(audio if isinstance(audio, str) else "", "audio")
        if not data or len(data) % 2:
            raise ConversationError("audio must be base64 of 16-bit samples")
        detection = self._session.turn_detection
        # Silero takes a hundredth of the time of what it hears: still too long for the event loop.
        for mark in await asyncio.to_thread(self._microphone.push, data, detection):
            if isinstance(mark, SpeechStarted):
                await self._started(mark, detection)
            else:
                await self._stopped(mark, detection)

    async def _started(self, mark: SpeechStarted, detection: TurnDetection | None) -> None:
        kind = "input_audio_buffer.speech_started"
        await self._send({"type": kind, "audio_start_ms": mark.at_ms, "item_id": self._turn})
        if detection is not None and detection.interrupt_response:
            await self._stop("turn_detected")

    async def _stopped(self, mark: SpeechStopped, detection: TurnDetection | None) -> None:
        kind = "input_audio_buffer.speech_stopped"
        await self._send({"type": kind, "audio_end_ms": mark.at_ms, "item_id": self._turn})
        await self._take_turn(mark.samples)
        if detection is not None and detection.create_response:
            await self._respond({})

    async def _commit(self, _: Mapping[str, Any]) -> None:
        samples = self._microphone.take()
        if len(samples) < _SHORTEST_TURN_S * SAMPLE_RATE_HZ:
            raise ConversationError("the input audio buffer has less than 100 ms of sound")
        await self._take_turn(samples)

    async def _take_turn(self, samples: Samples) -> None:
        """What was heard becomes an item."""
        part = AudioPart(audio=Waveform(samples, SAMPLE_RATE_HZ))
        item = Item("user", (part,), self._turn)
        self._turn = f"item_{uuid.uuid4().hex}"
        told = {"item_id": item.name, "previous_item_id": self._conversation.last}
        await self._send({"type": "input_audio_buffer.committed", **told})
        await self._add(item)

    async def _clear(self, _: Mapping[str, Any]) -> None:
        self._microphone.clear()
        await self._send({"type": "input_audio_buffer.cleared"})

    async def _create(self, told: Mapping[str, Any]) -> None:
        after = told.get("previous_item_id")
        if after is not None and not isinstance(after, str):
            raise ConversationError("previous_item_id must be a text")
        item = item_of(_object(told, "item"), self._state.settings.max_media_s)
        (opened,) = await self._intake.messages([item.message()])
        item.parts = opened.parts
        await self._add(item, after)

    async def _add(self, item: Item, after: str | None = None) -> None:
        before = self._conversation.add(item, after)
        told = {"previous_item_id": before, "item": item.wire()}
        await self._send({"type": "conversation.item.added", **told})
        if not self._beta:
            await self._send({"type": "conversation.item.done", **told})

    async def _delete(self, told: Mapping[str, Any]) -> None:
        self._conversation.delete(told.get("item_id"))
        await self._send({"type": "conversation.item.deleted", "item_id": told.get("item_id")})

    async def _retrieve(self, told: Mapping[str, Any]) -> None:
        item = self._conversation.find(told.get("item_id"))
        await self._send({"type": "conversation.item.retrieved", "item": item.wire()})

    async def _truncate(self, told: Mapping[str, Any]) -> None:
        item, end_ms = self._conversation.find(told.get("item_id")), told.get("audio_end_ms")
        if isinstance(end_ms, bool) or not isinstance(end_ms, int) or end_ms < 0:
            raise ConversationError("audio_end_ms must be a number of milliseconds from 0 on")
        if not item.speaks:
            raise ConversationError("only a spoken answer can be truncated")
        await self._cut(item, end_ms)

    async def _cut(self, item: Item, end_ms: int) -> None:
        item.cut(end_ms)
        told = {"item_id": item.name, "content_index": 0, "audio_end_ms": end_ms}
        await self._send({"type": "conversation.item.truncated", **told})

    async def _respond(self, told: Mapping[str, Any]) -> None:
        if self._answering is not None and not self._answering.done():
            raise ConversationError("a response is being made already; cancel it first")
        if self._state.drain.going:
            raise GoingDownError(GOING_DOWN)
        settings = self._session
        if told.get("response") is not None:
            settings = settings.updated(_object(told, "response"))
        most = self._state.settings.max_tokens
        answer = Answer(self._conversation, settings, self._send, most_tokens=most)
        messages = self._conversation.messages(settings.instructions)
        if not messages:
            raise ConversationError("there is nothing to answer yet")
        self._answer = answer
        work = answer.run(self._state, self._model, messages, self._client)
        self._answering = asyncio.create_task(work)
        self._answering.add_done_callback(_noted)

    async def _cancel(self, _: Mapping[str, Any]) -> None:
        await self._stop("client_cancelled")

    async def _stop(self, reason: Reason) -> None:
        """Stop the answer, and cut it where the client has stopped hearing it."""
        answer, task = self._answer, self._answering
        if answer is None or task is None:
            return
        played = answer.played_ms
        interrupted = not task.done()
        if interrupted:
            answer.reason = reason
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        # One that was sent whole may still be heard: a client plays slower than we speak.
        if reason == "turn_detected" and answer.item.speaks and played < answer.sent_ms:
            await self._cut(answer.item, round(played))
        if interrupted or reason == "turn_detected":
            self._answer = self._answering = None

    async def _error(self, kind: str, message: str, name: Any) -> None:
        told = {"type": kind, "code": None, "message": message, "param": None, "event_id": name}
        await self._send({"type": "error", "error": told})

    async def _send(self, told: dict[str, Any]) -> None:
        kind = _BETA_NAMES.get(told["type"], told["type"]) if self._beta else told["type"]
        text = json.dumps({"event_id": f"event_{uuid.uuid4().hex}", **told, "type": kind})
        async with self._sending:
            async with asyncio.timeout(self._state.settings.timeout_s):
                await self._socket.send_text(text)

    def _wire(self) -> dict[str, Any]:
        told = self._session.wire(self._name, self._model)
        return {**told, "expires_at": int(time.time()) + 24 * 3600}


def _parsed(message: Mapping[str, Any]) -> dict[str, Any]:
    try:
        told = json.loads(message.get("text") or "")
    except (ValueError, RecursionError):
        raise ConversationError("a message must be a JSON object, as text") from None
    if not isinstance(told, dict):
        raise ConversationError("a message must be a JSON object")
    return told


def _object(told: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = told.get(name)
    if not isinstance(value, Mapping):
        raise ConversationError(f"{name} must be an object")
    return value


def _noted(task: "asyncio.Task[None]") -> None:
    """What goes wrong in an answer, and was not told, is in the log."""
    error = None if task.cancelled() else task.exception()
    if error is not None and not isinstance(error, WebSocketDisconnect | RuntimeError):
        event(logging.ERROR, "failed", path="/v1/realtime", **fault(error))
