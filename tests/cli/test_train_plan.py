"""`unisono train`: plans and lists; what is wrong ends with code 2 and one line."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from unisono.cli import app
from unisono.training.recipe_read import recipe_names

RUN = CliRunner()


def test_the_list() -> None:
    done = RUN.invoke(app, ["train", "--list"], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    for name in recipe_names():
        assert name in done.output


@pytest.mark.parametrize("name", ["ola-7b/progressive", "onepeace-4b/pretrain"])
def test_a_dry_run_prints_the_plan(name: str) -> None:
    done = RUN.invoke(app, ["train", name, "--dry-run", "--ranks", "8"], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    for heading in (
        "Stages",
        "Learning rates",
        "Data:",
        "Parts and what trains",
        "Memory",
        "8 FSDP",
    ):
        assert heading in done.output


def test_overrides_reach_the_plan() -> None:
    arguments = ["train", "onepeace-4b/tiny", "stages.0.optimizer.lr=0.0625", "--dry-run"]
    assert "0.0625" in RUN.invoke(app, arguments, env={"COLUMNS": "200"}).output


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "a recipe must be named"),
        (["ola-7b/progresive", "--dry-run"], "did you mean 'ola-7b/progressive'?"),
        (["ola-7b/tiny", "stages.0.optimizer.lr=fast", "--dry-run"], "stages.1_1.optimizer.lr"),
        (["ola-7b/tiny", "stages.0.trainable=[eyes]"], "names eyes"),
        (
            ["ola-7b/tiny", "data_dir=nowhere"],
            "stage 1.1, source image_captions: there is no 'nowhere",
        ),
    ],
)
def test_what_is_wrong_is_one_line_and_code_2(
    arguments: list[str], line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = RUN.invoke(app, ["train", *arguments])
    assert done.exit_code == 2
    assert line in done.stderr
    assert done.stderr.startswith("unisono: ")
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())  # nothing was begun
