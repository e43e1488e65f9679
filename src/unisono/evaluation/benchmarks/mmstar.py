"""MMStar (arXiv 2403.20330)."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from unisono.evaluation.benchmarks.benchmark import LETTER_PROMPT, Benchmark, question
from unisono.evaluation.benchmarks.choices import inferred
from unisono.evaluation.benchmarks.reading import Record, field, options, picture
from unisono.manifests.row import ConversationRow

_INLINE = re.compile(r"\b([A-D])[:.]\s*(.*?)(?=,?\s*\b[A-D][:.]\s|$)", re.DOTALL)


class MMStar(Benchmark):
    """Columns: question with its options in it, answer (a letter), category, image."""

    name: ClassVar[str] = "mmstar"

    def row(self, name: str, record: Record, folder: Path) -> ConversationRow:
        """The question as it is, and the request for a letter."""
        text = str(field(name, record, "question"))
        behind = text.partition("Options:")[2]
        choices = options(record) or {k: v.strip(" ,\n") for k, v in _INLINE.findall(behind)}
        fields = {
            "target": str(field(name, record, "answer")),
            "choices": choices or dict.fromkeys("ABCD", ""),
            "group": record.get("category") or "",
        }
        image = picture(name, field(name, record, "image"), folder)
        return question(name, f"{text}\n{LETTER_PROMPT}", images=[image], fields=fields)

    def answer_of(self, said: str, asked: Mapping[str, Any]) -> str | None:
        """By VLMEvalKit's rule."""
        return inferred(said, asked["choices"])
