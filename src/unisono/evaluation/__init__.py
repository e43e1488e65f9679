"""How good a model is, and how sure that is: tasks over manifests, scores with intervals."""

from unisono.evaluation.bootstrap import (
    Difference,
    Interval,
    interval,
    interval_of,
    paired_difference,
)
from unisono.evaluation.chance import binomial_p, exchange_p
from unisono.evaluation.comparison import Comparison, compare
from unisono.evaluation.fingerprint import model_fingerprint
from unisono.evaluation.report import Results, Subject
from unisono.evaluation.runner import evaluate
from unisono.evaluation.score import Score
from unisono.evaluation.task import Prediction, Task
from unisono.evaluation.tasks import TASKS, make_task

__all__ = [
    "TASKS",
    "Comparison",
    "Difference",
    "Interval",
    "Prediction",
    "Results",
    "Score",
    "Subject",
    "Task",
    "binomial_p",
    "compare",
    "evaluate",
    "exchange_p",
    "interval",
    "interval_of",
    "make_task",
    "model_fingerprint",
    "paired_difference",
]
