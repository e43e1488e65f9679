"""Video-MME (arXiv 2405.21075)."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from unisono.errors import BadRowError
from unisono.evaluation.benchmarks.benchmark import Benchmark, question
from unisono.evaluation.benchmarks.choices import first_letter
from unisono.evaluation.benchmarks.reading import Record, field, listed
from unisono.manifests.row import ConversationRow

_TASK = (
    "Select the best answer to the following multiple-choice question based on the video. Respond "
    "with only the letter (A, B, C, or D) of the correct option."
)
_LETTERS = dict.fromkeys("ABCD", "")
_ENDINGS = (".mp4", ".mkv", ".webm", ".MP4")


class VideoMME(Benchmark):
    """Columns: videoID, duration, question, options ("A. …"), answer.

    Videos are `data/<videoID>.mp4` or `<videoID>.mp4` in the folder of media.
    """

    name: ClassVar[str] = "videomme"

    def row(self, name: str, record: Record, folder: Path) -> ConversationRow:
        """Task, question, options, and the beginning of the answer."""
        lines = [_TASK, str(field(name, record, "question"))]
        lines += [str(one) for one in listed(name, field(name, record, "options"))]
        fields = {
            "target": str(field(name, record, "answer")),
            "choices": _LETTERS,
            "group": record.get("duration") or "",
        }
        video = _video(name, str(field(name, record, "videoID")), folder)
        text = "\n".join([*lines, "The best answer is:"])
        return question(name, text, video=video, fields=fields)

    def answer_of(self, said: str, asked: Mapping[str, Any]) -> str | None:
        """By Video-MME's rule."""
        return first_letter(said, asked["choices"])


def _video(name: str, identity: str, folder: Path) -> str:
    for path in (folder / "data" / identity, folder / identity, folder / "videos" / identity):
        for ending in _ENDINGS:
            if (found := path.with_name(path.name + ending)).is_file():
                return str(found)
    raise BadRowError(f"{name}: there is no video {identity} in '{folder}'")
