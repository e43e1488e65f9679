"""A run is complete however it was interrupted, mixes nothing, and hides no failure."""

import errno
import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pytest
from filelock import FileLock

from unisono.errors import (
    BadRowError,
    CheckpointError,
    DataError,
    MediaDecodeError,
    MissingExtraError,
)
from unisono.evaluation import Prediction, Results, Score, Subject, compare, evaluate
from unisono.evaluation.predictions import PredictionFile, read_predictions
from unisono.evaluation.report import as_markdown
from unisono.evaluation.task import TaskSettings, counted, predict_row
from unisono.manifests.row import PairRow, Row

FILES = ("predictions.jsonl", "results.json", "report.md", "run.json")
SUBJECT = Subject("m", "rows.jsonl", "m1", "r1", command="unisono eval parity rows.jsonl")


class Parity(TaskSettings):
    """Is the number odd? The "model" is a function that says so."""

    name: ClassVar[str] = "parity"
    batch_size: int = 3
    step_s: float = 0.0
    label: str = ""

    def settings(self) -> dict[str, Any]:
        return {"label": self.label}

    def load(self, model: str) -> Callable[[int], bool]:
        raise NotImplementedError

    def predict(self, model: Callable[[int], bool], rows: Sequence[Row]) -> list[Prediction]:
        time.sleep(self.step_s)
        return [
            predict_row(row, _target, lambda row: {"odd": model(int(row.text))}) for row in rows
        ]

    def score(self, predictions: Sequence[Prediction]) -> dict[str, Score]:
        found = counted(predictions)
        right = [one.output.get("odd") == one.output["target"] for one in found]
        return {"right": Score.of(right, names=[one.name for one in found])}


def _target(row: Row) -> dict[str, bool]:
    if row.text == "word":
        raise BadRowError(f"{row.name}: the text must be a number")
    return {"target": bool(int(row.text) % 2)}


def odd(number: int) -> bool:
    """Right except for multiples of 5; refuses multiples of 7."""
    if number % 7 == 0:
        raise MediaDecodeError(f"{number} cannot be looked at")
    return bool(number % 2) != (number % 5 == 0)


@dataclass
class Numbers:
    """Rows "1", "2", …; one is no number, one is broken; counts what is read."""

    count: int = 40
    word: int = 11
    broken: int = 17
    read: list[int] = field(default_factory=list)

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Row:
        self.read.append(index)
        name = f"rows.jsonl:{index + 1}"
        if index == self.broken:
            raise BadRowError(f'{name}: "text" must be a text, but is None instead')
        return PairRow(name, text="word" if index == self.word else str(index))


def run(
    out: Path,
    *,
    rows: Numbers | None = None,
    limit: int | None = None,
    task: Parity | None = None,
    subject: Subject = SUBJECT,
    model: Callable[[int], bool] = odd,
) -> Results:
    return evaluate(
        task or Parity(),
        lambda: model,
        Numbers() if rows is None else rows,
        out,
        subject=subject,
        limit=limit,
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in FILES}


def test_a_run_scores_every_row_and_names_every_failure(tmp_path: Path) -> None:
    results = run(tmp_path)
    numbers = [i for i in range(40) if i not in (11, 17)]
    right = [i for i in numbers if i % 7 and i % 5]
    assert results.count == 40
    assert len(results.scores["right"]) == len(numbers)
    assert results.scores["right"].value == pytest.approx(len(right) / len(numbers))
    assert (results.left_out, results.wrong) == (2, 6)
    written = json.loads((tmp_path / "results.json").read_text())
    entry = written["scores"]["right"]
    assert entry["value"] == pytest.approx(len(right) / 38)
    assert entry["low"] < entry["value"] < entry["high"]
    assert entry["samples"] == 38
    assert written["failed"]["left_out"] == 2
    assert written["failed"]["counted_as_wrong"] == 6
    errors = {one["name"]: one["error"] for one in written["failed"]["rows"]}
    assert errors["rows.jsonl:12"] == "the text must be a number"
    assert errors["rows.jsonl:18"].startswith('"text" must be a text')
    assert errors["rows.jsonl:8"] == "7 cannot be looked at"
    report = (tmp_path / "report.md").read_text()
    assert report == as_markdown(results)
    for said in (
        "Failed rows: 8 (2 left out, 6 wrong)",
        "7 cannot be looked at",
        "| right | ",
        SUBJECT.command,
    ):
        assert said in report
    names = [one.name for one in read_predictions(tmp_path / "predictions.jsonl")]
    assert names == [f"rows.jsonl:{i + 1}" for i in range(40)]


