"""What a run leaves for people: the funnel as JSON, Markdown and pictures, and a page of samples.

Nothing in it tells the machine, the hour or the engine: equal runs give equal files.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from unisono.conversation import AudioPart, Message, Part, TextPart, VideoPart
from unisono.curation import funnel
from unisono.curation.plots import draw_funnel
from unisono.curation.records import Case, Rejection, present
from unisono.curation.store import Store
from unisono.evaluation.report import Results, Subject
from unisono.evaluation.sample_page import sample_page
from unisono.evaluation.task import Prediction
from unisono.manifests.row import ConversationRow

_SHOWN_KEPT, _SHOWN_REJECTED, _EXAMPLES = 40, 40, 3


def write_report(
    folder: Path,
    steps: Sequence[funnel.Step],
    rejections: Sequence[Rejection],
    facts: dict[str, Any],
) -> None:
    """Write funnel.json, funnel.md, rejected.jsonl and the plots.

    Args:
        folder: made if need be.
        steps: of the funnel.
        rejections: of all stages.
        facts: about the data set, beside the funnel.
    """
    folder.mkdir(parents=True, exist_ok=True)
    said = {"steps": funnel.as_json(steps), **facts}
    text = json.dumps(said, indent=1, ensure_ascii=False, sort_keys=True)
    (folder / "funnel.json").write_text(text + "\n", encoding="utf-8")
    rows = "".join(f"- {name}: {json.dumps(value)}\n" for name, value in sorted(facts.items()))
    page = f"# Funnel\n\n{funnel.as_markdown(steps)}\n{rows}{_examples(rejections)}"
    (folder / "funnel.md").write_text(page, encoding="utf-8")
    with (folder / "rejected.jsonl").open("w", encoding="utf-8") as file:
        for rejection in rejections:
            given = {key: value for key, value in asdict(rejection).items() if value is not None}
            file.write(json.dumps(given, ensure_ascii=False) + "\n")
    draw_funnel(steps, folder)


def write_samples(
    folder: Path, kept: Sequence[Case], rejected: Sequence[tuple[Case, Rejection]], store: Store
) -> None:
    """Write samples.html: clips with their questions, and clips that were left out, with why."""
    rows, told = [], []
    for case in kept[:_SHOWN_KEPT]:
        rows.append(_row(case, store))
        told.append(Prediction(_name(case), _said(case)))
    # A few of each reason rather than many of the commonest one.
    seen: dict[str, int] = {}
    for case, rejection in rejected:
        seen[rejection.reason] = seen.get(rejection.reason, 0) + 1
        if case.clip is not None and seen[rejection.reason] <= _EXAMPLES:
            rows.append(_row(case, store))
            why = f"{rejection.stage}: {rejection.reason} {rejection.detail}".strip()
            told.append(Prediction(_name(case), _said(case), error=why))
        if len(rows) >= _SHOWN_KEPT + _SHOWN_REJECTED:
            break
    results = Results("curate", {}, Subject("clips", folder.name), len(rows))
    page = sample_page(results, rows, told, most=len(rows))
    (folder / "samples.html").write_text(page, encoding="utf-8")


def _name(case: Case) -> str:
    return present(case.clip).id


def _row(case: Case, store: Store) -> ConversationRow:
    clip = present(case.clip)
    parts: list[Part] = [VideoPart(video=store.frames(clip), use_audio=False)]
    sound = store.sound(clip)
    if sound is not None:
        parts.append(AudioPart(audio=sound))
    said = case.subtitles.text if case.subtitles else _heard(case)
    parts.append(TextPart(text=said or "(no words)"))
    return ConversationRow(clip.id, (Message(role="user", content=tuple(parts)),))


def _heard(case: Case) -> str:
    return " ".join(word.text for word in case.heard.words) if case.heard else ""


def _said(case: Case) -> dict[str, Any]:
    said: dict[str, Any] = {"from": f"{case.path} at {present(case.clip).start_s:.2f} s"}
    if case.labels:
        said["seen"] = ", ".join(f"{o.text} {o.probability:.0%}" for o in case.labels.pictures)
        said["sounds"] = ", ".join(f"{o.text} {o.probability:.0%}" for o in case.labels.sounds)
    for number, question in enumerate(case.questions.kept if case.questions else (), 1):
        said[f"{number}. {question.needs}"] = f"{question.text}\n→ {question.answer}"
    for dropped in case.questions.dropped if case.questions else ():
        said[f"left out: {dropped.question.text}"] = f"{dropped.reason} {dropped.detail}".strip()
    return said


def _examples(rejections: Sequence[Rejection]) -> str:
    """Some of each reason, in words."""
    lines, seen = ["\n## Left out, some of each\n"], dict[tuple[str, str], int]()
    for one in rejections:
        place = (one.stage, one.reason)
        seen[place] = seen.get(place, 0) + 1
        if seen[place] <= _EXAMPLES:
            lines.append(f"- {one.stage}, {one.reason}: {one.id} {one.detail}".rstrip())
    return "\n".join(lines) + "\n" if seen else ""
