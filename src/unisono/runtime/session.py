"""A conversation of many turns that reads nothing twice."""

import threading
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, Protocol

from unisono.conversation import Message, TextPart, normalise, validate
from unisono.engines import GenerationSettings
from unisono.errors import ConversationError
from unisono.models.ola.prompt import Prompt
from unisono.runtime.answer import Answer, Asked, Memory, Reader
from unisono.runtime.events import Event, Finished
from unisono.runtime.reply import Reply, collect, user_message
from unisono.speech import Voice


class Answerer(Protocol):
    """What a session needs of an `Assistant`."""

    reader: Reader
    defaults: GenerationSettings

    @property
    def voice(self) -> Voice:
        """What speaks the answers."""

    def listen(self, message: Message) -> Message:
        """The message with the words of its sounds written down."""


class Session:
    """What was said so far, and the KV cache that holds it.

    Attributes:
        messages: the conversation: sounds with the words heard in them, answers with their
            tokens. An answer that was stopped stands as far as it came. When the conversation
            outgrows the model's context, the oldest questions and their answers are dropped.
    """

    def __init__(self, assistant: Answerer, system: str | None = None) -> None:
        self._assistant = assistant
        self._memory = Memory(assistant.reader.engine.new_cache())
        self._opener = assistant.reader.processor.opener()
        self._answering = threading.Lock()
        self.messages: list[Message] = []
        if system is not None:
            self.messages.append(Message(role="system", content=system))

    def chat(
        self,
        text: str | None = None,
        *,
        image: Any = None,
        audio: Any = None,
        video: Any = None,
        speech: bool = False,
        **settings: Any,
    ) -> Reply:
        """Say something and wait for the whole answer; see `Assistant.chat`."""
        message = user_message(text, image=image, audio=audio, video=video)
        return collect(self.stream([message], speech=speech, **settings))

    def stream(
        self,
        messages: str | Sequence[Message | Mapping[str, Any]],
        *,
        speech: bool = False,
        **settings: Any,
    ) -> Generator[Event, None, None]:
        """Say something and yield the answer as it comes; see `Assistant.stream`.

        Args:
            messages: what is new: usually one user message, or its text.
            speech: also speak the answer.
            **settings: fields of `GenerationSettings`, in place of the model's own.

        Raises:
            ContextLengthError: what is new does not fit the model's context, even alone.
            ConversationError: the session is still answering.
            UnisonoError: see its subclasses.
        """
        if not self._answering.acquire(blocking=False):
            raise ConversationError(
                "the session is still answering: read that stream to its end, or close it"
            )
        try:
            yield from self._answer(messages, speech=speech, **settings)
        finally:
            self._answering.release()

    def _answer(
        self,
        messages: str | Sequence[Message | Mapping[str, Any]],
        *,
        speech: bool,
        **settings: Any,
    ) -> Generator[Event, None, None]:
        started = time.perf_counter()
        chosen = replace(self._assistant.defaults, **settings)
        new = validate(messages)
        voice = self._assistant.voice if speech else None
        new = [self._assistant.listen(message) for message in new]
        asked = Asked(started, time.perf_counter() - started, _words_heard(new))
        messages, prompt = self._fitting(new, chosen)
        answer = Answer(self._assistant.reader, self._memory, chosen)
        finished: Finished | None = None
        try:
            with closing(answer.events(prompt, voice, asked)) as events:
                for event in events:
                    if isinstance(event, Finished):
                        finished = event
                    else:
                        yield event
        finally:
            if answer.ids:
                self.messages = [*messages, self._said(answer)]
        if finished is not None:
            yield finished

    def _fitting(
        self, new: list[Message], settings: GenerationSettings
    ) -> tuple[list[Message], Prompt]:
        """The conversation with what is new, without the oldest turns if it is too long.

        Room is kept for the answer, but never more than half of the context. What is new is
        never shortened: if it does not fit, the engine says so.
        """
        reader, history = self._assistant.reader, self.messages
        limit = reader.engine.context_length
        limit -= min(settings.max_new_tokens, limit // 2)
        while True:
            messages = normalise([*history, *new])
            prompt = reader.processor.prompt(messages, opener=self._opener)
            shorter = _without_oldest_turn(history)
            if len(prompt.ids) <= limit or len(shorter) == len(history):
                return messages, prompt
            history = shorter

    def _said(self, answer: Answer) -> Message:
        """The answer as a message: with its own tokens if they are exactly its text."""
        ids = answer.ids
        if ids[-1] in self._assistant.reader.engine.stop_ids:
            ids = ids[:-1]
        exact = self._assistant.reader.processor.tokenizer.decode(ids) == answer.text
        return Message(
            role="assistant",
            content=(TextPart(text=answer.text),),
            token_ids=tuple(ids) if exact else None,
        )


def _without_oldest_turn(history: list[Message]) -> list[Message]:
    """Drop what stands before the second question; system messages stay."""
    system = [message for message in history if message.role == "system"]
    turns = history[len(system) :]  # a system message can only come first
    questions = [index for index, message in enumerate(turns) if message.role == "user"]
    second = next((index for index in questions if index > 0), len(turns))
    return [*system, *turns[second:]]


def _words_heard(messages: list[Message]) -> tuple[str, ...]:
    return tuple(
        part.transcript
        for message in messages
        for part in message.parts
        if part.type == "audio" and part.transcript is not None
    )
