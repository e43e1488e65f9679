"""All stages in order, each on what the one before has left.

What was done is in the store by its name, so a run that was stopped goes on where it was, and one
with another setting does again only what depends on it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from unisono.curation import funnel
from unisono.curation.engines import Engine, InProcess
from unisono.curation.plan import Plan, Together
from unisono.curation.records import Case, Clips, Outcome, Questions, Rejection
from unisono.curation.report import write_report, write_samples
from unisono.curation.sources import find_sources
from unisono.curation.stage import Job, Stage, key_of
from unisono.curation.store import Store

NONE_LEFT = "no question left"
_QUESTIONS = "questions"

Progress = Callable[[str, int, int], None]
"""Is told the stage, how much is done, and of how much."""


@dataclass
class Curated:
    """What a run made.

    Attributes:
        steps: the funnel.
        rejections: what was left out, and why.
        cases: the clips that are in the data set, with their questions.
        facts: about the data set.
        computed: pieces of work that were done, and not found in the store.
    """

    steps: list[funnel.Step] = field(default_factory=list)
    rejections: list[Rejection] = field(default_factory=list)
    cases: list[Case] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    computed: int = 0


def curate(
    sources: Iterable[str | Path],
    out: str | Path,
    plan: Plan,
    *,
    engine: Engine | None = None,
    progress: Progress | None = None,
) -> Curated:
    """Make a data set of videos.

    Args:
        sources: files and folders.
        out: folder for everything: `work` and `packs` (what was done), `report`, `dataset`.
        plan: the stages and their settings.
        engine: who works; this process if None.
        progress: is told how far it is.

    Returns:
        What was made; the same is written to `out/report` and `out/dataset`.

    Raises:
        MediaNotFoundError, MediaAccessError: a source cannot be read.
        DataError: there are no files, or the folder cannot be written.
        UnisonoError: a model cannot be had or fails.
    """
    store = Store(Path(out))
    working = engine or InProcess()
    try:
        with store.alone():
            return _Run(store, working, plan, progress or (lambda *_: None)).whole(sources)
    finally:
        working.close()


class _Run:
    def __init__(self, store: Store, engine: Engine, plan: Plan, progress: Progress) -> None:
        self._store, self._engine, self._plan, self._progress = store, engine, plan, progress
        self._made = Curated()
        self._rejected: list[tuple[Case, Rejection]] = []

    def whole(self, sources: Iterable[str | Path]) -> Curated:
        made, plan = self._made, self._plan
        cases, rejections = find_sources(sources, self._store)
        self._note("scan", "file", len(cases) + len(rejections), rejections)
        cases = self._through(plan.probe, cases, "file")
        cases = self._cut(cases)
        for stage in plan.describe:
            cases = self._through(stage, cases, "clip")
        for together in plan.together:
            cases = self._together(together, cases)
        for stage in plan.ask:
            cases = self._through(stage, cases, "clip")
        if plan.ask:
            cases = self._asked(cases)
        made.cases = sorted(cases, key=lambda case: case.clip.id if case.clip else "")
        funnel.check(made.steps)
        made.facts |= {"clips": len(made.cases), "settings": plan.settings()}
        for write in plan.write:
            linked = made.facts.get("linked_sources", ())
            made.facts |= write.write(made.cases, self._store, linked)
        folder = self._store.folder / "report"
        write_report(folder, made.steps, made.rejections, made.facts)
        write_samples(folder, made.cases, self._rejected, self._store)
        return made

    def _through(self, stage: Stage, cases: Sequence[Case], kind: str) -> list[Case]:
        """The cases that pass a stage, with its record."""
        kept, rejections, metrics = [], [], []
        for case, outcome in zip(cases, self._outcomes(stage, cases), strict=True):
            metrics.append(outcome.metrics)
            if outcome.record is None:
                rejections.append(_rejection(case, stage.name, kind, outcome))
                self._rejected.append((case, rejections[-1]))
            elif stage.gives:
                given: dict[str, Any] = {stage.gives: outcome.record}
                kept.append(replace(case, **given))
            else:
                kept.append(case)
        self._note(stage.name, kind, len(cases), rejections, metrics)
        return kept

    def _cut(self, cases: Sequence[Case]) -> list[Case]:
        """Files -> clips; from here on, clips are counted."""
        stage = self._plan.split
        clips, rejections, metrics = [], [], []
        for case, outcome in zip(cases, self._outcomes(stage, cases), strict=True):
            metrics.append(outcome.metrics)
            if isinstance(outcome.record, Clips):
                clips += [replace(case, clip=clip) for clip in outcome.record.clips]
            else:
                rejections.append(_rejection(case, stage.name, "file", outcome))
        self._note(stage.name, "file", len(cases), rejections, metrics)
        return clips

    def _outcomes(self, stage: Stage, cases: Sequence[Case]) -> list[Outcome]:
        """One a case: from the store, or made now."""
        keys = [key_of(stage, case) for case in cases]
        known = {key: self._known(stage, key) for key in keys}
        due = {key: Job(stage, case, key) for case, key in zip(cases, keys, strict=True)}
        jobs = [job for key, job in due.items() if known[key] is None]
        self._progress(stage.name, 0, len(jobs))
        for count, key in enumerate(self._engine.run(jobs, self._store), 1):
            known[key] = self._known(stage, key)
            self._progress(stage.name, count, len(jobs))
        self._made.computed += len(jobs)
        outcomes = [known[key] for key in keys]
        found = [outcome for outcome in outcomes if outcome is not None]
        if len(found) != len(cases):
            raise RuntimeError(f"stage {stage.name!r} left {len(cases) - len(found)} cases undone")
        return found

    def _known(self, stage: Stage, key: str) -> Outcome | None:
        outcome = self._store.get(stage.name, key, stage.record)
        if outcome is not None and isinstance(outcome.record, Clips):
            whole = all(self._store.has_pack(clip.pack) for clip in outcome.record.clips)
            return outcome if whole else None
        return outcome

    def _together(self, stage: Together, cases: Sequence[Case]) -> list[Case]:
        """A stage that needs to see all clips at once; it is quick, and done every time."""
        self._progress(stage.name, 0, 1)
        rejected, metrics, facts = stage.run(cases)
        rejections, kept = [], []
        for place, case in enumerate(cases):
            if place in rejected:
                rejections.append(_rejection(case, stage.name, "clip", rejected[place]))
                self._rejected.append((case, rejections[-1]))
            else:
                kept.append(case)
        self._note(stage.name, "clip", len(cases), rejections, metrics)
        self._made.facts |= facts
        self._progress(stage.name, 1, 1)
        return kept

    def _asked(self, cases: Sequence[Case]) -> list[Case]:
        """Count the questions of clips, and leave out clips without any."""
        rejections, kept, without, entered = [], [], [], 0
        for case in cases:
            asked = case.questions or Questions(())
            entered += len(asked.kept) + len(asked.dropped)
            for one in asked.dropped:
                said = f"{one.question.text} → {one.question.answer} ({one.detail})"
                outcome = Outcome(None, one.reason, said)
                rejections.append(_rejection(case, _QUESTIONS, "question", outcome))
            if asked.kept:
                kept.append(case)
            else:
                without.append(_rejection(case, _QUESTIONS, "clip", Outcome(None, NONE_LEFT)))
                self._rejected.append((case, without[-1]))
        self._note(_QUESTIONS, "question", entered, rejections)
        self._note(_QUESTIONS, "clip", len(cases), without)
        return kept

    def _note(
        self,
        stage: str,
        kind: str,
        entered: int,
        rejections: Sequence[Rejection],
        metrics: Sequence[Mapping[str, float]] = (),
    ) -> None:
        self._made.steps.append(funnel.step_of(stage, kind, entered, rejections, metrics))
        self._made.rejections += rejections


def _rejection(case: Case, stage: str, kind: str, outcome: Outcome) -> Rejection:
    clip = case.clip
    path = case.path.encode("utf-8", "backslashreplace").decode()
    if clip is None:
        return Rejection(kind, path, path, stage, outcome.reason, outcome.detail)
    times = clip.start_s, clip.end_s
    return Rejection(kind, clip.id, path, stage, outcome.reason, outcome.detail, *times)
