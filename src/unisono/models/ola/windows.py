"""How much of each chunk of sound the encoders see, and how many tokens that makes.

Ola's encoders see whole chunks of 30 s, zero-padded; a small model sees a chunk's own sound and a
second more (`OlaConfig.audio_window`), in training as in serving. Features then come in units: a
whole chunk each, or, where chunks differ in length, the frames of one token each.

Shapes: N chunks, U units, F frames of a unit, W width.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import torch
from torch import Tensor

from unisono.models.ola.config import OlaConfig


@dataclass(frozen=True)
class Windows:
    """The windows of the chunks of a batch.

    Attributes:
        tokens: of each chunk, newlines not counted.
        chunk_counts: the chunks of each sound.
        by_chunk: whether a unit is a chunk, not a token.
    """

    tokens: tuple[int, ...]
    chunk_counts: tuple[int, ...]
    by_chunk: bool

    @classmethod
    def of(cls, config: OlaConfig, chunk_counts: Tensor, lengths: Tensor | None) -> "Windows":
        """Of sounds with so many chunks.

        Args:
            config: the model's.
            chunk_counts: [sounds].
            lengths: [N], the samples of each chunk that are sound; None where windows do not
                depend on them.

        Raises:
            ValueError: the windows depend on lengths, but not every chunk has one.
        """
        counts = tuple(chunk_counts.tolist())
        tokens = window_tokens(config, sum(counts), lengths)
        return cls(tuple(tokens), counts, config.audio_window == "chunk")

    @property
    def units(self) -> list[int]:
        """Units of features of each sound."""
        return list(self.chunk_counts) if self.by_chunk else [sum(one) for one in self._sounds()]

    @property
    def sound_tokens(self) -> list[int]:
        """What the language model reads of each sound: tokens, newlines, begin and end."""
        return [sum(one) + len(one) + 2 for one in self._sounds()]

    def without_marks(self, sounds: Sequence[Tensor]) -> list[Tensor]:
        """Each sound's [tokens, D] without begin, newlines and end."""
        plain = []
        for one, tokens in zip(sounds, self._sounds(), strict=True):
            rows = torch.split(one[1:-1], [count + 1 for count in tokens])
            plain.append(torch.cat([row[:-1] for row in rows]))
        return plain

    def _sounds(self) -> list[list[int]]:
        """The tokens of the chunks of each sound."""
        each = iter(self.tokens)
        return [list(islice(each, count)) for count in self.chunk_counts]


def window_tokens(config: OlaConfig, chunks: int, lengths: Tensor | None) -> list[int]:
    """The tokens of each of so many chunks.

    Raises:
        ValueError: see `Windows.of`.
    """
    if config.audio_window == "chunk":
        return [config.audio_tokens_per_chunk - 1] * chunks
    if lengths is None or len(lengths) != chunks:
        given = "none is" if lengths is None else f"{len(lengths)} are"
        raise ValueError(f"audio_lengths must be given for {chunks} chunks, but {given} given")
    return [config.audio_window_tokens(length) for length in lengths.tolist()]


def in_windows(
    tokens: Sequence[int], at_once: int, encode: Callable[[list[int], int], Tensor]
) -> list[Tensor]:
    """Encode chunks with equal windows together: what one is heard as depends on no other.

    Args:
        tokens: of each chunk.
        at_once: the most chunks that are encoded together.
        encode: chunks and the tokens of their window -> [chunks, frames, W].

    Returns:
        For each chunk [frames, W].
    """
    found: dict[int, Tensor] = {}
    for window in dict.fromkeys(tokens):
        members = [index for index, count in enumerate(tokens) if count == window]
        for some in _slices(members, at_once):
            found |= dict(zip(some, encode(some, window), strict=True))
    return [found[index] for index in range(len(tokens))]


def _slices(members: list[int], size: int) -> Iterator[list[int]]:
    return (members[start : start + size] for start in range(0, len(members), size))
