"""`unisono index`: bring a library up to date with folders."""

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from unisono.cli.options import DeviceOption, DtypeOption, LibraryOption, torch_dtype
from unisono.errors import DataError

if TYPE_CHECKING:
    from unisono.retrieval import IndexReport, Progress
    from unisono.retrieval.indexing import Work
    from unisono.runtime import Embedder

_SHOWN = 20


def index(
    sources: Annotated[list[str], typer.Argument(metavar="DIR…", help="Folders and files.")],
    library: LibraryOption,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="By default the library's own.")
    ] = None,
    device: DeviceOption = None,
    dtype: DtypeOption = None,
    skip_errors: Annotated[
        bool, typer.Option("--skip-errors", help="Note files that cannot be read, and go on.")
    ] = False,
    retry: Annotated[
        bool, typer.Option("--retry", help="Try files again that failed before.")
    ] = False,
    engine: Annotated[str, typer.Option(help="local, or ray.")] = "local",
    ray_address: Annotated[str | None, typer.Option(help="Of a Ray cluster.")] = None,
) -> None:
    """Make folders searchable: pictures, sounds, videos, texts and PDF.

    New and changed files are read, moved ones keep their vectors, deleted ones are forgotten.
    Interrupted, it goes on where it was when it is called again.
    """
    from unisono.retrieval.library import Library, library_model
    from unisono.runtime import load_embedder

    name = model or library_model(library)
    embedder = load_embedder(name, device=device, dtype=torch_dtype(dtype))
    opened = Library(library, embedder)
    with _Bar() as bar:
        report = opened.index(
            sources,
            skip_errors=skip_errors,
            retry=retry,
            engine=_engine(engine, name, ray_address, embedder),
            progress=bar.update,
        )
    _show(report, len(opened), library)


def _engine(engine: str, model: str, address: str | None, embedder: "Embedder") -> "Work | None":
    if engine == "local":
        return None
    if engine != "ray":
        raise DataError(f"engine must be local or ray, but is {engine!r} instead")
    from unisono.retrieval.ray_engine import on_ray

    return on_ray(model, address=address, dtype=embedder.model.dtype)


class _Bar:
    """A line on a terminal: how far, how fast, how long still. Nothing where nobody looks."""

    def __enter__(self) -> "_Bar":
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn
        from rich.progress import TimeRemainingColumn as Remaining

        console = Console(stderr=True)
        rate = TextColumn("{task.fields[rate]}")
        columns = (TextColumn("Indexing"), BarColumn(), MofNCompleteColumn(), rate, Remaining())
        self._bar = Progress(*columns, console=console, disable=not console.is_terminal)
        self._task = self._bar.add_task("", total=None, rate="")
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def update(self, progress: "Progress") -> None:
        rate = f"{progress.files_per_s:.1f} files/s"
        if progress.failed:
            rate += f", {progress.failed} failed"
        self._bar.update(self._task, total=progress.total, completed=progress.done, rate=rate)


def _show(report: "IndexReport", pieces: int, library: str) -> None:
    parts = {
        "new": report.new,
        "moved or copied": report.again,
        "deleted": report.deleted,
        "unchanged": report.unchanged,
        "passed over": report.passed_over,
    }
    said = ", ".join(f"{count} {what}" for what, count in parts.items() if count)
    print(f"{said or 'nothing to do'}: {pieces} pieces in {library}")
    for failure in report.failures[:_SHOWN]:
        print(f"unisono: {failure.reason}", file=sys.stderr)
    if len(report.failures) > _SHOWN:
        print(f"unisono: … and {len(report.failures) - _SHOWN} more", file=sys.stderr)
