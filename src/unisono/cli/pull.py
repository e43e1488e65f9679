"""`unisono pull`: fetch models and parts, verify them, repair what is damaged."""

import json
from typing import Annotated

import typer
from rich.console import Console

from unisono.hub import Part, fetch_part, load_catalog


def pull(
    names: Annotated[list[str], typer.Argument(metavar="NAME...", help="Models or parts.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print what stands where.")] = False,
) -> None:
    """Fetch models and parts, and verify every byte of what is there already."""
    parts = _parts(names)
    folders = {part.name: str(fetch_part(part.name, repair=True)) for part in parts}
    if as_json:
        typer.echo(json.dumps(folders, indent=2))
        return
    console = Console()
    for part in parts:
        line = f"{part.name}: {part.size_bytes / 1e6:,.1f} MB verified in {folders[part.name]}"
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def _parts(names: list[str]) -> list[Part]:
    """The parts behind all names, each once; a wrong name is found before anything is fetched."""
    catalog = load_catalog()
    found = [part for name in names for part in catalog.parts_of(name)]
    return list({part.name: part for part in found}.values())
