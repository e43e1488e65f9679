"""Suites: every task whose data are there, one report, what is missing and what has moved."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import tiny
from one_thread import one_thread  # noqa: F401 -- a fixture
from test_benchmarks import mmbench, mmmu, mmstar
from typer.testing import CliRunner

from unisono.cli import app
from unisono.errors import DataError, RecipeError
from unisono.evaluation.suite import is_suite, read_suite, run_suite, suite_names
from unisono.evaluation.suite_report import moved_since, read_results
from unisono.evaluation.tasks import TASKS

SUITE = """
title: Two of ours
entries:
  easy: {task: mmstar, data: ["*/mmstar.parquet"], settings: {max_tokens: 4}}
  other: {task: mmmu, data: [nowhere.parquet]}
"""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ola")
    for one in tiny.ola(vision=True):
        one.save_pretrained(folder)
    return folder


@pytest.fixture
def data(tmp_path: Path) -> Path:
    for name, make in {"": mmbench, "MMStar": mmstar, "MMMU/Art": mmmu}.items():
        (tmp_path / "data" / name).mkdir(parents=True, exist_ok=True)
        make(tmp_path / "data" / name)
    (tmp_path / "data/MMMU/Art/validation.parquet").rename(
        tmp_path / "data/MMMU/Art/validation-00000.parquet"
    )
    return tmp_path / "data"


@pytest.fixture
def ours(tmp_path: Path) -> Path:
    (tmp_path / "ours.yaml").write_text(SUITE)
    return tmp_path / "ours.yaml"


def run(*arguments: object, status: int = 0) -> str:
    done = CliRunner().invoke(app, ["eval", *map(str, arguments)])
    assert done.exit_code == status, (done.output, done.exception)
    return done.output


def test_the_suites_of_the_package_name_what_there_is() -> None:
    assert suite_names() == ["ola"]
    suite = read_suite("ola")
    assert {one.task for one in suite.entries.values()} <= set(TASKS)
    assert len({one.task for one in suite.entries.values()}) == 12
    assert is_suite("ola")
    assert not is_suite("mmstar")


def test_one_report_of_all(model: Path, data: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    said = run("ola", data, "-m", model, "-o", out, "--limit", 2)
    assert re.search(r"mmstar +\| accuracy \|".replace(" +", " "), said)
    assert "ocrbench: not run, there is no" in said
    found = json.loads((out / "results.json").read_text())
    assert set(found["entries"]) == {"mmbench", "mmstar", "mmmu"}
    assert len(found["missing"]) == 10
    assert found["entries"]["mmbench"]["rows"] == 2
    assert (out / "scores.png").stat().st_size > 2000
    assert (out / "mmstar" / "predictions.jsonl").is_file()
    before = (out / "report.md").read_text()
    run("ola", data, "-m", model, "-o", out, "--limit", 2)  # nothing is left to do
    assert (out / "report.md").read_text() == before


def test_a_suite_goes_on_where_it_was_killed(
    model: Path, data: Path, ours: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    first = run_suite(read_suite(str(ours)), data, str(model), out)
    (out / "easy" / "results.json").unlink()
    asked: list[Any] = []
    monkeypatch.setattr(TASKS["mmstar"], "predict", lambda self, *a: asked.append(a))
    again = run_suite(read_suite(str(ours)), data, str(model), out)
    assert not asked
    assert again.results["easy"].scores.keys() == first.results["easy"].scores.keys()


def test_what_has_moved_is_named(model: Path, data: Path, ours: Path, tmp_path: Path) -> None:
    out, earlier = tmp_path / "out", tmp_path / "earlier.json"
    run(ours, data, "-m", model, "-o", out)
    assert "every score is within" in run(ours, data, "-m", model, "-o", out, "--check", out)
    then = json.loads((out / "results.json").read_text())
    score = then["entries"]["easy"]["scores"]["accuracy"]
    score |= {"value": score["value"] + 0.2, "low": score["value"] + 0.1, "high": 2.0}
    then["entries"]["gone"] = {"scores": {"wer": {"value": 0.1, "low": None, "high": None}}}
    earlier.write_text(json.dumps(then))
    said = run(ours, data, "-m", model, "-o", out, "--check", earlier, status=1)
    assert "easy accuracy: was" in said
    assert "gone wer: was 0.1, is not measured" in said
    single = read_results(out / "easy")
    assert moved_since(single, single) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("title: [", "is no YAML"),
        ("title: a", "entries: Field required"),
        ("title: a\nentries: {b: {task: mmstar, data: [x], more: 1}}", "more: Extra inputs"),
        ("title: a\nentries: {b: {task: chess, data: [x]}}", "there is no task 'chess'"),
        ("title: a\nentries: {b: {task: mmstar, data: [x], settings: {c: 1}}}", "setting 'c'"),
    ],
)
def test_a_suite_that_is_wrong(text: str, message: str, data: Path, tmp_path: Path) -> None:
    (tmp_path / "wrong.yaml").write_text(text)
    with pytest.raises(RecipeError, match=message):
        run_suite(read_suite(str(tmp_path / "wrong.yaml")), data, "none", tmp_path / "out")


def test_nothing_to_run(model: Path, ours: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no entry of the suite can be run: there is no"):
        run_suite(read_suite(str(ours)), tmp_path / "empty", str(model), tmp_path / "out")
    with pytest.raises(RecipeError, match="cannot be read"):
        read_suite("nothing.yaml")
    assert "name the model" in run("ola", tmp_path, status=2)


def test_the_nano_suite_measures_the_card(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without data every number is missing, which is said, number by number."""
    from unisono.picturebook import bars

    monkeypatch.setattr(bars, "load_embedder", lambda name: None)
    said = run("nano", tmp_path, status=1)
    known = json.loads(bars.card_numbers("onepeace-nano").read_text())
    assert len(known["findings"]) == 10
    for one in known["findings"]:
        assert f"{one['what']} ({one['split']}): was" in said
    assert "no numbers of 'mine'" in run("nano", tmp_path, "-m", "mine", status=2)
