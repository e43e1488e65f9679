"""What a model with a head is given, in training and in use: one item, and a batch of them.

Shapes: B batch, C candidates, T tokens without [CLS].
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from unisono.errors import ConversationError
from unisono.media import ImageSource
from unisono.models.onepeace.image import PATCH_PX
from unisono.models.onepeace.processor import OnePeaceProcessor, Prepared
from unisono.models.onepeace.processor_text import pad_ids

INPUTS = ("text", "image", "image_2", "audio")


@dataclass(frozen=True)
class TaskExample:
    """One item, opened.

    Attributes:
        first: text, picture and sound.
        second: float32 [3, S, S], the other picture of a pair.
        candidates: ids of the question with each of its answers, for a ranking.
    """

    first: Prepared
    second: Tensor | None = None
    candidates: tuple[list[int], ...] = ()


def prepare_task(
    processor: OnePeaceProcessor,
    *,
    image_2: ImageSource | None = None,
    choices: Sequence[str] | None = None,
    **inputs: Any,
) -> TaskExample:
    """Open an item; may be called in several threads.

    Args:
        processor: the model's.
        image_2: the second picture, for a model of pairs.
        choices: answers to the text, for a model that ranks them.
        **inputs: text, image, audio: see `OnePeaceProcessor.prepare`.

    Raises:
        ConversationError: there is nothing in it, or there are choices without a question.
        MediaError, UnsupportedModalityError: a medium cannot be opened, or is not for the model.
    """
    if not any(value is not None for value in inputs.values()):
        raise ConversationError("an item must have some of text, image and audio, but has none")
    second = None if image_2 is None else processor.prepare(image=image_2).pixels
    if choices is None:
        return TaskExample(processor.prepare(**inputs), second)
    question = inputs.pop("text", None)
    if not isinstance(question, str):
        raise ConversationError("choices are given, but no text that asks for them")
    # As in the official code's data.
    asked = tuple(processor.text_ids(f"{question} answer: {choice}") for choice in choices)
    return TaskExample(processor.prepare(**inputs), second, asked)


def collate_task(
    processor: OnePeaceProcessor, examples: Sequence[TaskExample]
) -> dict[str, Tensor]:
    """Items of the same kinds -> what the task models' `forward` takes, without labels.

    Raises:
        ConversationError: one has a kind, or a number of candidates, that another has not.
    """
    batch: dict[str, Tensor] = dict(processor.collate([one.first for one in examples]))
    seconds = [one.second for one in examples if one.second is not None]
    counts = {len(one.candidates) for one in examples}
    if len(seconds) not in (0, len(examples)) or len(counts) != 1:
        raise ConversationError("all items of a batch must have as many pictures and choices")
    if seconds:
        batch["pixel_values_2"] = torch.stack(seconds)
    if count := counts.pop():
        batch |= _candidates(processor, examples, count)
    return batch


def task_length(processor: OnePeaceProcessor, example: TaskExample) -> int:
    """Tokens the model reads of an item, with every [CLS]; of all candidates together."""
    first = example.first
    images = [pixels for pixels in (first.pixels, example.second) if pixels is not None]
    media = sum((one.shape[-1] // PATCH_PX) ** 2 + 1 for one in images)
    if first.samples is not None:
        media += processor.frames(len(first.samples)) + 1
    text = 0 if first.ids is None else len(first.ids) + 1
    if not example.candidates:
        return media + text * max(1, len(images))  # the text is read with either picture
    return sum(len(ids) + 1 + media for ids in example.candidates)


def given(item: Mapping[str, Any], wanted: Sequence[str], name: str) -> dict[str, Any]:
    """Of an item what a model wants.

    Raises:
        ConversationError: it lacks some of it.
    """
    if missing := [one for one in wanted if item.get(one) is None]:
        raise ConversationError(f"{name} must have {', '.join(wanted)}, but has no {missing[0]}")
    return {one: item[one] for one in wanted}


def _candidates(
    processor: OnePeaceProcessor, examples: Sequence[TaskExample], count: int
) -> dict[str, Tensor]:
    """`input_ids` and `attention_mask` [B, C, T]."""
    rows = [ids for one in examples for ids in one.candidates]
    pad: Any = processor.tokenizer and processor.tokenizer.pad_token_id
    ids, mask = pad_ids(rows, pad)
    shape = (len(examples), count, -1)
    return {"input_ids": ids.view(shape), "attention_mask": mask.view(shape)}
