"""One optimizer step: micro-batches of all ranks become one change of the weights.

The loss of a step is the mean over all units of all its micro-batches on all ranks: with w_ij the
weight of micro-batch i on rank j and L_ij its summed loss, (sum L_ij) / (sum w_ij). All of them are
taken first, so that the sum of the weights is known in the first backward pass; ranks average
their gradients, hence the factor of the number of ranks.
"""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn

from unisono.errors import UnisonoError
from unisono.training.batch import Batch, Objective
from unisono.training.distributed import Ranks, local, moved
from unisono.training.ema import Ema
from unisono.training.mixture import digest
from unisono.training.optimizer import set_lr
from unisono.training.precision import Mixed


@dataclass(frozen=True)
class Share:
    """What a rank brings to a step.

    Attributes:
        weight: units of loss.
        tokens, samples: of its micro-batches.
        waited_s: for them.
        names: digest of the samples' names, in order.
        stop: the process was asked to stop.
        due: a checkpoint should follow, by this process' clock.
        failure: why there are no batches.
    """

    weight: float = 0.0
    tokens: int = 0
    samples: int = 0
    waited_s: float = 0.0
    names: int = 0
    stop: bool = False
    due: bool = False
    failure: str | None = None


@dataclass(frozen=True)
class Taken:
    """The micro-batches of one rank, or why there are none."""

    batches: Sequence[Batch]
    failure: UnisonoError | None = None

    def share(self, *, stop: bool, due: bool) -> Share:
        """What the other ranks need to know of them."""
        return Share(
            weight=sum(batch.weight for batch in self.batches),
            tokens=sum(batch.tokens for batch in self.batches),
            samples=sum(len(batch.names) for batch in self.batches),
            waited_s=sum(batch.waited_s for batch in self.batches),
            names=digest(*(batch.names for batch in self.batches)),
            stop=stop,
            due=due,
            failure=None if self.failure is None else str(self.failure),
        )


@dataclass(frozen=True)
class Measured:
    """What a step was.

    Attributes:
        loss: a unit, of all ranks.
        terms: of the objective, alike.
        norm: of the gradients, before they were clipped.
        skipped: loss or gradients were not finite: nothing has changed.
        forgiven: since the scale of float16 was too high; it is lower now.
    """

    loss: float
    terms: Mapping[str, float]
    norm: float
    skipped: bool
    forgiven: bool


def take(batches: Iterator[Batch], count: int) -> Taken:
    """The next micro-batches; what is wrong with the data is kept for the other ranks to hear."""
    try:
        return Taken(list(islice(batches, count)))
    except UnisonoError as error:
        return Taken([], error)


@dataclass
class Stepper:
    """Everything that a step needs and changes.

    Attributes:
        model: wrapped.
        parameters: those that train.
        objective: what is learned.
        optimizer: over the parameters.
        ranks: all processes.
        precision: of forward and backward passes.
        ema: follows the weights, if there is one.
        clip_norm: largest norm of the gradients.
        seed: of what is drawn by chance.
    """

    model: nn.Module
    parameters: Mapping[str, nn.Parameter]
    objective: Objective[Any]
    optimizer: torch.optim.Optimizer
    ranks: Ranks
    precision: Mixed
    ema: Ema | None
    clip_norm: float | None
    seed: int

    def run(
        self,
        step: int,
        batches: Sequence[Batch],
        *,
        weight: float,
        lr: float,
        stopped: Callable[[], bool] = lambda: False,
    ) -> Measured | None:
        """Do a step.

        Args:
            step: steps done before it, from which the numbers drawn by chance follow.
            batches: micro-batches of this rank.
            weight: of the micro-batches of all ranks.
            lr: before the parameters' own factors.
            stopped: asked before each micro-batch.

        Returns:
            What it was, or None if it was stopped: then nothing has changed.
        """
        self.optimizer.zero_grad(set_to_none=True)
        sums: dict[str, Tensor] = {}
        for place, batch in enumerate(batches):
            if stopped():
                return None
            is_last = place == len(batches) - 1
            draw = (step * len(batches) + place) * self.ranks.world + self.ranks.rank
            with nullcontext() if is_last else self.ranks.without_exchange(self.model):
                self._backward(batch, draw, weight, sums)
        self.ranks.average_scalars(self.parameters.values())
        return self._update(self._means(sums, weight), lr)

    def _backward(self, batch: Batch, draw: int, weight: float, sums: dict[str, Tensor]) -> None:
        # Dropout and drop-path too are to be the same in a run that is repeated or resumed.
        _seed(digest(self.seed, "draw", draw), self.ranks.device)
        inputs = moved(batch.inputs, self.ranks.device)
        with self.precision.autocast():
            computed = self.objective.loss(self.model, inputs, draw=draw)
        self.precision.backward(computed.loss * (self.ranks.world / (weight or 1.0)))
        for name, value in {"": computed.loss, **computed.terms}.items():
            term = value.detach().float()
            sums[name] = sums[name] + term if name in sums else term

    def _means(self, sums: Mapping[str, Tensor], weight: float) -> dict[str, float]:
        """Over all ranks; "" is the loss."""
        mine = {name: float(value) for name, value in sums.items()}
        totals: dict[str, float] = {}
        for one in self.ranks.gather(mine):
            for name, value in one.items():
                totals[name] = totals.get(name, 0.0) + value
        return {name: total / (weight or 1.0) for name, total in totals.items()}

    def _update(self, means: dict[str, float], lr: float) -> Measured:
        loss = means.pop("")
        scale = self.precision.scale
        norm = self.ranks.gradient_norm(self.parameters.values()) / scale
        skipped = not (math.isfinite(loss) and math.isfinite(norm))
        forgiven = self.precision.noted(loss, norm)
        if not skipped:
            self._rescale(norm, scale)
            set_lr(self.optimizer, lr)
            self.optimizer.step()
            if self.ema is not None:
                self.ema.update()
        self.optimizer.zero_grad(set_to_none=True)
        return Measured(loss, means, norm, skipped, forgiven)

    def _rescale(self, norm: float, scale: float) -> None:
        clip = self.clip_norm
        factor = (1.0 if clip is None or norm <= clip else clip / norm) / scale
        if factor == 1.0:
            return
        gradients = [local(p.grad) for p in self.parameters.values() if p.grad is not None]
        torch._foreach_mul_(gradients, factor)


def _seed(seed: int, device: torch.device) -> None:
    """Of the generators that a model on the device draws from."""
    if device.type == "cpu":  # `manual_seed` would spend milliseconds on devices there are not
        torch.default_generator.manual_seed(seed)
    else:
        torch.manual_seed(seed)
