"""What a task is: how rows become predictions, and predictions scores.

Knows no model, and of files only manifests. A new task is one file in `tasks` and one line in its
registry.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict, PositiveInt

from unisono.errors import (
    HubError,
    ListenerError,
    MissingExtraError,
    ModelConfigError,
    UnisonoError,
)
from unisono.evaluation.score import Score
from unisono.manifests import Manifest, StreamedManifest, open_manifest
from unisono.manifests.row import Row


class NumberedRows(Protocol):
    """Rows by number, and what tells them from others."""

    fingerprint: str

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Row: ...


Rows = NumberedRows | Manifest | StreamedManifest


@dataclass(frozen=True)
class Prediction:
    """What a model made of one row.

    Attributes:
        name: of the row.
        output: JSON values, whatever the task's `score` needs; the right answer is called
            "target". A failed row without an output is left out of the scores; with one, the task
            counts it, as wrong.
        error: why the row failed, without its name.
    """

    name: str
    output: Mapping[str, Any] = field(default_factory=dict)
    error: str | None = None

    @classmethod
    def failed(
        cls, name: str, error: Exception, output: Mapping[str, Any] | None = None
    ) -> "Prediction":
        """Of a row that an error made fail."""
        return cls(name, output or {}, error=str(error).removeprefix(f"{name}: "))

    @property
    def counted(self) -> bool:
        """Whether it is in the scores."""
        return self.error is None or bool(self.output)


class Task(Protocol):
    """One question asked of models, always in the same way."""

    name: ClassVar[str]
    batch_size: int

    def settings(self) -> dict[str, Any]:
        """JSON values: whatever changes the predictions or their scores."""

    def open(self, paths: Sequence[str], media: Path | None) -> Rows:
        """The rows of files: a manifest's, or a benchmark's in its own layout.

        Raises:
            DataError: they are not what the task reads.
        """

    def load(self, model: str) -> Any:
        """What `predict` takes, by the name of a model or its folder."""

    def predict(self, model: Any, rows: Sequence[Row]) -> list[Prediction]:
        """One prediction a row, in order; a row that fails is a prediction with an error.

        What a prediction is may depend on its row only, not on the rows beside it.
        """

    def score(self, predictions: Sequence[Prediction]) -> dict[str, Score]:
        """Metric -> score, of all predictions that are `counted`."""


class TaskSettings(BaseModel):
    """A task whose settings are pydantic fields.

    Attributes:
        batch_size: rows predicted, and noted, at a time.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    batch_size: PositiveInt = 8

    def open(self, paths: Sequence[str], media: Path | None) -> Rows:
        """A manifest; see `open_manifest`."""
        return open_manifest(paths, media=media)

    def settings(self) -> dict[str, Any]:
        """All fields but those that change nothing."""
        return self.model_dump(mode="json", exclude={"batch_size"})


_OF_THE_MODEL = (MissingExtraError, HubError, ListenerError, ModelConfigError)


def counted(predictions: Sequence[Prediction]) -> list[Prediction]:
    """Those that are in the scores."""
    return [prediction for prediction in predictions if prediction.counted]


def predict_row(
    row: Row,
    target: Callable[[Row], Mapping[str, Any]],
    answer: Callable[[Row], Mapping[str, Any]],
) -> Prediction:
    """A prediction of a row on its own; what fails on purpose is an error in it.

    Args:
        row: of a manifest.
        target: what is known without a model, "target" among it; its failure leaves the row out.
        answer: what the model adds; its failure leaves only the target, so that the row is wrong.

    Raises:
        MissingExtraError, HubError, ListenerError, ModelConfigError: no row could be predicted,
            so this says nothing of this one.
    """
    known: Mapping[str, Any] = {}
    try:
        known = target(row)
        return Prediction(row.name, {**known, **answer(row)})
    except _OF_THE_MODEL:
        raise
    except UnisonoError as error:
        return Prediction.failed(row.name, error, known)
