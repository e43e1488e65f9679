"""The licence table of the picturebook's sources."""

import re
from pathlib import Path

import pytest

from unisono.hub import Catalog, load_catalog
from unisono.picturebook import licences
from unisono.picturebook.licences import ABOUT_WEIGHTS, licence_table, main, used_parts
from unisono.picturebook.packages import SOURCES

DOCS = Path(__file__).parents[2] / "docs" / "picturebook.md"


def named_in(path: Path) -> set[str]:
    return set(re.findall(r"^\[parts\.([a-z0-9._-]+)\]$", path.read_text(), re.MULTILINE))


def test_every_package_of_the_sources_is_in_the_table() -> None:
    own = {name for path in SOURCES.glob("*.toml") for name in named_in(path)}
    rows = licence_table().splitlines()[2:]
    shown = {row.split(" | ")[0].removeprefix("| ") for row in rows}
    assert own <= shown
    assert {"tuxpaint-stamps-default", "piper-en-us-joe-medium"} <= shown - own
    assert len(rows) == len(shown)


def test_what_only_the_models_are_made_of_is_not() -> None:
    names = {part.name for part in used_parts()}
    assert (
        not {name for name in load_catalog().parts if name.startswith(("smollm", "whisper"))}
        & names
    )


def test_a_row_says_all() -> None:
    part = next(one for one in used_parts() if one.name == "openmoji")
    row = next(line for line in licence_table().splitlines() if line.startswith("| openmoji |"))
    for text in (part.licence, part.attribution, part.home, "@iconify-json/openmoji@"):
        assert text in row


def test_a_bar_does_not_end_a_cell() -> None:
    part = used_parts()[0].model_copy(update={"summary": "this | that"})
    table = licence_table(Catalog(models={}, parts={part.name: part}))
    assert "this \\| that" in table
    assert len(table.splitlines()) == 3


def test_the_command_prints_the_table_and_the_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert main() == 0
    assert capsys.readouterr().out == f"{licence_table()}\n\n{ABOUT_WEIGHTS}\n"


def test_the_docs_have_what_the_command_prints() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert licence_table() in text
    assert licences.ABOUT_WEIGHTS in text
