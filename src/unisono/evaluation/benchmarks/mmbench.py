"""MMBench 1.1 (arXiv 2307.06281), also in its circular form."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from unisono.evaluation.benchmarks.benchmark import LETTER_PROMPT, Benchmark, question, shown
from unisono.evaluation.benchmarks.choices import inferred
from unisono.evaluation.benchmarks.reading import Record, field, is_said, options, picture
from unisono.evaluation.score import Score
from unisono.evaluation.task import Prediction, counted
from unisono.manifests.row import ConversationRow

_SAME_QUESTION = 1_000_000
"""Rotations of a question's options have its index plus multiples of this."""


class MMBench(Benchmark):
    """Columns: index, question, hint, A to D, answer, image (base64), l2-category.

    `circular` counts a question only if it is answered right in every rotation of its options that
    the file has; `accuracy` counts rows.
    """

    name: ClassVar[str] = "mmbench"

    def row(self, name: str, record: Record, folder: Path) -> ConversationRow:
        """Hint, question, options, and the request for a letter."""
        choices = options(record)
        lines = [str(record["hint"])] if is_said(record.get("hint")) else []
        lines += [str(field(name, record, "question")), shown(choices), LETTER_PROMPT]
        fields = {
            "target": str(field(name, record, "answer")),
            "choices": choices,
            "group": record.get("l2-category") or record.get("category") or "",
            "question": int(field(name, record, "index")) % _SAME_QUESTION,
        }
        image = picture(name, field(name, record, "image"), folder)
        return question(name, "\n".join(lines), images=[image], fields=fields)

    def answer_of(self, said: str, asked: Mapping[str, Any]) -> str | None:
        """By VLMEvalKit's rule."""
        return inferred(said, asked["choices"])

    def score(self, predictions: Sequence[Prediction]) -> dict[str, Score]:
        """Accuracy, and over questions where there are rotations."""
        rotations: dict[int, list[bool]] = defaultdict(list)
        for one in counted(predictions):
            rotations[one.output["question"]].append(self._right(one))
        scores = super().score(predictions)
        if any(len(right) > 1 for right in rotations.values()):
            names = [str(number) for number in rotations]
            scores["circular"] = Score.of([all(r) for r in rotations.values()], names=names)
        return scores
