"""Fine-tuning for tasks over a whole input: classification, grounding, ranking (arXiv 2305.11172,
section 3 and appendix).

A batch weighs as many units as it has rows. Nothing is drawn by chance: pictures and sounds are
seen in training as they are in use.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from unisono.errors import BadRowError, ConversationError, RecipeError
from unisono.manifests.row import PairRow, Row
from unisono.media import load_image
from unisono.models.onepeace.losses import box_overlap
from unisono.models.onepeace.processor import OnePeaceProcessor
from unisono.models.onepeace.processor_image import box_fractions
from unisono.models.onepeace.task_inputs import (
    TaskExample,
    collate_task,
    given,
    prepare_task,
    task_length,
)
from unisono.training import goals
from unisono.training.batch import Computed
from unisono.training.labels import target_of

MARGIN = 1.0


@dataclass(frozen=True)
class Aimed:
    """An item with what is right of it.

    Attributes:
        example: the item.
        target: [K] of a classification of several, a scalar class or place, or a box [4].
    """

    example: TaskExample
    target: Tensor


class TaskObjective:
    """What the three have in common."""

    inputs: tuple[str, ...] = ()

    def __init__(self, processor: OnePeaceProcessor) -> None:
        self.processor = processor

    def length(self, example: Aimed) -> int:
        """Tokens of the item, of all candidates."""
        return task_length(self.processor, example.example)

    def kind(self, example: Aimed) -> str:
        """The inputs, which are the same for all rows."""
        return "+".join(self.inputs)

    def collate(self, examples: Sequence[Aimed]) -> tuple[Mapping[str, Any], float]:
        """Inputs of the model and "target"."""
        inputs = collate_task(self.processor, [one.example for one in examples])
        inputs["target"] = torch.stack([one.target for one in examples])
        return inputs, float(len(examples))

    def _opened(self, row: Row, **more: Any) -> TaskExample:
        if not isinstance(row, PairRow):
            raise BadRowError(f"{row.name}: a task learns from pairs, but this is a conversation")
        item = {"image_2": row.fields.get("image_2")}
        item |= {name: getattr(row, name) for name in ("text", "image", "audio")}
        try:
            return prepare_task(self.processor, **given(item, self.inputs, "a row"), **more)
        except ConversationError as error:
            raise BadRowError(f"{row.name}: {error}") from None


class Classify(TaskObjective):
    """Cross-entropy over labels; where several may be right, binary, summed over the labels."""

    def __init__(
        self,
        processor: OnePeaceProcessor,
        settings: goals.Classification,
        labels: Sequence[str],
    ) -> None:
        """Prepare a stage.

        Args:
            processor: of the model.
            settings: of the stage.
            labels: of the model, in its order.
        """
        super().__init__(processor)
        self.settings = settings
        self.inputs = settings.inputs
        self._places = {label: place for place, label in enumerate(labels)}

    def prepare(self, row: Row) -> Aimed:
        """An item and its labels.

        Raises:
            BadRowError: it lacks an input or the answer, or the answer is none of the labels; of
                people's answers those that are no labels are passed over.
            MediaError: a medium cannot be used.
        """
        right = target_of(row, self.settings)
        unknown = [label for label in right if label not in self._places]
        if unknown and self.settings.target != "people":
            raise BadRowError(f"{row.name}: {unknown[0]!r} is none of the model's labels")
        example = self._opened(row)
        if self.settings.target == "one":
            return Aimed(example, torch.tensor(next(self._places[label] for label in right)))
        target = torch.zeros(len(self._places))
        for label, share in right.items():
            if label in self._places:
                target[self._places[label]] = share
        return Aimed(example, target)

    def loss(self, model: nn.Module, inputs: Mapping[str, Any], *, draw: int) -> Computed:
        """Summed over the rows; "right" is the share whose likeliest label is (as) right."""
        media = {name: x for name, x in inputs.items() if name != "target"}
        target: Tensor = inputs["target"]
        found = model(**media, labels=target)
        best = found.logits.detach().argmax(dim=1)
        if target.dim() == 1:
            right = (best == target).float().sum()
        else:
            right = target.gather(1, best[:, None]).sum()
        return Computed(found.loss * len(target), {"right": right})


class Ground(TaskObjective):
    """L1 distance and generalised overlap of boxes."""

    inputs = ("text", "image")

    def __init__(self, processor: OnePeaceProcessor, settings: goals.Grounding) -> None:
        super().__init__(processor)
        self.settings = settings

    def prepare(self, row: Row) -> Aimed:
        """An item and its box, as fractions of the picture.

        Raises:
            BadRowError: it lacks text, picture or box, or the box is none.
            MediaError: the picture cannot be used.
        """
        box = row.fields.get(self.settings.field)
        if isinstance(row, PairRow) and row.image is not None:
            picture = load_image(row.image)  # once: its size is needed too
            row = PairRow(row.name, text=row.text, image=picture, fields=row.fields)
        example = self._opened(row)
        corners = torch.tensor(box_corners(box, row.name))
        side = self.processor.image_size or 0
        return Aimed(example, box_fractions(corners[None], [picture.size], side)[0])

    def loss(self, model: nn.Module, inputs: Mapping[str, Any], *, draw: int) -> Computed:
        """Summed over the rows; "found" is the share with an overlap of at least a half."""
        media = {name: x for name, x in inputs.items() if name != "target"}
        target: Tensor = inputs["target"]
        found = model(**media, boxes=target)
        overlap = box_overlap(found.boxes.detach().float(), target)
        hits = (overlap >= 0.5).float().sum()
        return Computed(found.loss * len(target), {"found": hits, "overlap": overlap.sum()})


class Rank(TaskObjective):
    """The right one of some answers, by cross-entropy or as the official code: hinge loss."""

    def __init__(self, processor: OnePeaceProcessor, settings: goals.Ranking) -> None:
        super().__init__(processor)
        self.settings = settings
        self.inputs = ("text", *settings.inputs)

    def prepare(self, row: Row) -> Aimed:
        """A question with its candidates.

        Raises:
            BadRowError: it lacks an input, or its choices are not as many as they should be.
            MediaError: a medium cannot be used.
        """
        choices, place = row.fields.get("choices"), row.fields.get("choice")
        wanted = self.settings.candidates
        if not _are_texts(choices, wanted):
            raise BadRowError(f"{row.name}: choices must be {wanted} texts, not {choices!r:.80}")
        if isinstance(place, bool) or not isinstance(place, int) or not 0 <= place < wanted:
            raise BadRowError(
                f"{row.name}: choice must be from 0 to {wanted - 1}, but is {place!r:.40} instead"
            )
        return Aimed(self._opened(row, choices=choices), torch.tensor(place))

    def loss(self, model: nn.Module, inputs: Mapping[str, Any], *, draw: int) -> Computed:
        """Summed over the questions; "right" is the share answered rightly."""
        media = {name: x for name, x in inputs.items() if name != "target"}
        target: Tensor = inputs["target"]
        logits = model(**media).logits.float()
        if self.settings.loss == "hinge":
            right = logits.gather(1, target[:, None])
            loss = (MARGIN + logits - right).clamp(min=0).sum()
        else:
            loss = functional.cross_entropy(logits, target, reduction="sum")
        hits = (logits.detach().argmax(dim=1) == target).float().sum()
        return Computed(loss, {"right": hits})


def box_corners(box: object, name: str) -> list[float]:
    """x, y, width, height -> x1, y1, x2, y2.

    Raises:
        BadRowError: it is no box; the message begins with `name`.
    """
    try:
        x, y, width, height = (float(one) for one in box)  # type: ignore[attr-defined]
    except (TypeError, ValueError):
        raise BadRowError(
            f"{name}: a box must be x, y, width, height, but is {box!r:.80} instead"
        ) from None
    if not (width > 0 and height > 0):
        raise BadRowError(f"{name}: a box must have a width and a height, but is {box!r:.80}")
    return [x, y, x + width, y + height]


def _are_texts(values: object, count: int) -> bool:
    return (
        isinstance(values, list | tuple)
        and len(values) == count
        and all(isinstance(one, str) for one in values)
    )


AnyTask = Classify | Ground | Rank


def choose_task(
    settings: goals.TaskSettings, processor: OnePeaceProcessor, labels: Sequence[str] | None
) -> AnyTask:
    """The objective of a stage.

    Raises:
        RecipeError: a classification has no labels.
    """
    if isinstance(settings, goals.Grounding):
        return Ground(processor, settings)
    if isinstance(settings, goals.Ranking):
        return Rank(processor, settings)
    if labels is None:
        raise RecipeError("a classification needs labels, but nobody names any")
    return Classify(processor, settings, labels)
