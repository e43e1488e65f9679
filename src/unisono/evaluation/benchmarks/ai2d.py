"""AI2D (arXiv 1603.07396): diagrams of a grade school."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from unisono.evaluation.benchmarks.benchmark import (
    LETTER_PROMPT,
    Benchmark,
    lettered,
    question,
    shown,
)
from unisono.evaluation.benchmarks.choices import inferred
from unisono.evaluation.benchmarks.reading import Record, field, listed, options, picture
from unisono.manifests.row import ConversationRow


class AI2D(Benchmark):
    """Columns: question, options, answer (the number of the option, from 0, or its letter), image;
    or, as VLMEvalKit has it, A to D and a letter.
    """

    name: ClassVar[str] = "ai2d"

    def row(self, name: str, record: Record, folder: Path) -> ConversationRow:
        """Question, options, and the request for a letter."""
        choices = options(record) or lettered(listed(name, field(name, record, "options")))
        answer = str(field(name, record, "answer"))
        target = chr(ord("A") + int(answer)) if answer.isdigit() else answer
        text = f"{field(name, record, 'question')}\n{shown(choices)}\n{LETTER_PROMPT}"
        image = picture(name, field(name, record, "image"), folder)
        fields = {"target": target, "choices": choices}
        return question(name, text, images=[image], fields=fields)

    def answer_of(self, said: str, asked: Mapping[str, Any]) -> str | None:
        """By VLMEvalKit's rule."""
        return inferred(said, asked["choices"])
