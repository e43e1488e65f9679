"""A conversation of many turns that reads nothing twice."""

import time
from collections.abc import Generator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from unisono.conversation import Message, TextPart, normalise, validate
from unisono.engines import GenerationSettings
from unisono.runtime.answer import Answer, Memory
from unisono.runtime.events import Event, Finished
from unisono.runtime.reply import Reply, collect, user_message

if TYPE_CHECKING:
    from unisono.runtime.assistant import Assistant


class Session:
    """What was said so far, and the KV cache that holds it.

    Attributes:
        messages: the conversation: sounds with the words heard in them, answers with their
            tokens. An answer that was stopped stands as far as it came.
    """

    def __init__(self, assistant: "Assistant", system: str | None = None) -> None:
        self._assistant = assistant
        self._memory = Memory(assistant.reader.engine.new_cache())
        self.messages: list[Message] = []
        if system is not None:
            self.messages.append(Message(role="system", content=system))

    def chat(  # noqa: PLR0913 -- one keyword a modality
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
            **settings: fields of `GenerationSettings`.
        """
        started = time.perf_counter()
        chosen = GenerationSettings(**settings)
        new = validate(messages)
        voice = self._assistant.voice if speech else None
        new = [self._assistant.listen(message) for message in new]
        heard = tuple(
            part.transcript
            for message in new
            for part in message.parts
            if part.type == "audio" and part.transcript is not None
        )
        asked = normalise([*self.messages, *new])
        answer = Answer(self._assistant.reader, self._memory, chosen)
        finished: Finished | None = None
        try:
            for event in answer.events(asked, voice, started=started, heard=heard):
                if isinstance(event, Finished):
                    finished = event
                else:
                    yield event
        finally:
            if answer.ids:
                self.messages = [*asked, self._said(answer)]
        if finished is not None:
            yield finished

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
