"""What passes between data, objective and loop."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol, TypeVar

from torch import Tensor, nn

from unisono.manifests.row import Row

State = Mapping[str, Any]
"""JSON values only."""

ExampleT = TypeVar("ExampleT")


@dataclass(frozen=True)
class Batch:
    """Micro-batch of one rank: what one forward and backward pass sees.

    Attributes:
        inputs: tensors by name, on the CPU; what `Objective.loss` takes.
        names: the rows in it, in order.
        tokens: read by the model, padding excluded.
        weight: units that its loss is a sum of (label tokens, pairs of a contrast: 1, utterances).
        state: restores a `BatchSource` to just behind this batch.
        waited_s: seconds the loop waited for it; set by whoever hands it out.
    """

    inputs: Mapping[str, Any]
    names: tuple[str, ...]
    tokens: int
    weight: float
    state: State = field(default_factory=dict)
    waited_s: float = 0.0


@dataclass(frozen=True)
class Computed:
    """What an objective makes of a batch.

    Attributes:
        loss: scalar with gradient: the sum over the batch's `weight` units, so that the loop can
            divide by the units of all micro-batches and ranks of a step.
        terms: what is logged besides, detached scalars, summed over units alike.
    """

    loss: Tensor
    terms: Mapping[str, Tensor] = field(default_factory=dict)


class Objective(Protocol, Generic[ExampleT]):
    """What is learned, and how rows become what the model learns it from.

    `prepare` runs in several threads; everything else in one.
    """

    def prepare(self, row: Row) -> ExampleT:
        """Open a row's media and encode it.

        Raises:
            UnisonoError: the row is of no use (unreadable media, too long, wrong kind).
        """

    def length(self, example: ExampleT) -> int:
        """Tokens the model reads of an example; batches have a budget of them."""

    def kind(self, example: ExampleT) -> str:
        """Modalities in it ("text", "audio+image"); examples of one kind cost alike."""

    def collate(self, examples: Sequence[ExampleT]) -> tuple[Mapping[str, Any], float]:
        """The inputs of one micro-batch, and its weight."""

    def loss(self, model: nn.Module, inputs: Mapping[str, Any], *, draw: int) -> Computed:
        """Forward pass.

        Args:
            model: wrapped for distribution, if it is.
            inputs: of a batch, on the model's device.
            draw: number that differs between micro-batches and ranks and is equal when a run is
                repeated or resumed: seeds whatever is drawn by chance.
        """


class BatchSource(Protocol):
    """An endless stream of batches of one rank, equal in every run."""

    def __iter__(self) -> Iterator[Batch]:
        """Batches from the present state on."""

    def restore(self, state: State) -> None:
        """Go on behind the batch that carried this state.

        Raises:
            CheckpointError: the state is of other data.
        """

    def close(self) -> None:
        """Stop the threads."""
