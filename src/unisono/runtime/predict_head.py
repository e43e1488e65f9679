"""Predictors over ONE-PEACE with a head: classification, grounding, ranking."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from PIL import Image
from torch import Tensor

from unisono.errors import ConversationError, ModelConfigError
from unisono.media import load_image
from unisono.models import OnePeaceProcessor
from unisono.models.onepeace import (
    OnePeaceForClassification,
    OnePeaceForGrounding,
    OnePeaceForRanking,
)
from unisono.models.onepeace.task_inputs import (
    INPUTS,
    TaskExample,
    collate_task,
    prepare_task,
)
from unisono.runtime.predictor import Answer, Item, Predictor

HeadModel = OnePeaceForClassification | OnePeaceForGrounding | OnePeaceForRanking


@dataclass(frozen=True)
class _Opened:
    """An item: what the model gets, the picture's size, and the choices."""

    example: TaskExample
    size: tuple[int, int] | None
    choices: tuple[str, ...]

    @property
    def kind(self) -> tuple[object, ...]:
        """Items of one kind can be batched."""
        return len(self.example.candidates), self.example.first.samples is None


class HeadPredictor(Predictor):
    """A task model with its processor."""

    def __init__(self, model: HeadModel, processor: OnePeaceProcessor, *, name: str = "") -> None:
        """Wrap a model, which is put into eval mode.

        Raises:
            ModelConfigError: the config does not say what the model was trained to be given.
        """
        self.model, self.processor, self.name = model.eval(), processor, name
        self.task = _task(model)
        self.inputs = _inputs(model)

    def open(self, item: Item) -> _Opened:
        """Open the media; the choices of a ranking become candidates.

        Raises:
            ConversationError: the choices are not a list of texts.
            MediaError: a medium cannot be opened.
        """
        given = dict(item)
        size: tuple[int, int] | None = None
        if given.get("image") is not None:
            picture: Image.Image = load_image(given["image"])
            size, given["image"] = picture.size, picture
        choices = _choices(given.get("choices"))
        given["choices"] = choices or None
        return _Opened(prepare_task(self.processor, **given), size, choices)

    def answer(self, opened: Sequence[_Opened]) -> list[Answer]:
        """Items of one kind go together."""
        answers: dict[int, Answer] = {}
        for kind in dict.fromkeys(one.kind for one in opened):
            places = [place for place, one in enumerate(opened) if one.kind == kind]
            found = self._answer([opened[place] for place in places])
            answers |= dict(zip(places, found, strict=True))
        return [answers[place] for place in range(len(opened))]

    @torch.inference_mode()
    def _answer(self, opened: Sequence[_Opened]) -> list[Answer]:
        inputs = collate_task(self.processor, [one.example for one in opened])
        device, dtype = self.model.device, self.model.dtype
        moved = {
            name: x.to(device, dtype if x.is_floating_point() else None)
            for name, x in inputs.items()
        }
        output = self.model(**moved)
        if output.boxes is not None:
            return [_boxed(box, one) for box, one in zip(output.boxes, opened, strict=True)]
        shares = self._probabilities(output.logits.float()).cpu()
        return [
            Answer(labels=_ranked(row.tolist(), self._names(one)))
            for row, one in zip(shares, opened, strict=True)
        ]

    def _probabilities(self, logits: Tensor) -> Tensor:
        several = self.task == "classify" and self.model.config.head_config.multi_label
        return logits.sigmoid() if several else logits.softmax(dim=-1)

    def _names(self, one: _Opened) -> Sequence[str]:
        if self.task == "rank":
            return one.choices
        names: Mapping[int, str] = self.model.config.id2label
        return [names[place] for place in sorted(names)]


def _boxed(box: Tensor, one: _Opened) -> Answer:
    width, height = one.size or (1, 1)
    x1, y1, x2, y2 = box.float().tolist()
    return Answer(box=(x1 * width, y1 * height, x2 * width, y2 * height))


def _ranked(shares: Sequence[float], names: Sequence[str]) -> dict[str, float]:
    pairs = sorted(zip(names, shares, strict=True), key=lambda pair: -pair[1])
    return dict(pairs)


def _task(model: Any) -> str:
    if isinstance(model, OnePeaceForGrounding):
        return "ground"
    return "rank" if isinstance(model, OnePeaceForRanking) else "classify"


def _inputs(model: Any) -> tuple[str, ...]:
    said = model.config.head_config.inputs
    if not said or not set(said) <= set(INPUTS):
        raise ModelConfigError(
            "head_config.inputs must say what the model is given, some of "
            f"{', '.join(INPUTS)}, but is {said!r} instead"
        )
    return (*said, "choices") if isinstance(model, OnePeaceForRanking) else tuple(said)


def _choices(given: object) -> tuple[str, ...]:
    if given is None:
        return ()
    texts = given if isinstance(given, list | tuple) else ()
    if len(texts) < 2 or not all(isinstance(one, str) for one in texts):
        raise ConversationError(f"choices must be two texts or more, but are {given!r:.80} instead")
    if len(set(texts)) < len(texts):
        raise ConversationError("choices must be different texts")
    return tuple(texts)
