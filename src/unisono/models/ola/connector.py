"""Encoder features -> embeddings in the language model's space (Ola, section 3.1).

Shapes: N chunks, F frames, W encoder width, D width of the language model.
"""

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

    def forward(self, frames: Tensor, chunk_counts: Tensor) -> Tensor:
        """Connect the chunks of all sounds of a batch.

        Args:
            frames: [N, F, W], the chunks of the first sound, then of the second, …
            chunk_counts: [sounds], the chunks of each; they sum to N.

        Returns:
            [tokens, D]: the embeddings of all sounds, one sound after the other.
        """
        tokens = self.project(frames)  # [N, F // k, D]
        newline = self.newline.expand(len(tokens), 1, -1)
        rows = torch.cat([tokens, newline], dim=1)  # [N, F // k + 1, D]
        sounds = torch.split(rows, chunk_counts.tolist())
        begin, end = self.begin[None], self.end[None]
        return torch.cat([torch.cat([begin, s.flatten(0, 1), end]) for s in sounds])

    def project(self, frames: Tensor) -> Tensor:
        """[N, F, W] -> [N, F // k, D], without the marks."""
        chunks, length, width = frames.shape
        length -= length % self.stack
        stacked = frames[:, :length].reshape(chunks, length // self.stack, width * self.stack)
        return self.linear2(torch.relu(self.linear1(stacked)))
