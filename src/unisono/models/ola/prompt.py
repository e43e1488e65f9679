"""A conversation as the model reads it: token ids, and the media behind the placeholders."""

import hashlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np


@dataclass(frozen=True)
class AudioSpan:
    """A sound and the run of placeholders that stands for it.

    Attributes:
        start: index of the first placeholder.
        length: number of placeholders.
        chunks: float32 [N, S] at 16 kHz.
        digest: names the content, so that two prompts can be compared.
    """

    start: int
    length: int
    chunks: np.ndarray = field(repr=False, compare=False)
    digest: str = ""

    def __post_init__(self) -> None:
        if not self.digest:
            digest = hashlib.sha256(np.ascontiguousarray(self.chunks).data).hexdigest()
            object.__setattr__(self, "digest", digest)


@dataclass(frozen=True)
class Prompt:
    """Token ids, with placeholders where the spans are."""

    ids: tuple[int, ...]
    audio: tuple[AudioSpan, ...] = ()

    def keys(self) -> list[Hashable]:
        """What stands at each position, comparable across prompts: an id, or part of a medium."""
        keys: list[Hashable] = list(self.ids)
        for span in self.audio:
            for offset in range(span.length):
                keys[span.start + offset] = (span.digest, offset)
        return keys

    def common_prefix(self, keys: Sequence[Hashable]) -> int:
        """How many positions agree with `keys`, never ending inside a medium."""
        length = 0
        for mine, theirs in zip(self.keys(), keys, strict=False):
            if mine != theirs:
                break
            length += 1
        for span in self.audio:
            if span.start < length < span.start + span.length:
                return span.start
        return length

    def tail(self, start: int) -> "Prompt":
        """The prompt from `start` on; `start` must not lie inside a medium."""
        spans = (replace(s, start=s.start - start) for s in self.audio if s.start >= start)
        return Prompt(ids=self.ids[start:], audio=tuple(spans))
