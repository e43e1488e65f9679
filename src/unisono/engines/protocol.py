"""What an engine is: a language model that reads embeddings and yields tokens.

An engine knows one language model and how to step it fast on some hardware. It knows nothing
of media, messages or voices.

Shapes: T tokens, D width, V vocabulary.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Protocol

from torch import Tensor

from unisono.engines.sampling import Sampler
from unisono.engines.settings import GenerationSettings
from unisono.errors import ContextLengthError


class KVCache(Protocol):
    """What one conversation has been read so far."""

    @property
    def length(self) -> int:
        """Positions held."""
        ...

    def truncate(self, length: int) -> None:
        """Forget everything from position `length` on."""
        ...


class Engine(ABC):
    """A language model that is stepped one conversation at a time.

    Attributes:
        name: "torch", "llama.cpp", …, with the precision of the weights.
        width: D, of the embeddings it reads.
        context_length: the most positions a cache can hold.
        stop_ids: tokens that end an answer.
        conversations: caches that may be stepped at the same time, each from a thread of its own;
            1: calls must be serialised.
    """

    name: str
    width: int
    context_length: int
    stop_ids: frozenset[int]
    conversations: int = 1

    @abstractmethod
    def embed(self, ids: Sequence[int]) -> Tensor:
        """[T, D]: the token embeddings of `ids`."""

    @abstractmethod
    def new_cache(self) -> KVCache:
        """An empty cache, for one conversation."""

    @abstractmethod
    def read(self, embeddings: Tensor, cache: KVCache) -> Tensor:
        """Read embeddings [T, D] behind what the cache holds; the logits [V] after the last."""

    @abstractmethod
    def step(self, token: int, cache: KVCache) -> Tensor:
        """Read one token; the logits [V] after it."""

    def share_cores(self, shared: bool) -> None:  # noqa: B027 -- optional by design
        """While shared, leave a processor core to other work (a voice, say). May do nothing."""

    def generate(
        self, embeddings: Tensor, cache: KVCache, settings: GenerationSettings
    ) -> Iterator[int]:
        """Read a prompt and yield the answer's tokens, the ending token included.

        Each token is computed when it is asked for; closing the iterator computes no more. A
        token is in the cache once its successor was asked for.

        Args:
            embeddings: [T, D], what follows the cache's content; T >= 1.
            cache: of this engine; it grows.
            settings: stop texts are not the engine's: it knows no text.

        Raises:
            ContextLengthError: the prompt does not fit the context.
        """
        room = self.context_length - cache.length - len(embeddings)
        if room < 1:
            raise ContextLengthError(
                f"the conversation has {cache.length + len(embeddings)} tokens, "
                f"but the model reads at most {self.context_length}"
            )
        sampler = Sampler(settings)
        logits = self.read(embeddings, cache)
        for index in range(min(settings.max_new_tokens, room)):
            if index:
                logits = self.step(sampler.picked[-1], cache)
            token = sampler.pick(logits)
            yield token
            if token in self.stop_ids:
                return
