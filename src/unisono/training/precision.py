"""The precision of forward and backward passes; weights and their updates stay float32."""

import contextlib
import math
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from unisono.training.recipe import Precision

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_FIRST_SCALE, _GROWTH_STEPS = 2.0**16, 2000


class Mixed:
    """Autocast, and for float16 a scale of the loss that keeps small gradients from being zero.

    The scale is halved when a gradient overflows and doubled after 2,000 steps in which none did
    (arXiv 1710.03740, section 3.2). Unlike torch's `GradScaler` it is the same on all ranks, also
    where each has but a piece of the gradients.
    """

    def __init__(self, precision: Precision, device: torch.device) -> None:
        self._dtype = _DTYPES.get(precision)
        self._device = device
        self.scale = _FIRST_SCALE if precision == "fp16" else 1.0
        self._scaled = precision == "fp16"
        self._good_steps = 0

    def autocast(self) -> AbstractContextManager[Any]:
        """For forward passes."""
        if self._dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self._device.type, dtype=self._dtype)

    def backward(self, loss: Tensor) -> None:
        """Gradients of a loss, times `scale`."""
        (loss * self.scale).backward()  # type: ignore[no-untyped-call]

    def noted(self, loss: float, norm: float) -> bool:
        """Adapt the scale to a step.

        Args:
            loss, norm: of it.

        Returns:
            Whether the step is to be forgiven if it is skipped: its scale was too high.
        """
        if not self._scaled:
            return False
        if math.isfinite(loss) and math.isfinite(norm):
            self._good_steps += 1
            if self._good_steps == _GROWTH_STEPS:
                self.scale, self._good_steps = self.scale * 2, 0
            return False
        self.scale, self._good_steps = max(self.scale / 2, 1.0), 0
        return math.isfinite(loss) and self.scale > 1.0

    def state(self) -> list[float]:
        """What `restore` takes."""
        return [self.scale, self._good_steps]

    def restore(self, state: list[float]) -> None:
        """Go on with a scale."""
        self.scale, self._good_steps = state[0], int(state[1])
