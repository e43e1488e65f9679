"""Perplexity: how likely a model finds the right answers of conversations."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from pydantic import PositiveInt

from unisono.conversation import TextPart
from unisono.errors import BadRowError, ModelConfigError, UnisonoError, UnknownModelError
from unisono.evaluation.metrics.likelihood import label_nll, perplexity
from unisono.evaluation.score import Score
from unisono.evaluation.task import Prediction, TaskSettings, counted
from unisono.manifests.row import ConversationRow, Row
from unisono.models import OlaForConditionalGeneration, OlaProcessor
from unisono.models.ola.prompt import Prompt
from unisono.runtime.batches import token_batches


@dataclass(frozen=True)
class OlaModel:
    """A model and its processor."""

    model: OlaForConditionalGeneration
    processor: OlaProcessor


@dataclass(frozen=True)
class _Encoded:
    """A conversation to be scored; `labels` as `OlaProcessor.example` gives them."""

    name: str
    prompt: Prompt
    labels: tuple[int, ...]
    target: str


class Perplexity(TaskSettings):
    """Perplexity of all the assistant's turns, the tokens that end them included.

    Conversations are encoded exactly as for training. A row that cannot be is left out. Only
    models with one tokenizer can be compared.

    Attributes:
        max_tokens: of a batch, padding included; a longer conversation is a batch of its own.
    """

    name: ClassVar[str] = "perplexity"
    batch_size: PositiveInt = 16
    max_tokens: PositiveInt = 4096

    def load(self, model: str) -> OlaModel:
        """An Ola model of a folder, in float32 on a CPU and bfloat16 on a GPU.

        Raises:
            UnknownModelError: there is no such folder.
            ModelConfigError: it holds no Ola model.
        """
        if not Path(model).is_dir():
            raise UnknownModelError(
                f"perplexity needs the folder of an Ola model, but there is no folder {model!r}"
            )
        device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
        try:
            processor = OlaProcessor.from_pretrained(model)
            loaded: Any = OlaForConditionalGeneration.from_pretrained(model, dtype=dtype)
        except (OSError, ValueError) as error:
            reason = str(error).strip().splitlines()[0]
            raise ModelConfigError(f"no Ola model can be read from {model!r}: {reason}") from error
        return OlaModel(loaded.to(device).eval(), processor)

    def predict(self, model: OlaModel, rows: Sequence[Row]) -> list[Prediction]:
        """NLL in nats, and how many tokens it is the sum of."""
        made = [_encoded(model.processor, row) for row in rows]
        encoded = {place: one for place, one in enumerate(made) if isinstance(one, _Encoded)}
        places = list(encoded)
        lengths = [len(encoded[place].labels) for place in places]
        predicted: dict[int, Prediction] = {}
        for batch in token_batches(lengths, self.batch_size, self.max_tokens):
            chosen = [places[i] for i in batch]
            scored = _predictions(model, [encoded[place] for place in chosen])
            predicted |= dict(zip(chosen, scored, strict=True))
        return [
            one if isinstance(one, Prediction) else predicted[place]
            for place, one in enumerate(made)
        ]

    def score(self, predictions: Sequence[Prediction]) -> dict[str, Score]:
        """Perplexity over all tokens."""
        scored = counted(predictions)
        return {
            "perplexity": perplexity(
                [one.output["nll"] for one in scored],
                [one.output["tokens"] for one in scored],
                names=[one.name for one in scored],
            )
        }


def _encoded(processor: OlaProcessor, row: Row) -> _Encoded | Prediction:
    try:
        if not isinstance(row, ConversationRow):
            raise BadRowError(
                f"{row.name}: the row must be a conversation, but is a pair of media instead"
            )
        prompt, labels = processor.example(row.messages)
        said = [m for m in row.messages if m.role == "assistant"]
        target = "\n".join(p.text for m in said for p in m.parts if isinstance(p, TextPart))
        return _Encoded(row.name, prompt, labels, target)
    except UnisonoError as error:
        return Prediction.failed(row.name, error)


def _predictions(model: OlaModel, batch: Sequence[_Encoded]) -> list[Prediction]:
    inputs = model.processor.collate(
        [one.prompt for one in batch], labels=[one.labels for one in batch], padding_side="right"
    )
    nll, tokens = label_nll(model.model, inputs)
    return [
        Prediction(one.name, {"target": one.target, "nll": float(n), "tokens": int(t)})
        for one, n, t in zip(batch, nll, tokens, strict=True)
    ]
