"""Two runs of a task, row by row: is the second model better, or was it luck?"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unisono.errors import DataError
from unisono.evaluation.bootstrap import Difference, paired_difference
from unisono.evaluation.predictions import read_predictions
from unisono.evaluation.runner import read_run
from unisono.evaluation.score import Score
from unisono.evaluation.task import Prediction, Task

_Key = tuple[str, int]


@dataclass(frozen=True)
class Comparison:
    """One metric of two models on the rows that both have.

    Attributes:
        metric: its name.
        first: the other run's score.
        second: this run's.
        difference: second minus first.
    """

    metric: str
    first: Score
    second: Score
    difference: Difference


def compare(task: Task, first: Path, second: Path) -> list[Comparison]:
    """Compare the runs in two folders on the rows that count in both.

    Both are scored anew on these rows alone: a score may depend on the other rows, as recall does.

    Raises:
        CheckpointError: a folder holds no run.
        DataError: they are of different tasks, have no row in common, or ask different things in
            rows of the same name.
    """
    for folder in (first, second):
        if (found := read_run(folder).get("task")) != task.name:
            raise DataError(f"the run in '{folder}' is of task {found!r}, not of {task.name!r}")
    one, other = (_by_key(read_predictions(f / "predictions.jsonl")) for f in (first, second))
    shared = [key for key in other if key in one]
    if not shared:
        raise DataError(f"the runs in '{first}' and '{second}' have no row in common")
    _check_targets(one, other, shared)
    before, after = (task.score([rows[key] for key in shared]) for rows in (one, other))
    return [
        Comparison(
            metric, before[metric], after[metric], _difference(before[metric], after[metric])
        )
        for metric in after
        if metric in before
    ]


def _difference(first: Score, second: Score) -> Difference:
    return paired_difference(first, second)


def _by_key(predictions: Sequence[Prediction]) -> dict[_Key, Prediction]:
    """Counted predictions by name and, should several rows have it, the how manieth they are."""
    seen: Counter[str] = Counter()
    keyed = {}
    for prediction in predictions:
        keyed[prediction.name, seen[prediction.name]] = prediction
        seen[prediction.name] += 1
    return {key: prediction for key, prediction in keyed.items() if prediction.counted}


def _check_targets(
    one: dict[_Key, Prediction], other: dict[_Key, Prediction], shared: Sequence[_Key]
) -> None:
    for key in shared:
        if one[key].output.get("target") != other[key].output.get("target"):
            raise DataError(
                f"row {key[0]} has another right answer in one run than in the other: the runs "
                "are of different data"
            )
