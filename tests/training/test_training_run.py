"""Recipes are trained from their first stage to a model that loads; what is done stays done."""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

import unisono
from unisono.errors import CheckpointError, RecipeError
from unisono.runtime import Predictor
from unisono.training import reporting
from unisono.training.model_config import DENSE_HEADS
from unisono.training.parts import part_of
from unisono.training.recipe import Recipe
from unisono.training.recipe_read import read_recipe, recipe_names
from unisono.training.run import train

ROOT = Path(__file__).parents[2]
QUICK = ("ola-7b/tiny", "onepeace-4b/tiny", "finetune/ola-lora-tiny")
TWINS = [
    name if name in QUICK else pytest.param(name, marks=pytest.mark.slow)
    for name in recipe_names()
    if "tiny" in name
]


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("toy")
    script = ROOT / "examples" / "toy_data.py"
    subprocess.run(
        [sys.executable, script, folder, "--count", "20"], check=True, capture_output=True
    )
    return folder


@pytest.fixture(autouse=True)
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than training here; the tests of the loop look at it."""
    monkeypatch.setattr(reporting, "draw_curves", lambda *_: False)


def recipe_of(name: str, toy: Path, out: Path, *overrides: str) -> Recipe:
    return read_recipe(name, [f"data_dir={toy}", f"out={out}", *overrides])


def journal(out: Path) -> list[dict[str, Any]]:
    lines = [
        line
        for path in sorted(out.rglob("journal.jsonl"))
        for line in path.read_text().splitlines()
    ]
    return [json.loads(line) for line in lines]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_file(folder / "model.safetensors")


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def only_stages(recipe: Recipe, names: Sequence[str]) -> Recipe:
    stages = tuple(stage for stage in recipe.stages if stage.name in names)
    return recipe.model_copy(update={"stages": stages})


@pytest.mark.parametrize("name", TWINS)
def test_every_twin_trains_to_a_model_that_loads(name: str, toy: Path, tmp_path: Path) -> None:
    recipe = recipe_of(name, toy, tmp_path / "run")
    folder = train(recipe)
    assert folder == tmp_path / "run" / "stages" / recipe.stages[-1].name / "model"
    steps = journal(tmp_path / "run")
    assert len(steps) == 20
    assert all(step["loss"] == step["loss"] for step in steps)
    loaded = unisono.load(folder)
    if recipe.model.head in DENSE_HEADS:
        check_seen(loaded, toy)
    elif recipe.model.family == "ola":
        assert isinstance(loaded.chat("Hello", max_new_tokens=2).text, str)
    elif recipe.model.head is not None:
        check_answer(loaded)
    else:
        vectors = loaded.embed(text=["a red circle", "a low hum"])
        assert torch.isfinite(torch.as_tensor(vectors)).all()
    again = (tmp_path / "run" / "recipe.yaml").read_text()
    assert recipe.title in again


def check_seen(predictor: Predictor, toy: Path) -> None:
    (picture,) = sorted((toy / "png").glob("0000.png"))
    if predictor.inputs == ("video",):
        answer = predictor.predict(video=toy / "mp4" / "0000.mp4")
        assert sum(answer.labels.values()) == pytest.approx(1, abs=1e-4)
        return
    answer = predictor.predict(image=picture)
    if predictor.task == "segment":
        assert answer.segmentation is not None
        assert answer.segmentation.classes.shape == (64, 64)
    else:
        assert {thing.name for thing in answer.things} <= {"circle", "square", "triangle", "cross"}


def check_answer(predictor: Predictor) -> None:
    picture, sound = Image.new("RGB", (64, 48), "red"), np.ones(20_000, dtype=np.float32)
    item = {"text": "which?", "image": picture, "image_2": picture, "audio": (sound, 16_000)}
    item["choices"] = ["hum", "buzz", "hiss", "silence"]
    answer = predictor.predict(**{name: item[name] for name in predictor.inputs})
    if predictor.task == "ground":
        assert answer.box is not None
        assert all(0 <= one <= 64 for one in answer.box)
    else:
        assert all(0 <= share <= 1 for share in answer.labels.values())


def test_each_stage_changes_its_parts_alone(toy: Path, tmp_path: Path) -> None:
    short = [f"stages.{name}.length.steps=2" for name in ("1_1", "3_1", "3_2")]
    recipe = only_stages(recipe_of("ola-7b/tiny", toy, tmp_path, *short), ("1.1", "3.1", "3.2"))
    train(recipe)
    states = [weights(tmp_path / "stages" / s.name / "model") for s in recipe.stages]
    for before, after, stage in zip(states, states[1:], recipe.stages[1:], strict=False):
        changed = {part_of(n) for n in after if not torch.equal(before[n], after[n])}
        assert changed == set(stage.trainable)


def test_done_stages_are_skipped_and_a_run_repeats(toy: Path, tmp_path: Path) -> None:
    short = ("stages.1.length.steps=3", "stages.2.length.steps=3")
    first = recipe_of("onepeace-4b/tiny", toy, tmp_path / "a", *short)
    train(only_stages(first, ("1",)))
    written = (tmp_path / "a" / "stages" / "1" / "done.json").stat().st_mtime_ns
    folder = train(first)  # goes on with stage 2
    assert (tmp_path / "a" / "stages" / "1" / "done.json").stat().st_mtime_ns == written
    at_once = train(recipe_of("onepeace-4b/tiny", toy, tmp_path / "b", *short))
    assert equal(weights(folder), weights(at_once))
    assert [s["loss"] for s in journal(tmp_path / "a")] == [
        s["loss"] for s in journal(tmp_path / "b")
    ]
    assert train(first) == folder  # nothing is left to do
    assert not list((tmp_path / "a").rglob("step-*"))


def test_another_recipe_does_not_go_on_in_the_same_folder(toy: Path, tmp_path: Path) -> None:
    short = ("stages.1.length.steps=1", "stages.2.length.steps=1")
    train(recipe_of("onepeace-4b/tiny", toy, tmp_path, *short))
    other = recipe_of("onepeace-4b/tiny", toy, tmp_path, *short, "stages.1.optimizer.lr=0.5")
    with pytest.raises(CheckpointError, match=r"optimizer.lr was 0.001, is 0.5.*--fresh"):
        train(other)
    (tmp_path / "mine.txt").write_text("kept")
    train(other, resume=False)
    assert (tmp_path / "mine.txt").read_text() == "kept"


def test_a_stage_trained_anew_makes_later_ones_stale(toy: Path, tmp_path: Path) -> None:
    short = ("stages.1.length.steps=1", "stages.2.length.steps=1")
    recipe = recipe_of("onepeace-4b/tiny", toy, tmp_path, *short)
    train(recipe)
    then = (tmp_path / "stages" / "2" / "done.json").stat().st_mtime_ns
    (tmp_path / "stages" / "1" / "done.json").unlink()
    train(recipe)
    assert (tmp_path / "stages" / "2" / "done.json").stat().st_mtime_ns > then


def test_an_average_is_saved_beside_the_weights(toy: Path, tmp_path: Path) -> None:
    recipe = recipe_of(
        "onepeace-4b/tiny", toy, tmp_path, "stages.1.optimizer.ema=0.5", "stages.1.length.steps=2"
    )
    train(only_stages(recipe, ("1",)))
    last, average = (weights(tmp_path / "stages" / "1" / n) for n in ("model", "averaged"))
    assert last.keys() == average.keys()
    assert not equal(last, average)
    audio = [n for n in last if ".audio." in n and not n.startswith("decoder")]
    assert all(torch.equal(last[n], average[n]) for n in audio)  # frozen


def test_nothing_is_begun_when_data_are_missing(tmp_path: Path) -> None:
    recipe = recipe_of("onepeace-4b/tiny", tmp_path / "nowhere", tmp_path / "run")
    with pytest.raises(RecipeError, match="there is no"):
        train(recipe)
    assert not (tmp_path / "run").exists()


def test_epochs_are_counted_in_rows(toy: Path, tmp_path: Path) -> None:
    recipe = recipe_of("onepeace-4b/tiny", toy, tmp_path, "stages.1.length={epochs: 1}")
    train(only_stages(recipe, ("1",)))
    rows = len((toy / "image_captions.jsonl").read_text().splitlines())
    seen = sum(step["samples"] for step in journal(tmp_path))
    assert rows <= seen < rows + 8


def test_a_strategy_is_trained_as_one_stage(toy: Path, tmp_path: Path) -> None:
    short = [f"stages.{n}.length.steps=1" for n in ("1_1", "1_2", "1_3", "2", "3_1", "3_2")]
    recipe = recipe_of("ola-7b/tiny", toy, tmp_path, "strategy=balanced_sampling", *short)
    assert train(recipe) == tmp_path / "stages" / "balanced_sampling" / "model"
    assert len(journal(tmp_path)) == 6


@pytest.mark.slow
@pytest.mark.parametrize("distribution", ["ddp", "fsdp"])
def test_two_processes_train_under_torchrun(distribution: str, toy: Path, tmp_path: Path) -> None:
    for name in ("onepeace-4b/tiny", "ola-nano/tiny"):
        out = tmp_path / name.replace("/", "-")
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2"]
        command += ["--standalone", "-m", "unisono", "train", name, f"data_dir={toy}"]
        settings = [f"out={out}", f"distribution={distribution}"]
        done = subprocess.run(
            [*command, *settings], capture_output=True, text=True, check=False, timeout=300
        )
        assert done.returncode == 0, done.stderr[-2000:]
        last = max((out / "stages").iterdir())
        unisono.load(last / "model")
