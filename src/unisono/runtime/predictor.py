"""Models with a head at work: items in, classes, boxes, maps out, with the same preparation as in
training.

Knows what an item and an answer are; what a model makes of pixels and samples is its own affair.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from unisono.errors import ConversationError, UnisonoError
from unisono.media.masks import encode_mask
from unisono.models.onepeace.dense.instances import Instance
from unisono.models.onepeace.dense.segmenter import SegmentationMap

Item = Mapping[str, Any]
"""What an answer is about: input -> source; inputs are text, image, image_2, audio, video, and
choices, a list of texts."""

Box = tuple[float, float, float, float]
TASKS = ("classify", "ground", "rank", "segment", "detect")


@dataclass(frozen=True)
class Answer:
    """What a model says of one item; what its task does not have is None or empty.

    Attributes:
        labels: classes, or choices of a ranking -> their probability, the likeliest first. Where
            several classes may be right, each has its own, from 0 to 1.
        box: of what a phrase means, x1, y1, x2, y2 in pixels of the picture.
        things: instances in a picture, the surest first.
        segmentation: the class of every pixel.
    """

    labels: Mapping[str, float] = field(default_factory=dict)
    box: Box | None = None
    things: Sequence[Instance] = ()
    segmentation: SegmentationMap | None = None

    @property
    def label(self) -> str | None:
        """The likeliest."""
        return next(iter(self.labels), None)

    def as_json(self, *, top: int | None = None) -> dict[str, Any]:
        """As JSON values; a segmentation as the share of each class, masks as COCO's run lengths.

        Args:
            top: labels that are said; None for all.
        """
        said: dict[str, Any] = {}
        if self.labels:
            said["labels"] = {n: round(p, 6) for n, p in islice(self.labels.items(), top)}
        if self.box is not None:
            said["box"] = [round(one, 2) for one in self.box]
        if self.segmentation is not None:
            shares = self.segmentation.shares()
            said["shares"] = {name: round(share, 6) for name, share in shares.items()}
        elif not said:
            said["things"] = [_thing(one) for one in self.things]
        return said


@dataclass(frozen=True)
class Predicted:
    """What became of one item.

    Attributes:
        index: of the item, from 0.
        answer: None when it failed.
        error: why it failed.
    """

    index: int
    answer: Answer | None = None
    error: UnisonoError | None = None


class Predictor(ABC):
    """A model that does one task.

    Attributes:
        task: one of `TASKS`.
        name: for messages.
        inputs: that an item must have.
    """

    task: str
    name: str = ""
    inputs: tuple[str, ...] = ("image",)

    def predict(self, **item: Any) -> Answer:
        """Say what the model says of one item: `predict(image="x.png", text="the red kite")`.

        Raises:
            ConversationError: the item lacks an input, or has one that is not the model's.
            MediaError: a medium cannot be opened.
        """
        (found,) = self.predict_each([item])
        if found.answer is None:
            raise found.error or RuntimeError("an item has neither answer nor error")
        return found.answer

    def predict_each(self, items: Iterable[Item], *, batch_size: int = 8) -> Iterator[Predicted]:
        """One result an item, in order; an item that fails is a result with an error.

        Args:
            items: see `Item`.
            batch_size: items that pass the model together.
        """
        numbered = iter(enumerate(items))
        while batch := list(islice(numbered, batch_size)):
            yield from self._batch(batch)

    def _batch(self, batch: Sequence[tuple[int, Item]]) -> Iterator[Predicted]:
        opened: dict[int, Any] = {}
        failed: dict[int, UnisonoError] = {}
        for index, item in batch:
            try:
                self._check(item)
                opened[index] = self.open(item)
            except UnisonoError as error:
                failed[index] = error
        answers = dict(zip(opened, self.answer(list(opened.values())), strict=True))
        for index, _ in batch:
            yield Predicted(index, answers.get(index), failed.get(index))

    def _check(self, item: Item) -> None:
        there = {name for name, value in item.items() if value is not None}
        if there != set(self.inputs):
            raise ConversationError(
                f"an item for {self.name or 'this model'} must have {', '.join(self.inputs)}, but "
                f"has {', '.join(sorted(there)) or 'nothing'} instead"
            )

    @abstractmethod
    def open(self, item: Item) -> Any:
        """Open an item's media.

        Raises:
            MediaError: one cannot be opened.
        """

    @abstractmethod
    def answer(self, opened: Sequence[Any]) -> list[Answer]:
        """One answer each of some items, maybe none."""


def _thing(thing: Instance) -> dict[str, Any]:
    said: dict[str, Any] = {
        "label": thing.name,
        "score": round(thing.score, 6),
        "box": [round(one, 2) for one in thing.box],
    }
    if thing.mask is not None:
        said["mask"] = encode_mask(thing.mask.cpu().numpy())
    return said
