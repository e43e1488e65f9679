"""What a checkpoint holds: a run's state into tensors and JSON values, and back."""

import random
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from unisono.errors import CheckpointError
from unisono.training.checkpoint import (
    EMA,
    MODEL,
    Snapshot,
    moments_file,
    read_tensors,
)
from unisono.training.distributed import Ranks, put, whole
from unisono.training.ema import Ema
from unisono.training.optimizer import moments, restore_moments

Generators = Mapping[str, Any]


@dataclass(frozen=True)
class Learned:
    """All tensors that a run changes.

    Attributes:
        parameters: those that train, by name; sharded or not.
        optimizer: over them.
        ema: of them.
        ranks: all processes.
    """

    parameters: Mapping[str, nn.Parameter]
    optimizer: torch.optim.Optimizer
    ema: Ema | None
    ranks: Ranks

    def snapshot(self, step: int, state: Mapping[str, Any]) -> Snapshot:
        """To be saved; all ranks call it, since what is sharded is gathered.

        Args:
            step: optimizer steps done.
            state: JSON values that are saved besides.
        """
        main = self.ranks.is_main
        model = self._gathered()
        files: dict[str, Mapping[str, Tensor]] = {MODEL: model} if main else {}
        if self.ema is not None:
            with self.ema.swapped_in():
                average = self._gathered(copied=True)
            files |= {EMA: average} if main else {}
        if main or self.ranks.sharded:
            files[moments_file(self.ranks.rank)] = moments(self.optimizer, self.parameters)
        return Snapshot(step, files, state)

    def restore(self, path: Path) -> None:
        """Undo `snapshot`; all ranks call it.

        Raises:
            CheckpointError: the checkpoint is of other parameters.
        """
        _put_all(self.parameters, path, MODEL)
        if self.ema is not None:
            with self.ema.swapped_in():
                _put_all(self.parameters, path, EMA)
        saved = read_tensors(path, moments_file(self.ranks.rank if self.ranks.sharded else 0))
        restore_moments(self.optimizer, self.parameters, saved)

    def _gathered(self, *, copied: bool = False) -> dict[str, Tensor]:
        """Whole parameters on the first rank; nothing on the others."""
        gathered = {}
        for name, parameter in self.parameters.items():
            tensor = whole(parameter)
            if self.ranks.is_main:
                gathered[name] = tensor.clone() if copied else tensor
        return gathered


def load_weights(model: nn.Module, checkpoint: Path, *, ema: bool = False) -> None:
    """Put what a checkpoint has learned into a model as it was before the stage.

    Args:
        model: not wrapped; parameters the checkpoint does not have stay as they are.
        checkpoint: `Outcome.checkpoint`, say.
        ema: take the average of the weights.

    Raises:
        CheckpointError: it is damaged, has no average, or is of another model.
    """
    parameters = dict(model.named_parameters())
    saved = read_tensors(checkpoint, EMA if ema else MODEL)
    if unknown := sorted(saved.keys() - parameters.keys()):
        raise CheckpointError(
            f"checkpoint '{checkpoint}' is of another model: this one has no {unknown[0]}"
        )
    _put_each({name: parameters[name] for name in saved}, saved, checkpoint)


def generators() -> Generators:
    """Of Python and numpy, as JSON values; torch's are seeded anew for every micro-batch."""
    numpy = np.random.get_state(legacy=False)
    inner = {**numpy["state"], "key": numpy["state"]["key"].tolist()}
    return {"python": random.getstate(), "numpy": {**numpy, "state": inner}}


def restore_generators(state: Generators) -> None:
    """Undo `generators`."""
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    numpy = dict(state["numpy"])
    key = np.array(numpy["state"]["key"], dtype=np.uint32)
    np.random.set_state({**numpy, "state": {**numpy["state"], "key": key}})


def _put_all(parameters: Mapping[str, nn.Parameter], path: Path, name: str) -> None:
    saved = read_tensors(path, name)
    if different := sorted(saved.keys() ^ parameters.keys()):
        raise CheckpointError(
            f"checkpoint '{path}' and the stage do not train the same parameters: "
            f"{', '.join(different[:3])}"
        )
    _put_each(parameters, saved, path)


def _put_each(
    parameters: Mapping[str, nn.Parameter], saved: Mapping[str, Tensor], path: Path
) -> None:
    for name, parameter in parameters.items():
        if saved[name].shape != parameter.shape:
            raise CheckpointError(
                f"{name} must be {list(parameter.shape)}, but is {list(saved[name].shape)} in "
                f"checkpoint '{path}'"
            )
        with torch.no_grad():
            put(parameter, saved[name])
