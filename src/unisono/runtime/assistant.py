"""The assistant: a model, a listener and a voice that answer together."""

from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

from unisono.conversation import AudioPart, Message
from unisono.engines import GenerationSettings
from unisono.errors import NothingHeardError, UnsupportedModalityError
from unisono.media import load_audio
from unisono.runtime.answer import Reader
from unisono.runtime.events import Event
from unisono.runtime.reply import Reply, collect, user_message
from unisono.runtime.session import Session
from unisono.speech import Listener, Voice


class Assistant:
    """Answers messages of text, pictures, sounds and video with text and speech.

    `load` makes one. Every call is a conversation of its own; `session` makes one that goes on.
    One assistant may serve several threads only if each has a session of its own and the
    engine's calls are serialised.
    """

    def __init__(
        self,
        reader: Reader,
        *,
        make_listener: Callable[[], Listener] | None = None,
        make_voice: Callable[[], Voice] | None = None,
        defaults: GenerationSettings | None = None,
        language: str | None = None,
        name: str = "",
    ) -> None:
        """Put the parts together.

        Args:
            reader: the model.
            make_listener: called when the first sound is to be understood; None without one.
            make_voice: called when the first answer is to be spoken; None without one.
            defaults: what a call leaves open; greedy decoding if None.
            language: spoken to the listener; see `load`.
            name: for messages.
        """
        self.reader = reader
        self.name = name
        self._language = language
        self.defaults = defaults or GenerationSettings()
        self._make_listener = make_listener
        self._make_voice = make_voice

    @cached_property
    def listener(self) -> Listener:
        """The listener, loaded at its first use."""
        if self._make_listener is None:
            raise UnsupportedModalityError(f"the model {self.name!r} was loaded without a listener")
        return self._make_listener()

    @cached_property
    def voice(self) -> Voice:
        """The voice, loaded at its first use."""
        if self._make_voice is None:
            raise UnsupportedModalityError(f"the model {self.name!r} was loaded without a voice")
        return self._make_voice()

    @property
    def needs_listener(self) -> bool:
        """Whether words of sounds reach the model as a listener wrote them down."""
        return bool(self.reader.processor.config.hearing != "connector")

    def warm_up(self, *, listening: bool = False, speech: bool = False) -> "Assistant":
        """Load the parts that will be needed now and side by side, not at their first use."""
        wanted = [name for name, want in (("listener", listening), ("voice", speech)) if want]
        with ThreadPoolExecutor(max(1, len(wanted))) as pool:
            list(pool.map(lambda name: getattr(self, name), wanted))
        return self

    def session(self, *, system: str | None = None) -> Session:
        """A conversation of many turns; `system` tells the model who it is."""
        return Session(self, system)

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
        """Ask once and wait for the whole answer.

        Args:
            text: the question; may be left out when a sound asks it.
            image: a path, bytes, `data:` URL or array; or a list of them.
            audio: the same, for sounds.
            video: the same, for videos.
            speech: also speak the answer.
            **settings: fields of `GenerationSettings`, in place of the model's own.

        Raises:
            UnisonoError: see its subclasses.
        """
        message = user_message(text, image=image, audio=audio, video=video)
        return collect(self.stream([message], speech=speech, **settings))

    def stream(
        self,
        messages: str | Sequence[Message | Mapping[str, Any]],
        *,
        speech: bool = False,
        **settings: Any,
    ) -> Generator[Event, None, None]:
        """Answer a conversation, yielding text and speech as they come.

        Closing the generator stops the model within one token, and the voice before its next
        chunk.

        Args:
            messages: messages or dicts of their fields; a string is one user message.
            speech: also yield `SpeechChunk`s.
            **settings: fields of `GenerationSettings`, in place of the model's own.

        Yields:
            `TextDelta` and `SpeechChunk` as they are ready, at last one `Finished`.

        Raises:
            UnisonoError: see its subclasses.
        """
        yield from self.session().stream(messages, speech=speech, **settings)

    def listen(self, message: Message) -> Message:
        """The message with the words of its sounds written down, if the model needs them.

        Raises:
            NothingHeardError: a message of sounds alone has no words in it, and the model gets
                nothing but words.
        """
        config = self.reader.processor.config
        if not self.needs_listener or all(part.type != "audio" for part in message.parts):
            return message
        parts = tuple(self._heard(p) if p.type == "audio" else p for p in message.parts)
        speechless = all(part.type == "audio" and not part.transcript for part in parts)
        if speechless and not config.hears_sound:
            raise NothingHeardError("no words were heard in the audio")
        return message.model_copy(update={"content": parts})

    def _heard(self, part: AudioPart) -> AudioPart:
        if part.transcript is not None:
            return part
        language = self.reader.processor.config.spoken_language
        if self._language is not None:
            language = None if self._language == "auto" else self._language
        sound = load_audio(part.audio)
        transcript = self.listener.listen(sound, language=language, word_times=False)
        return part.model_copy(update={"transcript": transcript.text})
