"""Stage "check": questions that can be answered without what they ask about are dropped.

A model is asked with picture, sound or both removed. Where it is right all the same, the question
needs less than its writer says.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar

from unisono.curation.chat import Chat
from unisono.curation.judge import is_right
from unisono.curation.records import Case, Dropped, Outcome, Question, Questions, present
from unisono.curation.stage import Model
from unisono.curation.store import Store

BLIND = "answered without the media"
PICTURE_ALONE = "answered from the picture alone"
SOUND_ALONE = "answered from the sound alone"
WRONG = "not answered with all media"

_TRIED: dict[str, tuple[str, ...]] = {
    "picture": (BLIND, SOUND_ALONE),
    "sound": (BLIND, PICTURE_ALONE),
    "both": (BLIND, PICTURE_ALONE, SOUND_ALONE),
}
_SENSE = {PICTURE_ALONE: "picture", SOUND_ALONE: "sound"}
_BRIEFLY = "Answer in a few words."


@dataclass(frozen=True)
class Check:
    """Ask without the media.

    Attributes:
        chat: who is asked.
        must_answer: also drop what it cannot answer with all media; for strong models.
    """

    chat: Model[Chat]
    must_answer: bool = False

    name: ClassVar[str] = "check"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("clip", "questions")
    gives: ClassVar[str] = "questions"
    record: ClassVar[type] = Questions

    def run(self, case: Case, store: Store) -> Outcome:
        """`Questions`, some of them dropped."""
        clip, asked = present(case.clip), present(case.questions)
        exam = _Exam(self.chat.get(), store.frames(clip), store.sound(clip))
        kept, dropped = [], list(asked.dropped)
        for group in _groups(asked.kept):
            fault = self._fault(exam, group)
            if fault is None:
                kept += group
            else:
                dropped += [Dropped(one, *fault) for one in group]
        return Outcome(Questions(tuple(kept), tuple(dropped)))

    def _fault(self, exam: "_Exam", group: Sequence[Question]) -> tuple[str, str] | None:
        """Why a group is dropped, and what was answered."""
        for without in _TRIED[group[0].needs]:
            said = exam.answers(group, without)
            if said is not None and all(map(is_right, said, group)):
                return without, " / ".join(said)
        if self.must_answer:
            said = exam.answers(group, "")
            if said is not None and not all(map(is_right, said, group)):
                return WRONG, " / ".join(said)
        return None


@dataclass(frozen=True)
class _Exam:
    chat: Chat
    frames: Sequence[bytes]
    sound: bytes | None

    def answers(self, group: Sequence[Question], without: str) -> list[str] | None:
        """What the model says with some media; None where it has no sense for them."""
        sense = _SENSE.get(without)
        if sense is not None and sense not in self.chat.senses:
            return None
        sees, hears = without in ("", PICTURE_ALONE), without in ("", SOUND_ALONE)
        return [
            self.chat.ask(
                f"{question.text}\n{_BRIEFLY}",
                frames=self.frames if sees else (),
                sound=self.sound if hears else None,
            )
            for question in group
        ]


def _groups(questions: Sequence[Question]) -> Iterator[list[Question]]:
    """Those that stand or fall together; without a group, each alone."""
    numbered = enumerate(questions)
    for _, members in groupby(numbered, key=lambda one: one[1].group or str(one[0])):
        yield [question for _, question in members]
