"""What the routes share: the models, their queue, and the answers that were spoken."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from threading import Lock, RLock
from typing import Any

from unisono.errors import UnknownModelError, UnsupportedModalityError
from unisono.runtime import Assistant, Embedder
from unisono.server.drain import Drain
from unisono.server.jobs import JobQueue
from unisono.server.settings import ServerSettings
from unisono.server.spoken import Spoken, SpokenAnswers


@dataclass
class State:
    """See the module.

    Attributes:
        settings: of the server.
        assistants, embedders: name -> how to load it; the first is the default.
        jobs: where model work is done.
        spoken: earlier answers with sound.
        drain: whether the server goes down.
        ready: whether the default models are loaded.
    """

    settings: ServerSettings
    assistants: dict[str, Callable[[], Assistant]]
    embedders: dict[str, Callable[[], Embedder]]
    jobs: JobQueue
    spoken: Spoken = field(default_factory=SpokenAnswers)
    drain: Drain = field(default_factory=Drain)
    ready: bool = False
    _loaded: dict[str, Assistant | Embedder] = field(default_factory=dict)
    _loading: Lock = field(default_factory=Lock)
    _alone: RLock = field(default_factory=RLock)

    @cached_property
    def connections(self) -> "Connections":
        """Of `/v1/realtime`; touched in the event loop only."""
        return Connections(self.settings.max_connections)

    def turn(self, assistant: Assistant) -> AbstractContextManager[Any]:
        """To be held while an assistant works, which may be several at a time or one."""
        return nullcontext() if assistant.reader.engine.conversations > 1 else self._alone

    def assistant(self, name: str = "") -> Assistant:
        """A model that answers; to be called in the model's thread, where it is loaded.

        Raises:
            UnknownModelError: there is none of this name.
        """
        found = self._load(name, self.assistants)
        if not isinstance(found, Assistant):
            raise UnknownModelError(f"the model {name!r} does not answer")
        return found

    def embedder(self, name: str = "") -> Embedder:
        """A model that makes vectors; as `assistant`.

        Raises:
            UnknownModelError: there is none of this name.
        """
        found = self._load(name, self.embedders)
        if not isinstance(found, Embedder):
            raise UnknownModelError(f"the model {name!r} makes no vectors")
        return found

    def load_all(self) -> None:
        """Load the default models, so that the first request need not wait."""
        if self.assistants:
            self.assistant()
        if self.embedders:
            self.embedder()
        self.ready = True

    def _load(
        self,
        name: str,
        known: "dict[str, Callable[[], Assistant]] | dict[str, Callable[[], Embedder]]",
    ) -> Assistant | Embedder:
        name = name or next(iter(known), "")
        if name not in known:
            listed = ", ".join(known) or "none"
            raise UnknownModelError(f"there is no model {name!r} for this; there is {listed}")
        with self._loading:
            if name not in self._loaded:
                self._loaded[name] = known[name]()
            return self._loaded[name]

    def check_speech(self, voice: str | dict[str, object]) -> None:
        """Refuse voices that are not there; every name of OpenAI's stands for the one there is.

        Raises:
            UnsupportedModalityError: a voice of one's own is asked for.
        """
        if not isinstance(voice, str):
            raise UnsupportedModalityError("voices of one's own are not supported")


class Connections:
    """How many there are, and may be."""

    def __init__(self, most: int) -> None:
        self.most, self.now = most, 0

    def enter(self) -> bool:
        """Count one in, if there is room."""
        if self.now >= self.most:
            return False
        self.now += 1
        return True

    def leave(self) -> None:
        """Count one out."""
        self.now -= 1
