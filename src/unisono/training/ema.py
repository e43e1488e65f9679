"""Exponential moving average of the trained weights, often better than the last ones.

After each step average <- decay x average + (1 - decay) x weights, in float32.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import nn

from unisono.training.distributed import local


class Ema:
    """The average, beside the weights; of sharded ones this rank's piece."""

    def __init__(self, parameters: Mapping[str, nn.Parameter], decay: float) -> None:
        """Begin with the weights as they are.

        Args:
            parameters: those that train, float32.
            decay: of the average, a step.
        """
        self._weights = [local(one.detach()) for one in parameters.values()]
        self._average = [one.float().clone() for one in self._weights]
        self._decay = decay

    def update(self) -> None:
        """After a step."""
        torch._foreach_lerp_(self._average, self._weights, 1.0 - self._decay)

    @contextmanager
    def swapped_in(self) -> Iterator[None]:
        """Inside, the model's weights are the average."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def _swap(self) -> None:
        for weight, average in zip(self._weights, self._average, strict=True):
            kept = weight.clone()
            weight.copy_(average)
            average.copy_(kept)
