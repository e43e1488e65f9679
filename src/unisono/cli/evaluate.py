"""`unisono eval`: scores of a model, of one task or of a suite; two models compared."""

import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unisono.errors import RecipeError

if TYPE_CHECKING:
    from unisono.evaluation import Comparison, Results
    from unisono.evaluation.runner import Progress

_MOST_FAILED = 5
TASK_NAMES = "answers, transcription, retrieval, perplexity, a benchmark or a suite"
NANO = "nano"
"""The suite of the model cards' numbers, on the picturebook."""


def evaluate(
    task: Annotated[str, typer.Argument(metavar="TASK", help=f"{TASK_NAMES}: docs/evaluation.md.")],
    manifest: Annotated[
        list[str], typer.Argument(metavar="MANIFEST...", help="The data; of a suite, its folder.")
    ],
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="A model of `unisono models`, or a folder.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Of the run; by default below eval/."),
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first rows.")] = None,
    compare: Annotated[
        Path | None,
        typer.Option("--compare", metavar="DIR", help="Another run of this task to compare with."),
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            "--check", metavar="DIR", help="Fail if a score left its interval in an earlier run."
        ),
    ] = None,
    media: Annotated[
        Path | None,
        typer.Option("--media", metavar="DIR", help="What paths in rows are relative to."),
    ] = None,
    page: Annotated[
        bool, typer.Option("--page", help="Also write samples.html: media, answers, references.")
    ] = False,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="A setting of the task; again for more."),
    ] = None,
) -> None:
    """Score a model on the rows of a manifest, with 95 % confidence intervals.

    Predictions are noted as they come: interrupted or killed, the same command goes on. The folder
    holds predictions.jsonl, results.json and report.md. A suite has such a folder for each task,
    and one report; "nano" measures every number of the model cards again, and checks it.
    """
    from unisono import evaluation
    from unisono.evaluation.suite import is_suite

    if task == NANO:
        raise typer.Exit(_nano(manifest, model, check))
    if model is None:
        raise typer.BadParameter("name the model with --model")
    if is_suite(task):
        _suite(task, manifest, model, out, limit)
        folder = out or Path("eval") / _folder_name(task, model, ())
        return _check(folder, check)
    chosen = evaluation.make_task(task, **_settings(settings or []))
    rows = chosen.open(manifest, media)
    subject = evaluation.Subject(
        model=model,
        manifest=" ".join(manifest),
        model_fingerprint=evaluation.model_fingerprint(model),
        manifest_fingerprint=rows.fingerprint,
        command=shlex.join(["unisono", *sys.argv[1:]]),
    )
    folder = out or Path("eval") / _folder_name(task, model, manifest)
    with _bar() as progress:
        results = evaluation.evaluate(
            chosen,
            partial(chosen.load, model),
            rows,
            folder,
            subject=subject,
            limit=limit,
            progress=progress,
        )
    _show(results, folder)
    if page:
        _write_page(results, rows, folder)
    if compare is not None:
        _show_comparison(evaluation.compare(chosen, compare, folder), compare)
    _check(folder, check)


def _nano(data: Sequence[str], model: str | None, check: Path | None) -> int:
    """The bars of the small models against the numbers of their cards."""
    from unisono.picturebook import bars

    if len(data) != 1:
        raise typer.BadParameter("name the folder that `unisono picturebook` made, and no more")
    return bars.measure_cards(Path(data[0]), model or bars.CARDS[0], check)


def _suite(name: str, data: Sequence[str], model: str, out: Path | None, limit: int | None) -> None:
    from unisono.evaluation.suite import read_suite, run_suite
    from unisono.evaluation.suite_report import suite_markdown

    if len(data) != 1:
        raise typer.BadParameter(f"the suite {name} takes one folder of data")
    folder = out or Path("eval") / _folder_name(name, model, ())
    found = run_suite(
        read_suite(name),
        Path(data[0]),
        model,
        folder,
        command=shlex.join(["unisono", *sys.argv[1:]]),
        limit=limit,
        progress=_told,
    )
    print(suite_markdown(found))
    print(f"report: {folder / 'report.md'}")


