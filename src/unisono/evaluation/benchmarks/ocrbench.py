"""OCRBench (arXiv 2305.07895): read what is written."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from unisono.evaluation.benchmarks.benchmark import Benchmark, question
from unisono.evaluation.benchmarks.reading import Record, field, listed, picture
from unisono.evaluation.benchmarks.values import written_text_is_there
from unisono.manifests.row import ConversationRow

_FORMULAS = "HME100k"


class OCRBench(Benchmark):
    """Columns: image, question, answer (one, or a list), dataset, question_type.

    The published score is the number of right answers of 1,000: ten times `accuracy` in percent.
    """

    name: ClassVar[str] = "ocrbench"

    def row(self, name: str, record: Record, folder: Path) -> ConversationRow:
        """The question as it is."""
        answer = field(name, record, "answer", "answers")
        several = isinstance(answer, list | tuple) or str(answer).startswith("[")
        fields = {
            "target": [str(one) for one in (listed(name, answer) if several else [answer])],
            "formula": record.get("dataset", record.get("dataset_name")) == _FORMULAS,
            "group": record.get("question_type") or record.get("type") or "",
        }
        image = picture(name, field(name, record, "image", "image_path"), folder)
        text = str(field(name, record, "question")).strip()
        return question(name, text, images=[image], fields=fields)

    def is_right(self, said: str, asked: Mapping[str, Any]) -> bool:
        """By OCRBench's rule."""
        return written_text_is_there(said, asked["target"], formula=asked["formula"])
