"""Encoder features -> embeddings in the language model's space (Ola, section 3.1).

Shapes: N chunks, F frames, W encoder width, D width of the language model.
"""

from collections.abc import Sequence
from itertools import islice

import torch
from torch import Tensor, nn


class AudioConnector(nn.Module):
    """k adjacent frames concatenated -> Linear -> ReLU -> Linear, with learned marks.

    One sound of n chunks becomes [begin] chunk [newline] … chunk [newline] [end]:
    n * (F // k + 1) + 2 embeddings. Frames beyond the last multiple of k are dropped.
    """

    MARKS = ("begin", "newline", "end")
    begin: nn.Parameter
    newline: nn.Parameter
    end: nn.Parameter

    def __init__(self, width: int, hidden: int, out_width: int, stack: int) -> None:
        super().__init__()
        self.stack = stack
        self.linear1 = nn.Linear(width * stack, hidden)
        self.linear2 = nn.Linear(hidden, out_width)
        for name in self.MARKS:
            self.register_parameter(name, nn.Parameter(torch.randn(out_width) * out_width**-0.5))

    def forward(
        self, frames: Tensor, chunk_counts: Tensor, chunk_tokens: Sequence[int] | None = None
    ) -> Tensor:
        """Connect the chunks of all sounds of a batch.

        Args:
            frames: [N, F, W], the chunks of the first sound, then of the second, …; with
                `chunk_tokens` cut into any units [U, F, W] of whole tokens.
            chunk_counts: [sounds], the chunks of each; they sum to N.
            chunk_tokens: the tokens of each chunk, where they differ.

        Returns:
            [tokens, D]: the embeddings of all sounds, one sound after the other.
        """
        tokens = self.project(frames)  # [N, F // k, D]
        lengths = [tokens.shape[1]] * len(tokens) if chunk_tokens is None else list(chunk_tokens)
        chunks = iter(torch.split(tokens.flatten(0, 1), lengths))
        begin, newline, end = self.begin[None], self.newline[None], self.end[None]
        rows = []
        for count in chunk_counts.tolist():
            rows += [begin, *(x for one in islice(chunks, count) for x in (one, newline)), end]
        return torch.cat(rows)

    def project(self, frames: Tensor) -> Tensor:
        """[N, F, W] -> [N, F // k, D], without the marks."""
        chunks, length, width = frames.shape
        length -= length % self.stack
        stacked = frames[:, :length].reshape(chunks, length // self.stack, width * self.stack)
        stacked = stacked.to(self.linear1.weight.dtype)  # an encoder may be kept in float32
        return self.linear2(torch.relu(self.linear1(stacked)))