def _told(entry: str) -> "Progress":
    """A line on stderr when an entry begins, and one when it has ended."""
    said: set[str] = set()

    def tell(done: int, total: int | None) -> None:
        line = f"{entry}: done" if done == total else f"{entry}: {total or 'unknown'} rows"
        if line not in said and sys.stderr.isatty():
            print(line, file=sys.stderr)
        said.add(line)

    return tell


def _check(folder: Path, earlier: Path | None) -> None:
    if earlier is None:
        return
    from unisono.evaluation.suite_report import moved_since, read_results

    if lines := moved_since(read_results(folder), read_results(earlier)):
        print("\n".join(lines))
        raise typer.Exit(1)
    print(f"every score is within its interval in '{earlier}'")


def _settings(given: Sequence[str]) -> dict[str, str]:
    pairs = [one.partition("=") for one in given]
    for key, equals, value in pairs:
        if not (key and equals):
            raise RecipeError(
                f"a setting must be KEY=VALUE, but is {key + equals + value!r} instead"
            )
    return {key: value for key, _, value in pairs}


def _folder_name(task: str, model: str, manifest: Sequence[str]) -> str:
    names = [task, Path(model).name, *(Path(one).stem for one in manifest)]
    return re.sub(r"[^\w.-]+", "_", "-".join(names))[:120]


@contextmanager
def _bar() -> "Iterator[Progress]":
    """A bar with rate and time left; nothing where nobody watches."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    columns = (
        TextColumn("Evaluating"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        bar = bars.add_task("rows", total=None, rate="")

        def tell(done: int, total: int | None) -> None:
            speed = bars.tasks[0].speed
            rate = f"{speed:.1f} rows/s" if speed else ""
            bars.update(bar, completed=done, total=total, rate=rate)

        yield tell


def _show(results: "Results", folder: Path) -> None:
    from rich.console import Console
    from rich.table import Table

    from unisono.evaluation.report import table

    shown = Table(title=f"{results.task}: {results.subject.model}")
    for heading in ("metric", "score", "95 % interval", "samples", "better"):
        words = heading in ("metric", "better")
        shown.add_column(heading, justify="left" if words else "right", no_wrap=True)
    for cells in table(results):
        shown.add_row(*cells)
    Console().print(shown)
    if results.failed:
        counts = f"{results.left_out} left out, {results.wrong} counted as wrong"
        print(f"{len(results.failed)} of {results.count} rows failed: {counts}")
        for one in results.failed[:_MOST_FAILED]:
            print(f"  {one.name}: {one.error}")
    print(f"report: {folder / 'report.md'}")


def _write_page(results: "Results", rows: Any, folder: Path) -> None:
    from unisono.evaluation.predictions import read_predictions
    from unisono.evaluation.sample_page import write_sample_page

    predictions = read_predictions(folder / "predictions.jsonl")
    write_sample_page(results, rows, predictions, folder / "samples.html")
    print(f"samples: {folder / 'samples.html'}")


def _show_comparison(comparisons: "list[Comparison]", other: Path) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from unisono.evaluation.report import shown, shown_interval

    title = f"Against {other}, on the rows both have"
    table = Table(title=title, box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for heading in ("metric", "other", "this", "change", "95 % interval", "p", "n"):
        table.add_column(heading, justify="left" if heading == "metric" else "right", no_wrap=True)
    for one in comparisons:
        difference = one.difference
        table.add_row(
            one.metric,
            shown(one.first.value, one.first),
            shown(one.second.value, one.second),
            shown(difference.value, one.second, signed=True),
            shown_interval(difference.interval, one.second, signed=True),
            f"{difference.p_value:.4f}",
            str(difference.count),
        )
    Console().print(table)
