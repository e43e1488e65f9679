"""MathVista (arXiv 2310.02255)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from pydantic import PositiveInt

from unisono.evaluation.benchmarks.benchmark import Benchmark, question
from unisono.evaluation.benchmarks.reading import Record, field, listed, picture
from unisono.evaluation.benchmarks.values import mathvista_value
from unisono.manifests.row import ConversationRow


class MathVista(Benchmark):
    """Columns: query (question, hint and options), answer, question_type, answer_type, choices,
    precision, decoded_image or image, metadata.

    The authors ask a judge for the answer in what was said; here a rule finds it: see
    `mathvista_value`. Scores are lower than with a judge where a model thinks aloud.
    """

    name: ClassVar[str] = "mathvista"
    max_tokens: PositiveInt = 256

    def row(self, name: str, record: Record, folder: Path) -> ConversationRow:
        """The query as it is published."""
        choices = record.get("choices")
        metadata = record.get("metadata")
        fields = {
            "target": str(field(name, record, "answer")).strip(),
            "choices": [str(one) for one in listed(name, choices)] if choices else [],
            "question_type": field(name, record, "question_type"),
            "answer_type": field(name, record, "answer_type"),
            "precision": record.get("precision"),
            "group": metadata.get("task", "") if isinstance(metadata, Mapping) else "",
        }
        image = picture(name, field(name, record, "decoded_image", "image"), folder)
        text = str(field(name, record, "query", "question"))
        return question(name, text, images=[image], fields=fields)

    def answer_of(self, said: str, asked: Mapping[str, Any]) -> str | None:
        """By a rule in place of the authors' judge."""
        found = mathvista_value(said, asked)
        return None if found is None else found.strip()
