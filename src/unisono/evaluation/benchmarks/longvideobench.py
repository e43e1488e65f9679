"""LongVideoBench (arXiv 2407.15754)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from unisono.errors import BadRowError
from unisono.evaluation.benchmarks.benchmark import (
    LETTER_PROMPT,
    Benchmark,
    lettered,
    question,
    shown,
)
from unisono.evaluation.benchmarks.choices import last_candidate
from unisono.evaluation.benchmarks.reading import Record, field, listed
from unisono.manifests.row import ConversationRow


class LongVideoBench(Benchmark):
    """Fields: video_path, question, candidates, correct_choice (from 0), duration_group.

    Videos are in `videos/` of the folder of media. Subtitles are not shown to the model.
    """

    name: ClassVar[str] = "longvideobench"

    def row(self, name: str, record: Record, folder: Path) -> ConversationRow:
        """Question, options, and the request for a letter."""
        candidates = record.get("candidates")
        found = listed(name, candidates) if candidates is not None else _numbered(record)
        choices = lettered(found)
        correct = int(field(name, record, "correct_choice"))
        fields = {
            "target": chr(ord("A") + correct),
            "choices": choices,
            "group": str(record.get("duration_group", "")),
        }
        text = f"{field(name, record, 'question')}\n{shown(choices)}\n{LETTER_PROMPT}"
        video = _existing(name, str(field(name, record, "video_path")), folder)
        return question(name, text, video=video, fields=fields)

    def answer_of(self, said: str, asked: Mapping[str, Any]) -> str | None:
        """By MMMU's rule, which LongVideoBench takes over."""
        return last_candidate(said, asked["choices"])


def _numbered(record: Record) -> list[Any]:
    """option0, option1 …, "N/A" where there are fewer."""
    found = [record.get(f"option{number}") for number in range(5)]
    return [one for one in found if one not in (None, "N/A")]


def _existing(name: str, path: str, folder: Path) -> str:
    for found in (folder / "videos" / path, folder / path):
        if found.is_file():
            return str(found)
    raise BadRowError(f"{name}: there is no video '{path}' in '{folder}'")
