"""`unisono curate`: a data set of conversations from raw videos."""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unisono.cli.options import ModelOption
from unisono.errors import DataError, MediaNotFoundError

if TYPE_CHECKING:
    from unisono.curation.engines import Engine
    from unisono.curation.runner import Curated

_FORMS = "ola (JSON and patch files), webdataset or parquet; may be given again."


def curate(
    sources: Annotated[list[Path], typer.Argument(metavar="SOURCE…", help="Videos and folders.")],
    out: Annotated[Path, typer.Option("--out", "-o", metavar="DIR", help="For everything.")],
    engine: Annotated[str, typer.Option(help="local, or ray.")] = "local",
    ray_address: Annotated[str | None, typer.Option(help="Of a Ray cluster.")] = None,
    workers: Annotated[int, typer.Option(min=1, help="Processes that work at once.")] = 1,
    shortest: Annotated[float, typer.Option(help="Seconds of the shortest clip.")] = 5.0,
    longest: Annotated[float, typer.Option(help="Seconds of the longest clip.")] = 60.0,
    language: Annotated[
        list[str] | None, typer.Option(help="Wanted, a code such as en; may be given again.")
    ] = None,
    sound_labels: Annotated[str | None, typer.Option(help="Sounds to know: dog,rain.")] = None,
    picture_labels: Annotated[str | None, typer.Option(help="Things to know: dog,tree.")] = None,
    embedder: ModelOption = "onepeace-nano",
    most_perplexity: Annotated[float, typer.Option(help="Of what is said, a token.")] = 1500.0,
    least_relevance: Annotated[
        float, typer.Option(help="Share of other sentences less like the picture.")
    ] = 0.3,
    writer: Annotated[str, typer.Option(help="Of questions: templates, model or both.")] = (
        "templates"
    ),
    chat: Annotated[str, typer.Option(help="The model that writes and checks.")] = "ola-nano",
    endpoint: Annotated[
        str | None, typer.Option(metavar="URL", help="An OpenAI-compatible server in its place.")
    ] = None,
    endpoint_model: Annotated[str, typer.Option(help="The model's name there.")] = "",
    endpoint_key_file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="With the server's key.")
    ] = None,
    check: Annotated[
        bool, typer.Option(help="Drop questions that can be answered without the media.")
    ] = True,
    must_answer: Annotated[
        bool, typer.Option("--must-answer", help="Drop what the model cannot answer at all.")
    ] = False,
    form: Annotated[list[str] | None, typer.Option("--format", "-f", help=_FORMS)] = None,
    seed: Annotated[int, typer.Option(help="Of the splits.")] = 0,
) -> None:
    """Make cross-modal conversations of videos: clips, subtitles, filters, questions, checks.

    Everything that is left out is kept with its reason; out/report has the funnel. Stopped or
    killed, the same command goes on where it was.
    """
    from unisono.curation.options import plan_of
    from unisono.curation.runner import curate as run

    given = {
        "shortest_s": shortest,
        "longest_s": longest,
        "languages": tuple(language or ()),
        "embedder": embedder,
        "most_perplexity": most_perplexity,
        "least_relevance": least_relevance,
        "writer": writer,
        "chat": chat,
        "endpoint": endpoint,
        "endpoint_model": endpoint_model,
        "endpoint_key": _key(endpoint_key_file),
        "check": check,
        "must_answer": must_answer,
        "forms": tuple(form or ("ola",)),
        "seed": seed,
    }
    for name, labels in (("sound_labels", sound_labels), ("picture_labels", picture_labels)):
        if labels is not None:
            given[name] = tuple(one.strip() for one in labels.split(",") if one.strip())
    plan = plan_of(_options(given))
    with _Bar() as bar:
        made = run(sources, out, plan, engine=_engine(engine, ray_address, workers), progress=bar)
    _show(made, out)


def _options(given: dict[str, object]):  # type: ignore[no-untyped-def] # a late import's type
    from pydantic import ValidationError

    from unisono.curation.options import Options

    try:
        return Options.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=True)[0]
        name = ".".join(str(step) for step in first["loc"])
        raise DataError(f"{name}: {first['msg']}, but is {first['input']!r}") from None


def _key(path: Path | None) -> str:
    if path is None:
        return ""
    try:
        return path.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise MediaNotFoundError(f"the key in '{path}' cannot be read: {error.strerror}") from None


def _engine(engine: str, address: str | None, workers: int) -> "Engine":
    from unisono.curation.engines import InProcess, Processes

    if engine == "local":
        return InProcess() if workers == 1 else Processes(workers)
    if engine != "ray":
        raise DataError(f"engine must be local or ray, but is {engine!r} instead")
    from unisono.curation.ray_engine import OnRay

    return OnRay(address, None if workers == 1 else workers)


class _Bar:
    """A line a stage on a terminal: how far, how fast, how long still."""

    def __enter__(self) -> "_Bar":
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeRemainingColumn as Remaining

        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
        self._bar = Progress(
            *columns, Remaining(), console=console, disable=not console.is_terminal
        )
        self._tasks: dict[str, int] = {}
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def __call__(self, stage: str, done: int, total: int) -> None:
        if stage not in self._tasks:
            self._tasks[stage] = self._bar.add_task(stage, total=total)
        self._bar.update(self._tasks[stage], completed=done, total=total)  # type: ignore[arg-type]


def _show(made: "Curated", out: Path) -> None:
    from unisono.curation.funnel import as_markdown

    table, _, _ = as_markdown(made.steps).partition("\n\n")
    print(table)
    questions = sum(len(case.questions.kept) for case in made.cases if case.questions)
    print(f"{len(made.cases)} clips with {questions} questions in {out / 'dataset'}")
    if not made.cases:
        print(f"unisono: nothing is left; {out / 'report'} says why", file=sys.stderr)
