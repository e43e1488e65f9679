"""`unisono models`: what there is to load and fetch, and what is on this machine."""

import json
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from unisono.hub import Cache, Catalog, Part, load_catalog


def models(
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List models and parts: kind, size, licence, and whether they are on this machine."""
    rows = _rows(load_catalog())
    if as_json:
        typer.echo(json.dumps(rows, indent=2, ensure_ascii=False))
    else:
        Console().print(_table(rows))


def _rows(catalog: Catalog) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for model in catalog.models.values():
        parts = catalog.parts_of(model.name)
        row = _row(model.name, model.kind, model.summary, model.licence, parts)
        rows.append(row | {"parts": model.parts})
    for part in catalog.parts.values():
        rows.append(_row(part.name, "part", part.summary, part.licence, [part]))
    return rows


def _row(name: str, kind: str, summary: str, licence: str, parts: list[Part]) -> dict[str, Any]:
    cache = Cache.at(None)
    return {
        "name": name,
        "kind": kind,
        "summary": summary,
        "licence": licence,
        "size_bytes": sum(part.size_bytes for part in parts),
        "cached": all(cache.looks_complete(part) for part in parts),
    }


def _table(rows: list[dict[str, Any]]) -> Table:
    table = Table("name", "kind", "size", "licence", "cached")
    table.columns[0].no_wrap = True
    table.columns[2].justify = "right"
    for row in rows:
        size = f"{row['size_bytes'] / 1e6:,.0f} MB"
        cached = "yes" if row["cached"] else "no"
        table.add_row(row["name"], row["kind"], size, row["licence"], cached)
    return table
