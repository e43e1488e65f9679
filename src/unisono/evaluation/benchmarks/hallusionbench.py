"""HallusionBench (arXiv 2310.14566): yes or no, on pictures that mislead."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from unisono.evaluation.benchmarks.benchmark import Benchmark, question
from unisono.evaluation.benchmarks.choices import yes_or_no
from unisono.evaluation.benchmarks.reading import Record, field, picture
from unisono.evaluation.score import Score
from unisono.evaluation.task import Prediction, counted
from unisono.manifests.row import ConversationRow

_PROMPT = "Please answer yes or no."


class HallusionBench(Benchmark):
    """Fields: category, subcategory, set_id, figure_id, question_id, question, gt_answer, filename.

    `accuracy` is the paper's aAcc; `figures` (fAcc) counts a figure if all its questions are right,
    `pairs` (qAcc) a question if it is right for all figures.
    """

    name: ClassVar[str] = "hallusionbench"

    def row(self, name: str, record: Record, folder: Path) -> ConversationRow:
        """The question with its figure, if it has one."""
        parts = [str(record.get(key, "")) for key in ("category", "subcategory", "set_id")]
        fields = {
            "target": _word(field(name, record, "gt_answer", "answer")),
            "figure": "/".join([*parts, str(record.get("figure_id", ""))]),
            "pair": "/".join([*parts, str(record.get("question_id", ""))]),
            "group": parts[0],
        }
        found = record.get("image") or record.get("filename")
        images = [] if found is None else [picture(name, found, folder)]
        text = f"{field(name, record, 'question')} {_PROMPT}"
        return question(name, text, images=images, fields=fields)

    def answer_of(self, said: str, asked: Mapping[str, Any]) -> str | None:
        """By VLMEvalKit's rule."""
        return yes_or_no(said)

    def score(self, predictions: Sequence[Prediction]) -> dict[str, Score]:
        """aAcc, fAcc and qAcc."""
        scored = counted(predictions)
        return {
            **super().score(predictions),
            "figures": self._all_right(scored, "figure"),
            "pairs": self._all_right(scored, "pair"),
        }

    def _all_right(self, scored: Sequence[Prediction], what: str) -> Score:
        groups: dict[str, list[bool]] = defaultdict(list)
        for one in scored:
            groups[one.output[what]].append(self._right(one))
        return Score.of([all(right) for right in groups.values()], names=list(groups))


def _word(answer: Any) -> str:
    return {"1": "yes", "0": "no"}.get(str(answer).strip(), str(answer).strip().lower())