def test_a_killed_run_goes_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    draw = random.Random(0)
    slow = partial(run, tmp_path / "cut", task=Parity(step_s=0.01, batch_size=1))
    context = multiprocessing.get_context("fork")
    seen = set()
    for _ in range(10):
        process = context.Process(target=slow)
        process.start()
        time.sleep(draw.uniform(0.02, 0.1))
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        path = tmp_path / "cut" / "predictions.jsonl"
        seen.add(len(read_predictions(path)) if path.exists() else 0)
    assert len(seen - {0, 40}) >= 2, "it was not killed on its way"
    rows = Numbers()
    run(tmp_path / "cut", rows=rows)
    assert contents(tmp_path / "cut") == contents(tmp_path / "whole")
    assert rows.read == list(range(max(seen), 40))


def test_a_line_cut_short_is_predicted_again(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    path = tmp_path / "whole" / "predictions.jsonl"
    whole = contents(tmp_path / "whole")
    text = whole["predictions.jsonl"]
    for length in (0, 1, len(text) // 2, len(text) - 1, len(text)):
        path.write_bytes(text[:length])
        run(tmp_path / "whole")
        assert contents(tmp_path / "whole") == whole


def test_what_is_done_is_not_done_again(tmp_path: Path) -> None:
    run(tmp_path, limit=10)
    rows, calls = Numbers(), []
    results = run(tmp_path, rows=rows, limit=20, model=lambda n: bool(calls.append(n)))
    assert rows.read == list(range(10, 20))
    assert results.count == 20
    assert 9 not in calls
    fewer = run(tmp_path, rows=rows, limit=5)
    assert fewer.count == 5
    assert len(read_predictions(tmp_path / "predictions.jsonl")) == 20

    def never() -> None:
        raise AssertionError("a finished run loads no model")

    evaluate(Parity(), never, Numbers(), tmp_path, subject=SUBJECT, limit=20)


@pytest.mark.parametrize(
    ("subject", "task", "said"),
    [
        (replace(SUBJECT, model="other"), Parity(), "another model"),
        (replace(SUBJECT, model_fingerprint="m2"), Parity(), "another model's files"),
        (replace(SUBJECT, manifest_fingerprint="r2"), Parity(), "another manifest's files"),
        (SUBJECT, Parity(label="x"), "another settings"),
    ],
)
def test_nothing_is_mixed(subject: Subject, task: Parity, said: str, tmp_path: Path) -> None:
    run(tmp_path, limit=5)
    before = contents(tmp_path)
    with pytest.raises(CheckpointError, match=said):
        run(tmp_path, subject=subject, task=task)
    assert contents(tmp_path) == before
    run(tmp_path, subject=replace(SUBJECT, command="another"), task=Parity(batch_size=1))


def test_a_folder_at_work_is_left_alone(tmp_path: Path) -> None:
    with (
        FileLock(tmp_path / ".lock"),
        pytest.raises(CheckpointError, match="another process is writing"),
    ):
        run(tmp_path)
    assert not (tmp_path / "run.json").exists()


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    run(tmp_path)
    path = tmp_path / "predictions.jsonl"
    path.write_bytes(path.read_bytes().replace(b'"name"', b'"nome"', 3))
    with pytest.raises(CheckpointError, match="line 1 of .* is no prediction"):
        run(tmp_path)
    (tmp_path / "run.json").unlink()
    with pytest.raises(CheckpointError, match="no evaluation in"):
        run(tmp_path)
    (tmp_path / "file").write_text("x")
    with pytest.raises(CheckpointError, match="cannot be written"):
        run(tmp_path / "file" / "below")


def test_a_full_disk_is_one_clear_error_and_room_mends_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, calls = os.fsync, iter(range(100))

    def full(descriptor: int) -> None:
        if next(calls) >= 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(
            CheckpointError, match=r"predictions.jsonl' cannot be written: No space"
        ):
            run(tmp_path / "full")
    run(tmp_path / "full")
    run(tmp_path / "whole")
    assert contents(tmp_path / "full") == contents(tmp_path / "whole")


def test_nothing_to_score_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no rows"):
        run(tmp_path / "a", rows=Numbers(count=0))

    def blind(number: int) -> bool:
        raise MediaDecodeError("everything is dark")

    with pytest.raises(DataError, match="all 9 rows failed; rows.jsonl:1: everything is dark"):
        run(tmp_path / "b", limit=9, model=blind)
    with pytest.raises(DataError, match="must be a number"):
        run(tmp_path / "c", rows=Numbers(count=1, word=0))


def test_a_fault_of_ours_stops_the_run_and_keeps_what_was_done(tmp_path: Path) -> None:
    def breaks(number: int) -> bool:
        if number == 20:
            raise ZeroDivisionError
        return True

    with pytest.raises(ZeroDivisionError):
        run(tmp_path, model=breaks)
    assert len(read_predictions(tmp_path / "predictions.jsonl")) == 18
    assert run(tmp_path).count == 40


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    evaluate(
        Parity(),
        lambda: odd,
        Numbers(),
        tmp_path,
        subject=SUBJECT,
        limit=7,
        progress=lambda done, total: told.append((done, total)),
    )
    assert told == [(0, 7), (3, 7), (6, 7), (7, 7)]


class Streamed:
    """The same rows one after the other, and where each stream began."""

    fingerprint = "r1"

    def __init__(self) -> None:
        self.starts: list[int] = []

    def stream(self, start: int = 0) -> Iterator[Row | BadRowError]:
        self.starts.append(start)
        rows = Numbers()
        for index in range(start, len(rows)):
            try:
                yield rows[index]
            except BadRowError as error:
                yield error


def test_a_stream_is_as_good_as_a_list(tmp_path: Path) -> None:
    run(tmp_path / "whole")
    rows, told = Streamed(), []
    for limit in (10, 10, None, None):
        evaluate(
            Parity(),
            lambda: odd,
            rows,
            tmp_path / "streamed",
            subject=SUBJECT,
            limit=limit,
            progress=lambda *now: told.append(now),
        )
    assert rows.starts == [0, 10, 40]  # nothing is read for what is done
    assert contents(tmp_path / "streamed") == contents(tmp_path / "whole")
    assert told[:2] == [(0, 10), (3, 10)]
    assert told[-1] == (40, None)


def test_what_is_no_fault_of_a_row_is_not_noted_as_one(tmp_path: Path) -> None:
    def lacks(number: int) -> bool:
        if number > 2:
            raise MissingExtraError("a-package", "voice")
        return True

    with pytest.raises(MissingExtraError, match="a-package"):
        run(tmp_path, model=lacks)
    assert len(read_predictions(tmp_path / "predictions.jsonl")) == 3
    assert run(tmp_path).count == 40


# --- comparison ----------------------------------------------------------------------------


def test_two_runs_are_compared_on_the_rows_both_have(tmp_path: Path) -> None:
    run(tmp_path / "one", limit=30)
    run(tmp_path / "two", model=lambda n: bool(n % 2), subject=replace(SUBJECT, model="n"))
    (found,) = compare(Parity(), tmp_path / "one", tmp_path / "two")
    assert found.metric == "right"
    assert found.difference.count == 28
    assert found.second.value == 1.0
    assert found.first.value == pytest.approx(
        sum(bool(i % 7 and i % 5) for i in range(30) if i not in (11, 17)) / 28
    )
    assert found.difference.value == pytest.approx(1 - found.first.value)
    assert found.difference.interval.low > 0
    assert found.difference.p_value < 0.01


def test_what_cannot_be_compared_is_refused(tmp_path: Path) -> None:
    run(tmp_path / "one", limit=8)
    with pytest.raises(CheckpointError, match="no evaluation in"):
        compare(Parity(), tmp_path / "none", tmp_path / "one")
    other = tmp_path / "other"
    run(other, limit=8)
    text = (other / "predictions.jsonl").read_text()
    (other / "predictions.jsonl").write_text(text.replace("rows.jsonl", "r.jsonl"))
    with pytest.raises(DataError, match="no row in common"):
        compare(Parity(), tmp_path / "one", other)
    (other / "predictions.jsonl").write_text(text.replace('"target": true', '"target": false'))
    with pytest.raises(DataError, match="another right answer"):
        compare(Parity(), tmp_path / "one", other)
    (other / "run.json").write_text('{"task": "chess"}')
    with pytest.raises(DataError, match="of task 'chess', not of 'parity'"):
        compare(Parity(), other, tmp_path / "one")


def test_rows_of_one_name_are_told_apart(tmp_path: Path) -> None:
    for folder, answers in (("one", [True, False]), ("two", [False, True])):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "run.json").write_text('{"task": "parity"}')
        with PredictionFile(tmp_path / folder / "predictions.jsonl") as file:
            file.append(
                [Prediction("a", {"target": i == 0, "odd": odd}) for i, odd in enumerate(answers)]
            )
    (found,) = compare(Parity(), tmp_path / "one", tmp_path / "two")
    assert found.first.value == 1.0
    assert found.second.value == 0.0


def test_a_row_left_out_of_one_run_is_left_out_of_the_comparison(tmp_path: Path) -> None:
    run(tmp_path / "one", rows=Numbers(word=30))
    run(tmp_path / "two")
    (found,) = compare(Parity(), tmp_path / "one", tmp_path / "two")
    assert found.difference.count == 37
    assert found.difference.value == 0
