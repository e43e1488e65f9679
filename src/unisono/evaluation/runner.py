"""A task over a manifest: predictions noted as they come, then scores, intervals and a report.

A run is a folder:

    run.json            what was asked of which model, with fingerprints
    predictions.jsonl   one line a row, in the manifest's order
    results.json        scores with intervals, and what failed
    report.md           the same for people

Killed at any moment, a run goes on behind the last row noted. A folder never mixes models,
manifests or settings.
"""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from itertools import chain, islice
from pathlib import Path
from typing import Any, Protocol

from filelock import FileLock, Timeout

from unisono.errors import BadRowError, CheckpointError, DataError
from unisono.evaluation.bootstrap import interval
from unisono.evaluation.predictions import PredictionFile, read_predictions
from unisono.evaluation.report import Results, Subject, as_json, as_markdown
from unisono.evaluation.task import Prediction, Task
from unisono.manifests import StreamedManifest
from unisono.manifests.row import Row

Progress = Callable[[int, int | None], None]
"""Told how many rows are done, and of how many, if that is known."""


class Rows(Protocol):
    """Rows by number: a `Manifest`, or a list."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Row: ...


def evaluate(
    task: Task,
    load: Callable[[], Any],
    rows: Rows | StreamedManifest,
    out: Path,
    *,
    subject: Subject,
    limit: int | None = None,
    progress: Progress | None = None,
) -> Results:
    """Run a task, or go on with it, and write its results.

    Args:
        task: what is asked.
        load: gives the model that its `predict` takes; called if a row is left to do.
        rows: what `open_manifest` opens, or a list.
        out: folder of the run, made if need be.
        subject: what is evaluated; a run of another one is not taken up.
        limit: only so many rows, from the first on. A later run with a higher one goes on.
        progress: is told how far it is.

    Raises:
        CheckpointError: the folder holds another run, or one at work, or cannot be written.
        DataError: there are no rows, or every row failed.
    """
    identity = {"task": task.name, **_identity(task, subject)}
    _check_same(out, identity)
    done = _done(out)
    batches = _batches(_read(rows, done, limit), task.batch_size)
    first = next(batches, None)
    if first is None and not done:
        raise DataError(f"there are no rows to evaluate in {subject.manifest!r}")
    # Before anything is written: a wrong name leaves no folder behind.
    model = None if first is None else load()
    with _locked(out), PredictionFile(out / "predictions.jsonl") as file:
        if len(file.known) != done:
            raise CheckpointError(f"another process is writing to '{out}'")
        write_whole(out / "run.json", json.dumps(identity, indent=2, ensure_ascii=False))
        tell = _told(progress, rows, limit)
        tell(done)
        for batch in chain([first] if first else [], batches):
            file.append(_predict(task, model, batch))
            tell(len(file.known))
        results = summarise(task, file.known[:limit], subject)
        write_whole(
            out / "results.json", json.dumps(as_json(results), indent=2, ensure_ascii=False)
        )
        write_whole(out / "report.md", as_markdown(results))
    return results


def summarise(task: Task, predictions: Sequence[Prediction], subject: Subject) -> Results:
    """Scores and intervals of predictions.

    Raises:
        DataError: not one of them is counted.
    """
    failed = [one for one in predictions if one.error is not None]
    if len(failed) == len(predictions):
        raise DataError(
            f"all {len(failed)} rows failed; {failed[0].name}: {failed[0].error}"
            if failed
            else "there is nothing to score"
        )
    scores = task.score(predictions)
    return Results(
        task=task.name,
        settings=task.settings(),
        subject=subject,
        count=len(predictions),
        failed=tuple(failed),
        scores=scores,
        intervals={name: interval(score) for name, score in scores.items()},
    )


def _told(
    progress: Progress | None, rows: Rows | StreamedManifest, limit: int | None
) -> Callable[[int], None]:
    known = None if isinstance(rows, StreamedManifest) else len(rows)
    total = min((count for count in (known, limit) if count is not None), default=None)

    def tell(done: int) -> None:
        if progress is not None:
            progress(done if total is None else min(done, total), total)

    return tell


def _predict(task: Task, model: Any, entries: Sequence[Row | BadRowError]) -> list[Prediction]:
    """One prediction an entry, those of broken rows among the others."""
    readable = [entry for entry in entries if not isinstance(entry, BadRowError)]
    predicted = task.predict(model, readable) if readable else []
    if [row.name for row in readable] != [one.name for one in predicted]:
        raise RuntimeError(f"the task {task.name!r} must predict every row, in order")
    made = iter(predicted)
    return [_failed(entry) if isinstance(entry, BadRowError) else next(made) for entry in entries]


def _failed(error: BadRowError) -> Prediction:
    """Its message begins with where the row stands: "captions.jsonl:17: …"."""
    return Prediction.failed(str(error).partition(": ")[0], error)


def _read(
    rows: Rows | StreamedManifest, start: int, limit: int | None
) -> Iterator[Row | BadRowError]:
    """Rows from number `start` on, up to the limit; an error in the place of a broken one."""
    if isinstance(rows, StreamedManifest):
        return islice(rows.stream(start), None if limit is None else max(0, limit - start))
    stop = len(rows) if limit is None else min(limit, len(rows))
    return (_row_or_error(rows, index) for index in range(start, stop))


def _row_or_error(rows: Rows, index: int) -> Row | BadRowError:
    try:
        return rows[index]
    except BadRowError as error:
        return error


def _batches(entries: Iterator[Row | BadRowError], size: int) -> Iterator[list[Row | BadRowError]]:
    while batch := list(islice(entries, size)):
        yield batch


def _identity(task: Task, subject: Subject) -> dict[str, Any]:
    """The command may differ: it also says where to write, and how many rows to read."""
    known = asdict(subject)
    del known["command"]
    return {"settings": task.settings(), **known}


@contextmanager
def _locked(out: Path) -> Iterator[None]:
    lock = FileLock(out / ".lock", timeout=0)
    try:
        out.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise CheckpointError(f"another process is writing to '{out}'") from None
    except OSError as error:
        raise CheckpointError(f"'{out}' cannot be written: {error.strerror}") from error
    with lock:
        try:
            yield
        finally:
            lock.release()


def _done(out: Path) -> int:
    """Rows that an earlier run has done."""
    path = out / "predictions.jsonl"
    return len(read_predictions(path)) if path.exists() else 0


def _check_same(out: Path, wanted: dict[str, Any]) -> None:
    """Compare what this run is with what an earlier one in the folder was."""
    if not (out / "run.json").exists() and not (out / "predictions.jsonl").exists():
        return
    found = read_run(out)
    if differing := [key for key in wanted if found.get(key) != wanted[key]]:
        what = differing[0].replace("_fingerprint", "'s files").replace("_", " ")
        raise CheckpointError(
            f"'{out}' holds a run with another {what}: name another folder with --out, or delete "
            "that one"
        )


def read_run(folder: Path) -> dict[str, Any]:
    """What a run's folder says of it.

    Raises:
        CheckpointError: there is no run in the folder.
    """
    try:
        found = json.loads((folder / "run.json").read_bytes())
    except (OSError, ValueError):
        raise CheckpointError(f"there is no evaluation in '{folder}': no run.json") from None
    if not isinstance(found, dict):
        raise CheckpointError(f"'{folder / 'run.json'}' does not say what the run is")
    return found


def write_whole(path: Path, text: str) -> None:
    """A text file, whole or not at all.

    Raises:
        CheckpointError: it cannot be written.
    """
    half = path.with_name(f".{path.name}.half")
    try:
        half.write_text(text if text.endswith("\n") else text + "\n", encoding="utf-8")
        os.replace(half, path)
    except OSError as error:
        raise CheckpointError(f"'{path}' cannot be written: {error.strerror}") from error
