"""A conversation as the model reads it: token ids, and the media behind the placeholders."""

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np


@dataclass(frozen=True)
class MediaSpan(ABC):
    """A medium and the run of placeholders that stands for it.

    Attributes:
        start: index of the first placeholder.
        length: number of placeholders.
        digest: names the content, so that two prompts can be compared.
    """

    start: int
    length: int
    digest: str = field(default="", kw_only=True)

    @abstractmethod
    def arrays(self) -> Sequence[np.ndarray]:
        """The content."""

    def __post_init__(self) -> None:
        if not self.digest:
            digest = hashlib.sha256(type(self).__name__.encode())
            for array in self.arrays():
                digest.update(str(array.shape).encode())
                digest.update(np.ascontiguousarray(array).data)
            object.__setattr__(self, "digest", digest.hexdigest())


@dataclass(frozen=True)
class AudioSpan(MediaSpan):
    """A sound: float32 [N, S], N chunks at 16 kHz.

    Attributes:
        chunks: zero-padded, cut behind the longest window.
        lengths: the samples of each chunk that are sound, for a model to which that matters.
    """

    chunks: np.ndarray = field(repr=False, compare=False)
    lengths: tuple[int, ...] | None = None

    def arrays(self) -> Sequence[np.ndarray]:
        """The chunks, and where the sound in them ends."""
        return (self.chunks,) if self.lengths is None else (self.chunks, np.array(self.lengths))


@dataclass(frozen=True)
class ImageSpan(MediaSpan):
    """A picture in one or two resolutions, low first: each uint8 [H, W, 3]."""

    pictures: tuple[np.ndarray, ...] = field(repr=False, compare=False)

    def arrays(self) -> Sequence[np.ndarray]:
        """The resolutions."""
        return self.pictures


@dataclass(frozen=True)
class VideoSpan(ImageSpan):
    """The frames of a video, without its sound: each uint8 [H, W, 3]."""


Span = TypeVar("Span", bound=MediaSpan)


@dataclass(frozen=True)
class Prompt:
    """Token ids, with placeholders where the spans are.

    Attributes:
        ids: [T].
        spans: the media, in the order of their placeholders.
        notices: what the user should know, such as that a video has no sound.
    """

    ids: tuple[int, ...]
    spans: tuple[MediaSpan, ...] = ()
    notices: tuple[str, ...] = ()

    def keys(self) -> list[Hashable]:
        """What stands at each position, comparable across prompts: an id, or part of a medium."""
        keys: list[Hashable] = list(self.ids)
        for span in self.spans:
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
        for span in self.spans:
            if span.start < length < span.start + span.length:
                return span.start
        return length

    def tail(self, start: int) -> "Prompt":
        """The prompt from `start` on; `start` must not lie inside a medium."""
        spans = (replace(s, start=s.start - start) for s in self.spans if s.start >= start)
        return Prompt(ids=self.ids[start:], spans=tuple(spans), notices=self.notices)


def of_kind(spans: Iterable[MediaSpan], kind: type[Span]) -> list[Span]:
    """The spans of one kind, in their order."""
    return [span for span in spans if isinstance(span, kind)]
