"""What all benchmarks of answers share: published records in, accuracy in all and by group out."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import PositiveInt

from unisono.conversation import ImagePart, Message, Part, TextPart, VideoPart
from unisono.errors import BadRowError
from unisono.evaluation.benchmarks.reading import BenchmarkRows, Record
from unisono.evaluation.score import Score
from unisono.evaluation.task import Prediction, TaskSettings, counted, predict_row
from unisono.manifests.row import ConversationRow, Row
from unisono.runtime import load_assistant
from unisono.runtime.assistant import Assistant
from unisono.runtime.reply import collect

LETTER_PROMPT = "Answer with the option's letter from the given choices directly."


class Benchmark(TaskSettings):
    """Questions with known answers, in a published layout; greedy answers, judged by a rule.

    A row's fields say what its answer is judged by, as JSON values: "target", perhaps "choices"
    (letter -> text) and "group" (what it is also scored with). They go into the predictions, so
    that scores can be computed anew from these alone.

    Attributes:
        max_tokens: longest answer.
    """

    name: ClassVar[str]
    max_tokens: PositiveInt = 64

    def open(self, paths: Sequence[str], media: Path | None) -> BenchmarkRows:
        """The rows of published files.

        Raises:
            DataError: see `BenchmarkRows`.
        """
        return BenchmarkRows([Path(path) for path in paths], self.row, media)

    def row(self, name: str, record: Record, folder: Path) -> ConversationRow:
        """A record as a question.

        Raises:
            BadRowError: something is missing in it.
        """
        raise NotImplementedError

    def answer_of(self, said: str, asked: Mapping[str, Any]) -> str | None:
        """What was answered, in the form of the target; None where the rule finds nothing.

        Args:
            said: by the model.
            asked: the row's fields.
        """
        raise NotImplementedError

    def is_right(self, said: str, asked: Mapping[str, Any]) -> bool:
        """Whether an answer is right; see `answer_of`."""
        return bool(self.answer_of(said, asked) == asked["target"])

    def load(self, model: str) -> Assistant:
        """An assistant."""
        return load_assistant(model)

    def predict(self, model: Assistant, rows: Sequence[Row]) -> list[Prediction]:
        """Greedy answers, one question after another."""

        def answer(row: Row) -> Mapping[str, Any]:
            asked = _question(row).messages
            events = model.stream(asked, max_new_tokens=self.max_tokens, temperature=0.0)
            return {"answer": collect(events).text}

        return [predict_row(row, lambda row: _question(row).fields, answer) for row in rows]

    def score(self, predictions: Sequence[Prediction]) -> dict[str, Score]:
        """Accuracy of all, and of each group."""
        scored = counted(predictions)
        right = [self._right(one) for one in scored]
        groups = [str(one.output.get("group", "")) for one in scored]
        scores = {"accuracy": _accuracy(scored, right, lambda _: True)}
        for group in sorted(set(groups) - {""}):
            own = [place for place, one in enumerate(groups) if one == group]
            scores[f"accuracy/{group}"] = _accuracy(scored, right, set(own).__contains__)
        return scores

    def _right(self, prediction: Prediction) -> bool:
        said = prediction.output.get("answer")
        return said is not None and self.is_right(said, prediction.output)


def _accuracy(
    scored: Sequence[Prediction], right: Sequence[bool], chosen: Callable[[int], bool]
) -> Score:
    places = [place for place in range(len(scored)) if chosen(place)]
    return Score.of(
        [right[place] for place in places], names=[scored[place].name for place in places]
    )


def question(
    name: str,
    text: str,
    *,
    images: Sequence[Any] = (),
    video: Any = None,
    fields: Mapping[str, Any],
) -> ConversationRow:
    """A row: pictures or a video, then the text."""
    parts: list[Part] = [ImagePart(image=image) for image in images]
    if video is not None:
        parts.append(VideoPart(video=video))
    asked = Message(role="user", content=(*parts, TextPart(text=text)))
    return ConversationRow(name, (asked,), fields)


def lettered(texts: Sequence[Any]) -> dict[str, str]:
    """A, B, C … -> the options' texts."""
    return {chr(ord("A") + place): str(text) for place, text in enumerate(texts)}


def shown(choices: Mapping[str, str], form: str = "{}. {}") -> str:
    """The options, a line each."""
    return "\n".join(form.format(letter, text) for letter, text in choices.items())


def _question(row: Row) -> ConversationRow:
    if not isinstance(row, ConversationRow):
        raise BadRowError(f"{row.name}: the row must be a question, but is a pair of media")
    return row
