"""Answers: what a model says to a conversation, compared with what is right."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import PositiveInt

from unisono.conversation import Message, TextPart
from unisono.errors import BadRowError
from unisono.evaluation.metrics.matching import contains, exact_match
from unisono.evaluation.score import Score
from unisono.evaluation.task import (
    Prediction,
    TaskSettings,
    counted,
    predict_row,
)
from unisono.manifests.row import ConversationRow, Row
from unisono.runtime import load_assistant
from unisono.runtime.assistant import Assistant
from unisono.runtime.reply import collect


class Answers(TaskSettings):
    """The last message of a conversation is taken away, and the model answers in its place.

    Right is that message, or any text of the row's field "answers" if it has one. A row that
    the model cannot answer is wrong; one that is no conversation with an answer is left out.

    Attributes:
        max_tokens: longest answer.
    """

    name: ClassVar[str] = "answers"
    max_tokens: PositiveInt = 64

    def load(self, model: str) -> Assistant:
        """An assistant."""
        return load_assistant(model)

    def predict(self, model: Assistant, rows: Sequence[Row]) -> list[Prediction]:
        """Greedy answers, one conversation after another."""

        def answer(row: Row) -> Mapping[str, Any]:
            asked = _asked(row)
            events = model.stream(asked, max_new_tokens=self.max_tokens, temperature=0.0)
            return {"answer": collect(events).text}

        return [predict_row(row, lambda row: {"target": _references(row)}, answer) for row in rows]

    def score(self, predictions: Sequence[Prediction]) -> dict[str, Score]:
        """Exact match, and whether a right answer is in what was said."""
        scored = counted(predictions)
        names = [one.name for one in scored]
        references = [one.output["target"] for one in scored]
        answers = [one.output.get("answer") for one in scored]
        return {
            "exact_match": exact_match(references, answers, names=names),
            "contains": contains(references, answers, names=names),
        }


def _asked(row: Row) -> tuple[Message, ...]:
    return _conversation(row).messages[:-1]


def _references(row: Row) -> list[str]:
    """Every text that is right."""
    found = _conversation(row)
    last = found.messages[-1]
    parts = [part.text for part in last.parts if isinstance(part, TextPart)]
    more = found.fields.get("answers", ())
    if isinstance(more, str) or not all(isinstance(one, str) for one in more):
        raise BadRowError(
            f'{row.name}: the field "answers" must be a list of texts, but is {more!r} instead'
        )
    return list(dict.fromkeys(["".join(parts), *more]))


def _conversation(row: Row) -> ConversationRow:
    if not isinstance(row, ConversationRow):
        raise BadRowError(
            f"{row.name}: the row must be a conversation, but is a pair of media instead"
        )
    if len(row.messages) < 2 or row.messages[-1].role != "assistant":
        raise BadRowError(f"{row.name}: the conversation must end with the assistant's answer")
    return row
