"""The tasks, one file each."""

from typing import Any

from pydantic import ValidationError

from unisono.errors import RecipeError
from unisono.evaluation.benchmarks import BENCHMARKS, Benchmark
from unisono.evaluation.task import Task
from unisono.evaluation.tasks.answers import Answers
from unisono.evaluation.tasks.heads import Classified, Grounded, Ranked
from unisono.evaluation.tasks.perplexity import Perplexity
from unisono.evaluation.tasks.retrieval import Retrieval
from unisono.evaluation.tasks.transcription import Transcription

_OURS = (Answers, Transcription, Retrieval, Perplexity, Classified, Grounded, Ranked)
AnyTask = (
    Answers | Transcription | Retrieval | Perplexity | Classified | Grounded | Ranked | Benchmark
)
TASKS: dict[str, type[AnyTask]] = {task.name: task for task in (*_OURS, *BENCHMARKS)}
"""Every task by its name."""


def make_task(name: str, **settings: Any) -> Task:
    """A task of the registry.

    Args:
        name: its name.
        **settings: its fields, or texts that can be read as them.

    Raises:
        RecipeError: there is no such task, or it has no such setting.
    """
    if name not in TASKS:
        raise RecipeError(f"there is no task {name!r}; there are {', '.join(TASKS)}")
    try:
        return TASKS[name].model_validate(settings)
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(map(str, fault["loc"]))
        known = ", ".join(TASKS[name].model_fields)
        raise RecipeError(
            f"the task {name!r}, setting {where!r}: {fault['msg']}; its settings are {known}"
        ) from None


__all__ = ["TASKS", "Answers", "Perplexity", "Retrieval", "Transcription", "make_task"]
