"""Models with a head: classes, boxes and choices, compared with what stands in the rows."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, Literal

import numpy as np

from unisono.errors import BadRowError, ModelConfigError
from unisono.evaluation.metrics.boxes import box_iou, corners, grounding_accuracy
from unisono.evaluation.metrics.labels import mean_average_precision, vqa_accuracy
from unisono.evaluation.metrics.matching import accuracy
from unisono.evaluation.score import Score
from unisono.evaluation.task import Prediction, TaskSettings, counted
from unisono.manifests.row import PairRow, Row
from unisono.runtime import Answer, Predictor, load_predictor


class _Head(TaskSettings):
    """What the three have in common: a row becomes an item, an item an answer."""

    does: ClassVar[str]

    def load(self, model: str) -> Predictor:
        """A model that does the task."""
        return load_predictor(model, task=self.does)

    def predict(self, model: Predictor, rows: Sequence[Row]) -> list[Prediction]:
        """One answer a row; a row without what is right is left out, one that fails is wrong."""
        targets = [_caught(self._target, row) for row in rows]
        asked = [i for i, one in enumerate(targets) if not isinstance(one, BadRowError)]
        items = [_item(rows[i], model.inputs) for i in asked]
        found = dict(zip(asked, model.predict_each(items), strict=True))
        predictions = []
        for place, (row, target) in enumerate(zip(rows, targets, strict=True)):
            if isinstance(target, BadRowError):
                predictions.append(Prediction.failed(row.name, target))
                continue
            answer, error = found[place].answer, found[place].error
            output = {"target": target} | ({} if answer is None else self._output(answer))
            if error is None:
                predictions.append(Prediction(row.name, output))
            else:
                predictions.append(Prediction.failed(row.name, error, output))
        return predictions

    def _target(self, row: Row) -> Any:
        raise NotImplementedError

    def _output(self, answer: Answer) -> dict[str, Any]:
        raise NotImplementedError


class Classified(_Head):
    """Whether the likeliest class is right; of several right ones, how they are ranked.

    Attributes:
        field: of a row where the right answer stands; "text" is the row's text.
        target: "one" label: `accuracy`; "several": `map`; or "people" who answered:
            `vqa_accuracy`.
    """

    name: ClassVar[str] = "classified"
    does: ClassVar[str] = "classify"
    field: str = "label"
    target: Literal["one", "several", "people"] = "one"

    def score(self, predictions: Sequence[Prediction]) -> dict[str, Score]:
        """The metric of the target."""
        scored = counted(predictions)
        names = [one.name for one in scored]
        targets = [one.output["target"] for one in scored]
        if self.target == "several":
            return {"map": _map(scored, names)}
        best = [one.output.get("label") for one in scored]
        if self.target == "people":
            return {"vqa_accuracy": vqa_accuracy(targets, best, names=names)}
        return {"accuracy": accuracy(targets, best, names=names)}

    def _target(self, row: Row) -> Any:
        value = row.text if self.field == "text" and isinstance(row, PairRow) else None
        value = row.fields.get(self.field) if value is None else value
        texts = [value] if self.target == "one" else value
        if not isinstance(texts, list) or not texts or not all(isinstance(x, str) for x in texts):
            raise BadRowError(f"{row.name}: {self.field} has no right answer, but {value!r:.60}")
        return value

    def _output(self, answer: Answer) -> dict[str, Any]:
        said: dict[str, Any] = {"label": answer.label}
        return said | ({"shares": dict(answer.labels)} if self.target == "several" else {})


class Grounded(_Head):
    """How often a phrase's box is found: `accuracy@0.5`, and the mean overlap.

    Attributes:
        field: of a row where the box stands, x, y, width, height in pixels.
    """

    name: ClassVar[str] = "grounded"
    does: ClassVar[str] = "ground"
    field: str = "box"

    def score(self, predictions: Sequence[Prediction]) -> dict[str, Score]:
        """Over all phrases; one without an answer is wrong."""
        scored = counted(predictions)
        names = [one.name for one in scored]
        boxes = corners([one.output["target"] for one in scored])
        found = [one.output.get("box") for one in scored]
        pairs = zip(boxes, found, strict=True)
        overlaps = [0.0 if f is None else float(box_iou(b, f)[0, 0]) for b, f in pairs]
        return {
            "accuracy@0.5": grounding_accuracy(boxes, found, names=names),
            "overlap": Score.of(overlaps, names=names),
        }

    def _target(self, row: Row) -> Any:
        box = row.fields.get(self.field)
        if not isinstance(box, list) or len(box) != 4:
            raise BadRowError(f"{row.name}: {self.field} must be a box, but is {box!r:.60} instead")
        return [float(one) for one in box]

    def _output(self, answer: Answer) -> dict[str, Any]:
        return {"box": None if answer.box is None else list(answer.box)}


class Ranked(_Head):
    """Whether the right one of the row's choices is the likeliest."""

    name: ClassVar[str] = "ranked"
    does: ClassVar[str] = "rank"

    def score(self, predictions: Sequence[Prediction]) -> dict[str, Score]:
        """Share answered rightly."""
        scored = counted(predictions)
        best = [one.output.get("label") for one in scored]
        names = [one.name for one in scored]
        return {"accuracy": accuracy([one.output["target"] for one in scored], best, names=names)}

    def _target(self, row: Row) -> Any:
        choices, place = row.fields.get("choices"), row.fields.get("choice")
        if not isinstance(choices, list) or not isinstance(place, int):
            raise BadRowError(f"{row.name}: the row must have choices and the right one's place")
        if not 0 <= place < len(choices):
            raise BadRowError(f"{row.name}: there is no choice {place} of {len(choices)}")
        return choices[place]

    def _output(self, answer: Answer) -> dict[str, Any]:
        return {"label": answer.label}


def _item(row: Row, inputs: Sequence[str]) -> dict[str, Any]:
    """What the model is given of a row; what is missing, the model will miss."""
    item: dict[str, Any] = {}
    for name in inputs:
        value = getattr(row, name, None)
        item[name] = row.fields.get(name) if value is None else value
    return item


def _caught(target: Callable[[Row], Any], row: Row) -> Any:
    try:
        return target(row)
    except BadRowError as error:
        return error


def _map(scored: Sequence[Prediction], names: Sequence[str]) -> Score:
    """Over the labels that the model knows; a row that failed has the lowest score for each."""
    shares: list[Mapping[str, float]] = [one.output.get("shares") or {} for one in scored]
    labels = sorted({label for one in shares for label in one})
    if not labels:
        raise ModelConfigError("the model gave no label a score")
    scores = np.array([[one.get(label, -1.0) for label in labels] for one in shares])
    targets = [set(one.output["target"]) for one in scored]
    relevant = np.array([[label in target for label in labels] for target in targets])
    return mean_average_precision(relevant, scores, names=names)
