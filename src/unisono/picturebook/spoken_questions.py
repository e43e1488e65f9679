"""Step "spoken_questions": questions asked by voice whose answers follow from their words.

The same question typed stands beside each, so that hearing can be told from knowing.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from unisono.conversation import AudioPart, Message
from unisono.manifests import ConversationRow, write_manifest
from unisono.picturebook.lexicon import spoken_words
from unisono.picturebook.spoken_question_kinds import KINDS
from unisono.picturebook.step import Step, draws
from unisono.picturebook.voices import TEST_VOICE, Reading, draw_voice, record, varied

TRAIN_QUESTIONS = 3_000
TEST_QUESTIONS = 200

_PIPER_SHARE = 0.08
_MOST_TRIES = 40


@dataclass(frozen=True)
class SpokenQuestion:
    """A question and its one right answer.

    Attributes:
        kind: of `KINDS`.
        template: how it is asked.
        typed: as a person types it.
        answer: lower case, no punctuation.
    """

    kind: str
    template: str
    typed: str
    answer: str

    @property
    def words(self) -> str:
        """As a listener writes it down: lower case, no punctuation."""
        return " ".join(spoken_words(self.typed))


def questions(count: int, *, test: bool) -> list[SpokenQuestion]:
    """Different questions, all kinds equally often as far as there are enough of them."""
    chosen: dict[str, SpokenQuestion] = {}
    made = _endless(test=test)
    for _ in range(_MOST_TRIES * count):
        if len(chosen) == count:
            break
        question = next(made)
        chosen.setdefault(question.typed, question)
    return list(chosen.values())


def _endless(*, test: bool) -> Iterator[SpokenQuestion]:
    draw = draws("spoken_questions", "test" if test else "train")
    while True:
        for name, kind in KINDS.items():
            slots, answer = kind.make(draw)
            template = draw.choice(kind.test if test else kind.train)
            typed = template.format(**slots)
            yield SpokenQuestion(name, template, typed[0].upper() + typed[1:], answer)


def build(folder: Path, data: Path) -> None:
    """Fill the step's folder: `train`, and `test` in a voice that never trains."""
    del data
    _write(questions(TRAIN_QUESTIONS, test=False), folder, "train")
    _write(questions(TEST_QUESTIONS, test=True), folder, "test", voice=TEST_VOICE)


def _write(
    asked: list[SpokenQuestion], folder: Path, name: str, *, voice: str | None = None
) -> None:
    (folder / name).mkdir()
    readings = []
    for number, question in enumerate(asked):
        path = folder / name / f"{number:04}.flac"
        chance = draws("spoken_questions", name, number)
        if voice:
            readings.append(Reading(question.typed, path, voice))
        else:
            spoken_by = draw_voice(chance, piper=_PIPER_SHARE)
            readings.append(varied(question.typed, path, spoken_by, chance))
    record(readings)
    rows = [_row(one, reading) for one, reading in zip(asked, readings, strict=True)]
    write_manifest(rows, folder / f"{name}.jsonl")


def _row(question: SpokenQuestion, reading: Reading) -> ConversationRow:
    asked = AudioPart(audio=reading.path, transcript=question.words)
    return ConversationRow(
        reading.path.stem,
        (
            Message(role="user", content=(asked,)),
            Message(role="assistant", content=question.answer),
        ),
        {
            "kind": question.kind,
            "template": question.template,
            "typed": question.typed,
            "voice": reading.voice,
        },
    )


STEP = Step("spoken_questions", 2, (), build)
