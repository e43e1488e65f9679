"""MVBench (arXiv 2311.17005): twenty files, one for each kind of question."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from unisono.errors import BadRowError
from unisono.evaluation.benchmarks.benchmark import Benchmark, lettered, question, shown
from unisono.evaluation.benchmarks.choices import plain_letter
from unisono.evaluation.benchmarks.reading import Record, field, listed
from unisono.manifests.row import ConversationRow


class MVBench(Benchmark):
    """Fields: video, question, candidates, answer (the text of one).

    Give all files at once; each is a group by its name. Videos are looked for below the folder of
    media, wherever they are.
    """

    name: ClassVar[str] = "mvbench"

    def row(self, name: str, record: Record, folder: Path) -> ConversationRow:
        """Question, options, and the request for the best one."""
        candidates = [str(one) for one in listed(name, field(name, record, "candidates"))]
        answer = str(field(name, record, "answer"))
        if answer not in candidates:
            raise BadRowError(f"{name}: the answer {answer!r} must be one of {candidates}")
        choices = lettered(candidates)
        options = shown(choices, "({}) {}")
        text = f"Question:{field(name, record, 'question')}\nOption:\n{options}\n"
        fields = {
            "target": chr(ord("A") + candidates.index(answer)),
            "choices": choices,
            "group": name.partition(".")[0],
        }
        video = _found(name, str(field(name, record, "video")), folder)
        return question(name, f"{text}Only give the best option.", video=video, fields=fields)

    def answer_of(self, said: str, asked: Mapping[str, Any]) -> str | None:
        """By lmms-eval's rule."""
        return plain_letter(said, asked["choices"])


def _found(name: str, path: str, folder: Path) -> str:
    if (direct := folder / path).is_file():
        return str(direct)
    for found in folder.rglob(Path(path).name):
        if found.is_file() and found.as_posix().endswith(path):
            return str(found)
    raise BadRowError(f"{name}: there is no video '{path}' below '{folder}'")
