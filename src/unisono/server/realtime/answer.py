"""One response: the assistant's events as events of the session, until it ends or is cancelled."""

import asyncio
import base64
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from unisono.conversation import Message, TextPart
from unisono.errors import UnisonoError
from unisono.runtime import Assistant, Event, Finished, SpeechChunk, TextDelta
from unisono.server.encode_audio import STREAM_RATE_HZ, Pcm16Stream
from unisono.server.realtime.conversation import Conversation, Item, Spoken, heard_in
from unisono.server.realtime.session import SessionSettings
from unisono.server.routes import closing
from unisono.server.state import State

Send = Callable[[dict[str, Any]], Awaitable[None]]
Reason = Literal["turn_detected", "client_cancelled"]


@dataclass(frozen=True)
class Heard:
    """Somebody listened to an item.

    Attributes:
        name: of the item.
        message: with the words of its sounds.
    """

    name: str
    message: Message


class Answer:
    """See the module.

    Attributes:
        item: what is said.
        name: the response's id.
    """

    def __init__(
        self, conversation: Conversation, settings: SessionSettings, send: Send, *, most_tokens: int
    ) -> None:
        self.conversation, self.settings, self._send = conversation, settings, send
        self.name = f"resp_{uuid.uuid4().hex}"
        self.item = Item("assistant", (), status="in_progress", speaks=settings.speaks)
        self._most_tokens = most_tokens
        self._encoder: Pcm16Stream | None = None
        self._sent_bytes, self._first_sent_s = 0, 0.0
        self._text = ""
        self.reason: Reason = "client_cancelled"

    @property
    def sent_ms(self) -> float:
        """Of sound, so far."""
        return self._sent_bytes / 2 / STREAM_RATE_HZ * 1000

    @property
    def played_ms(self) -> float:
        """What a client that plays without a pause has let be heard."""
        if not self._sent_bytes:
            return 0.0
        return min(self.sent_ms, (time.monotonic() - self._first_sent_s) * 1000)

    async def run(self, state: State, model: str, messages: Sequence[Message], client: str) -> None:
        """Say it; when this task is cancelled, the model is stopped within one token.

        Args:
            state: of the server.
            model: that answers.
            messages: the conversation, its media opened.
            client: whose turn it is.
        """
        await self._tell("response.created", response=self._wire("in_progress"))
        before = self.conversation.add(self.item)
        await self._tell("response.output_item.added", output_index=0, item=self.item.wire())
        added = {"previous_item_id": before, "item": self.item.wire()}
        await self._send({"type": "conversation.item.added", **added})
        await self._part("response.content_part.added", "")
        try:
            finished = await self._said(
                state.jobs.run(self._work(state, model, messages), client=client)
            )
        except asyncio.CancelledError:
            # The task ends with this: what is left to say is said by a task that nobody cancels.
            details = {"type": "cancelled", "reason": self.reason}
            await asyncio.shield(self._end("cancelled", details, None))
            raise
        except UnisonoError as error:
            fault = {"type": "invalid_request_error", "code": None, "message": str(error)}
            await self._send({"type": "error", "error": {**fault, "param": None, "event_id": None}})
            await self._end("failed", {"type": "failed", "error": fault}, None)
        else:
            await self._ended(finished)

    def _work(
        self, state: State, model: str, messages: Sequence[Message]
    ) -> Callable[[], Generator[Event | Heard, None, None]]:
        """In the model's thread: listen, then answer."""
        settings = self._generation()
        unheard = {place: item.name for place, item in self._places(messages) if item.unheard}

        def work() -> Generator[Event | Heard, None, None]:
            assistant: Assistant = state.assistant(model)
            listened = list(messages)
            with state.turn(assistant):
                for place, name in unheard.items():
                    listened[place] = assistant.listen(messages[place])
                    yield Heard(name, listened[place])
                yield from assistant.stream(listened, speech=self.item.speaks, **settings)

        return work

    def _places(self, messages: Sequence[Message]) -> list[tuple[int, Item]]:
        """Each message's place, and its item; instructions have none."""
        items = [one for one in self.conversation if one.role != "assistant" or one.text]
        skipped = len(messages) - len(items)
        return [(skipped + place, item) for place, item in enumerate(items)]

    def _generation(self) -> dict[str, Any]:
        asked = self.settings.max_output_tokens
        most = self._most_tokens if asked == "inf" else min(asked, self._most_tokens)
        found: dict[str, Any] = {"max_new_tokens": most}
        if self.settings.temperature is not None:
            found["temperature"] = self.settings.temperature
        return found

    async def _said(self, events: AsyncIterator[Event | Heard]) -> Finished | None:
        finished = None
        async for event in closing(events):
            if isinstance(event, Heard):
                await self._listened(event)
            elif isinstance(event, TextDelta):
                await self._words(event.text)
            elif isinstance(event, SpeechChunk):
                await self._sound(event)
            else:
                finished = event
        if self._encoder is not None:
            await self._samples(self._encoder.flush())
        return finished

    async def _listened(self, event: Heard) -> None:
        item = self.conversation.find(event.name)
        item.parts = event.message.parts
        item.heard = heard_in(item.parts)
        kind = "conversation.item.input_audio_transcription.completed"
        usage = {"type": "duration", "seconds": 0.0}
        told = {"item_id": item.name, "content_index": 0, "transcript": item.heard, "usage": usage}
        await self._send({"type": kind, **told})

    async def _words(self, text: str) -> None:
        self._text += text
        self.item.parts = (TextPart(text=self._text),)
        kind = "output_audio_transcript" if self.item.speaks else "output_text"
        await self._tell(f"response.{kind}.delta", **self._place(), delta=text)

    async def _sound(self, event: SpeechChunk) -> None:
        self._encoder = self._encoder or Pcm16Stream(event.sample_rate_hz)
        await self._samples(self._encoder.push(event.pcm))
        if event.text:
            self.item.sentences.append(Spoken(event.text, 0.0))
        if self.item.sentences:
            last = self.item.sentences[-1]
            began = self.item.sentences[-2].end_ms if len(self.item.sentences) > 1 else 0.0
            last.end_ms = max(last.end_ms, began) + event.duration_s * 1000

    async def _samples(self, data: bytes) -> None:
        if not data:
            return
        self._first_sent_s = self._first_sent_s or time.monotonic()
        self._sent_bytes += len(data)
        coded = base64.b64encode(data).decode()
        await self._tell("response.output_audio.delta", **self._place(), delta=coded)

    async def _ended(self, finished: Finished | None) -> None:
        cut = finished is not None and finished.reason == "length"
        status, reason = ("incomplete", "max_output_tokens") if cut else ("completed", None)
        details = {"type": status} if reason is None else {"type": status, "reason": reason}
        await self._end(status, details, finished)

    async def _end(self, status: str, details: dict[str, Any], finished: Finished | None) -> None:
        """Everything that is told at the end, whatever the end is."""
        self.item.status = "completed" if status == "completed" else "incomplete"
        if self.item.speaks:
            await self._tell("response.output_audio.done", **self._place())
            kind = "response.output_audio_transcript.done"
            await self._tell(kind, **self._place(), transcript=self._text)
        else:
            await self._tell("response.output_text.done", **self._place(), text=self._text)
        await self._part("response.content_part.done", self._text)
        await self._tell("response.output_item.done", output_index=0, item=self.item.wire())
        await self._send({"type": "conversation.item.done", "item": self.item.wire()})
        response = self._wire(status, details, finished)
        await self._tell("response.done", response=response)

    async def _part(self, kind: str, text: str) -> None:
        words = {"transcript": text} if self.item.speaks else {"text": text}
        part = {"type": "audio" if self.item.speaks else "text", **words}
        await self._tell(kind, **self._place(), part=part)

    def _place(self) -> dict[str, Any]:
        return {"item_id": self.item.name, "output_index": 0, "content_index": 0}

    async def _tell(self, kind: str, **more: Any) -> None:
        if kind in ("response.created", "response.done"):
            await self._send({"type": kind, **more})
        else:
            await self._send({"type": kind, "response_id": self.name, **more})

    def _wire(
        self,
        status: str,
        details: dict[str, Any] | None = None,
        finished: Finished | None = None,
    ) -> dict[str, Any]:
        usage: dict[str, Any] | None = None
        if finished is not None:
            read, written = finished.usage.prompt_tokens, finished.usage.completion_tokens
            usage = {"input_tokens": read, "output_tokens": written, "total_tokens": read + written}
            usage["input_token_details"] = {"cached_tokens": finished.usage.cached_tokens}
        return {
            "id": self.name,
            "object": "realtime.response",
            "status": status,
            "status_details": details,
            "conversation_id": self.conversation.name,
            "output": [] if status == "in_progress" else [self.item.wire()],
            "output_modalities": list(self.settings.output_modalities),
            "usage": usage,
        }
