"""MMMU (arXiv 2311.16502): college questions with several pictures, some without options."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from unisono.conversation import ImagePart, Message, Part, TextPart
from unisono.evaluation.benchmarks.benchmark import LETTER_PROMPT, Benchmark, lettered, shown
from unisono.evaluation.benchmarks.choices import last_candidate
from unisono.evaluation.benchmarks.reading import Record, field, listed, picture
from unisono.evaluation.benchmarks.values import open_answer_is_right
from unisono.manifests.row import ConversationRow

_OPEN_PROMPT = "Answer the question using a single word or phrase."
_PLACE = re.compile(r"<image (\d)>")
_CATEGORIES: Mapping[str, str] = {
    "Art": "Art & Design",
    "Art_Theory": "Art & Design",
    "Design": "Art & Design",
    "Music": "Art & Design",
    "Accounting": "Business",
    "Economics": "Business",
    "Finance": "Business",
    "Manage": "Business",
    "Marketing": "Business",
    "Biology": "Science",
    "Chemistry": "Science",
    "Geography": "Science",
    "Math": "Science",
    "Physics": "Science",
    "Basic_Medical_Science": "Health & Medicine",
    "Clinical_Medicine": "Health & Medicine",
    "Diagnostics_and_Laboratory_Medicine": "Health & Medicine",
    "Pharmacy": "Health & Medicine",
    "Public_Health": "Health & Medicine",
    "History": "Humanities & Social Science",
    "Literature": "Humanities & Social Science",
    "Sociology": "Humanities & Social Science",
    "Psychology": "Humanities & Social Science",
    "Agriculture": "Tech & Engineering",
    "Architecture_and_Engineering": "Tech & Engineering",
    "Computer_Science": "Tech & Engineering",
    "Electronics": "Tech & Engineering",
    "Energy_and_Power": "Tech & Engineering",
    "Materials": "Tech & Engineering",
    "Mechanical_Engineering": "Tech & Engineering",
}


class MMMU(Benchmark):
    """Columns: id, question, options (a list as text), answer, question_type, image_1 to image_7.

    Pictures stand where the text has "<image N>".
    """

    name: ClassVar[str] = "mmmu"

    def row(self, name: str, record: Record, folder: Path) -> ConversationRow:
        """The question with its pictures, options, and what form the answer has."""
        text = str(field(name, record, "question"))
        answer = field(name, record, "answer")
        is_open = record.get("question_type") == "open"
        choices = {} if is_open else lettered(listed(name, field(name, record, "options")))
        lines = [text, _OPEN_PROMPT] if is_open else [text, shown(choices), LETTER_PROMPT]
        fields = {
            "target": _answers(answer) if is_open else str(answer),
            "choices": choices,
            "group": _category(str(record.get("id", ""))),
        }
        parts = _with_pictures(name, "\n".join(lines), record, folder)
        return ConversationRow(name, (Message(role="user", content=parts),), fields)

    def is_right(self, said: str, asked: Mapping[str, Any]) -> bool:
        """By MMMU's rules."""
        if not asked["choices"]:
            return open_answer_is_right(said, asked["target"])
        return bool(last_candidate(said, asked["choices"]) == asked["target"])


def _with_pictures(name: str, text: str, record: Record, folder: Path) -> tuple[Part, ...]:
    parts: list[Part] = []
    pieces = _PLACE.split(text)  # text, number, text, number, …, text
    for place, piece in enumerate(pieces):
        if place % 2:
            image = field(name, record, f"image_{piece}")
            parts.append(ImagePart(image=picture(name, image, folder)))
        elif piece.strip():
            parts.append(TextPart(text=piece))
    return tuple(parts)


def _answers(answer: Any) -> list[str]:
    """One right answer, or a list of them as text."""
    found = listed("", answer) if str(answer).startswith("[") else [answer]
    return [str(one) for one in found]


def _category(identity: str) -> str:
    """ "validation_Basic_Medical_Science_3" -> "Health & Medicine"."""
    subject = re.sub(r"^(?:dev|validation|test)_|_\d+$", "", identity)
    return _CATEGORIES.get(subject, "")
