"""Several tasks of one model, asked for by one name: a report of all, and what has moved since.

A suite is a YAML file, one of the package (`suite_names`) or a user's own:

    title: …
    entries:
      NAME: {task: TASK, data: [PATTERN, …], media: FOLDER, settings: {…}}

Patterns and folders are relative to the data folder. Every entry is a run of its own in a folder
of its name (`runner`), so a suite goes on where it was killed. results.json and report.md hold all.
"""

import json
from collections.abc import Callable
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml  # type: ignore[import-untyped]
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from unisono.errors import DataError, RecipeError
from unisono.evaluation.benchmarks import Benchmark
from unisono.evaluation.fingerprint import model_fingerprint
from unisono.evaluation.report import Results, Subject
from unisono.evaluation.runner import Progress, evaluate, write_whole
from unisono.evaluation.suite_report import SuiteResults, draw_suite, suite_json, suite_markdown
from unisono.evaluation.task import Task
from unisono.evaluation.tasks import make_task


class Entry(BaseModel):
    """One task of a suite.

    Attributes:
        task: its name.
        data: patterns of files below the data folder.
        media: folder below it that paths in rows are relative to.
        settings: of the task.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str
    data: tuple[str, ...] = Field(min_length=1)
    media: str | None = None
    settings: dict[str, Any] = Field(default_factory=dict)


class Suite(BaseModel):
    """Tasks by name; see the module."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    title: str
    entries: dict[str, Entry] = Field(min_length=1)


def suite_names() -> list[str]:
    """Those of the package."""
    folder = files("unisono.evaluation") / "suites"
    return sorted(Path(one.name).stem for one in folder.iterdir() if one.name.endswith(".yaml"))


def is_suite(name: str) -> bool:
    """Whether a name is a suite's, rather than a task's."""
    return name in suite_names() or name.endswith((".yaml", ".yml"))


def read_suite(name: str) -> Suite:
    """A suite of the package, or a file.

    Raises:
        RecipeError: there is none, or it is not of the form.
    """
    shipped = files("unisono.evaluation") / "suites" / f"{name}.yaml"
    try:
        text = (shipped if name in suite_names() else Path(name)).read_text(encoding="utf-8")
        return Suite.model_validate(yaml.safe_load(text))
    except OSError as error:
        raise RecipeError(f"the suite '{name}' cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise RecipeError(f"the suite '{name}' is no YAML: {str(error).splitlines()[0]}") from None
    except ValidationError as error:
        fault = error.errors(include_url=False)[0]
        where = ".".join(map(str, fault["loc"])) or "the file"
        raise RecipeError(f"the suite '{name}', {where}: {fault['msg']}") from None


def run_suite(
    suite: Suite,
    data: Path,
    model: str,
    out: Path,
    *,
    command: str = "",
    limit: int | None = None,
    progress: Callable[[str], Progress] | None = None,
) -> SuiteResults:
    """Run every entry whose data are there, or go on with it, and write the report.

    Args:
        suite: what is asked.
        data: folder of the data.
        model: name or folder.
        out: folder of all runs.
        command: noted in the report.
        limit: only so many rows of each.
        progress: entry -> what is told how far it is.

    Raises:
        RecipeError: a task or setting is unknown.
        DataError: no entry has any data.
    """
    tasks = {name: make_task(one.task, **one.settings) for name, one in suite.entries.items()}
    load = _Loading(model)
    results: dict[str, Results] = {}
    missing: dict[str, str] = {}
    for name, entry in suite.entries.items():
        paths = [str(path) for one in entry.data for path in sorted(data.glob(one))]
        if not paths:
            missing[name] = f"there is no '{data / entry.data[0]}'"
            continue
        try:
            rows = tasks[name].open(paths, data / entry.media if entry.media else None)
            results[name] = evaluate(
                tasks[name],
                partial(load, tasks[name]),
                rows,
                out / name,
                subject=Subject(
                    model=model,
                    manifest=" ".join(paths),
                    model_fingerprint=model_fingerprint(model),
                    manifest_fingerprint=rows.fingerprint,
                    command=command,
                ),
                limit=limit,
                progress=None if progress is None else progress(name),
            )
        except DataError as error:
            missing[name] = str(error)
    if not results:
        raise DataError(f"no entry of the suite can be run: {next(iter(missing.values()))}")
    found = SuiteResults(suite.title, model, results, missing, command)
    write_whole(out / "results.json", json.dumps(suite_json(found), indent=2, ensure_ascii=False))
    write_whole(out / "report.md", suite_markdown(found))
    draw_suite(found, out / "scores.png")
    return found


class _Loading:
    """Loads the model that a task asks for; benchmarks of answers share one."""

    def __init__(self, model: str) -> None:
        self._model = model
        self._assistant: Any = None

    def __call__(self, task: Task) -> Any:
        if not isinstance(task, Benchmark):
            return task.load(self._model)
        if self._assistant is None:
            self._assistant = task.load(self._model)
        return self._assistant
