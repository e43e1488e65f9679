"""Who writes questions: the interface, and the stage that asks the writers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from unisono.curation.records import Case, Labels, Outcome, Question, Questions, Subtitles, present
from unisono.curation.stage import Model
from unisono.curation.store import Store

NO_QUESTION = "nothing to ask"
KINDS = ("both", "sound", "picture")


@dataclass(frozen=True)
class Evidence:
    """What a writer is told of a clip.

    Attributes:
        id: of the clip; whoever draws lots draws them by it.
        frames: JPEG, in order.
        sound: WAV; None without one.
    """

    id: str
    frames: Sequence[bytes]
    sound: bytes | None
    subtitles: Subtitles
    labels: Labels


class Writer(Protocol):
    """Writes questions about a clip, with their answers."""

    def write(self, evidence: Evidence) -> list[Question]:
        """As many as there is something to ask; the best of a kind first.

        Raises:
            UnisonoError: the model fails. What it says and cannot be understood is no error.
        """


@dataclass(frozen=True)
class Write:
    """Ask for questions.

    Attributes:
        writers: one or several.
        most: questions of a clip.
    """

    writers: Sequence[Model[Writer]]
    most: int = 8

    name: ClassVar[str] = "write"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("clip", "subtitles", "labels")
    gives: ClassVar[str] = "questions"
    record: ClassVar[type] = Questions

    def run(self, case: Case, store: Store) -> Outcome:
        """`Questions`."""
        clip = present(case.clip)
        evidence = Evidence(
            clip.id,
            store.frames(clip),
            store.sound(clip),
            present(case.subtitles),
            present(case.labels),
        )
        written = [one for writer in self.writers for one in writer.get().write(evidence)]
        chosen = in_turn(written, self.most)
        metrics = {kind: sum(one.needs == kind for one in chosen) for kind in KINDS}
        if not chosen:
            return Outcome(None, NO_QUESTION, "", metrics)
        return Outcome(Questions(tuple(chosen)), metrics=metrics)


def in_turn(questions: Sequence[Question], most: int) -> list[Question]:
    """The first questions of each kind in turn; a group is taken whole or not at all."""
    waiting = {kind: [one for one in questions if one.needs == kind] for kind in KINDS}
    chosen: list[Question] = []
    while any(waiting.values()):
        for kind in KINDS:
            if not waiting[kind]:
                continue
            first = waiting[kind][0]
            group = [one for one in waiting[kind] if one is first or first.group == one.group != ""]
            waiting[kind] = [one for one in waiting[kind] if one not in group]
            if len(chosen) + len(group) <= most:
                chosen += group
    return chosen
