"""AIR-Bench, foundation part (arXiv 2402.07729): multiple choice on speech, sound and music.

Its chat part needs a judge behind a paid API, and is left out.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from unisono.conversation import AudioPart, Message, TextPart
from unisono.errors import BadRowError
from unisono.evaluation.benchmarks.benchmark import Benchmark, shown
from unisono.evaluation.benchmarks.choices import inferred
from unisono.evaluation.benchmarks.reading import Record, field
from unisono.manifests.row import ConversationRow

_TASK = (
    "Choose the most suitable answer from options A, B, C, and D to respond the question in next "
    "line, you may only choose A or B or C or D."
)
_COLUMNS = ("choice_a", "choice_b", "choice_c", "choice_d")


class AirBench(Benchmark):
    """Fields: path, question, choice_a to choice_d, answer_gt (a text), task_name, dataset_name.

    Sounds are `<task_name>_<dataset_name>/<path>` or `<path>` in the folder of media.
    """

    name: ClassVar[str] = "airbench"

    def row(self, name: str, record: Record, folder: Path) -> ConversationRow:
        """Task, question, options."""
        texts = [record.get(column) for column in _COLUMNS]
        choices = {letter: str(text) for letter, text in zip("ABCD", texts, strict=True) if text}
        answer = str(field(name, record, "answer_gt"))
        letters = [letter for letter, text in choices.items() if text == answer]
        if len(letters) != 1:
            raise BadRowError(f"{name}: the answer {answer!r} must be one of {choices}")
        fields = {
            "target": letters[0],
            "choices": choices,
            "group": record.get("task_name") or "",
        }
        text = f"{_TASK}\n{field(name, record, 'question')}\n{shown(choices)}"
        content = (AudioPart(audio=_sound(name, record, folder)), TextPart(text=text))
        return ConversationRow(name, (Message(role="user", content=content),), fields)

    def answer_of(self, said: str, asked: Mapping[str, Any]) -> str | None:
        """A letter, or the option's text, by VLMEvalKit's rule; the authors align by hand."""
        return inferred(said, asked["choices"])


def _sound(name: str, record: Record, folder: Path) -> str:
    path = str(field(name, record, "path"))
    own = f"{record.get('task_name')}_{record.get('dataset_name')}"
    for found in (folder / own / path, folder / path):
        if found.is_file():
            return str(found)
    raise BadRowError(f"{name}: there is no sound '{path}' in '{folder}'")
