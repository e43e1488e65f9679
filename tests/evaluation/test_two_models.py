"""Two seeds of a small model do not differ; one with a shuffled connector is found to be worse."""

import json
import random
from pathlib import Path

import pytest
import torch
from one_thread import one_thread  # noqa: F401 -- a fixture
from PIL import Image
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from unisono.cli import app
from unisono.evaluation import Difference, compare, make_task
from unisono.training.recipe_read import read_recipe
from unisono.training.run import train

pytestmark = pytest.mark.slow

COLOURS = {"red": (200, 30, 30), "green": (30, 180, 30), "blue": (30, 30, 200), "white": (240,) * 3}
TRAINED, ASKED = 200, 100
LEARNING = {
    "sources.conversations.path": "train.jsonl",
    "stages.full.trainable": "[vision, vision_connector, language_model]",
    "stages.full.length.steps": 300,
    "stages.full.batch.tokens": 512,
    "stages.full.optimizer.lr": 3e-3,
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures of one colour each, in many shades, and a question about it."""
    folder = tmp_path_factory.mktemp("colours")
    draws = random.Random(0)
    for name, count in (("train", TRAINED), ("test", ASKED)):
        lines = []
        for number in range(count):
            colour = draws.choice(list(COLOURS))
            shade = [min(255, max(0, value + draws.randint(-15, 15))) for value in COLOURS[colour]]
            path = folder / f"{name}{number}.png"
            Image.new("RGB", (64, 64), tuple(shade)).save(path)
            question = [{"type": "image", "image": path.name}, {"type": "text", "text": "Colour?"}]
            turns = [
                {"role": "user", "content": question},
                {"role": "assistant", "content": colour},
            ]
            lines.append(json.dumps({"messages": turns}))
        (folder / f"{name}.jsonl").write_text("\n".join(lines) + "\n")
    return folder


@pytest.fixture(scope="module")
def runs(data: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of `unisono eval answers`: two seeds, and the second with a broken connector."""
    place = tmp_path_factory.mktemp("models")
    overrides = [f"{key}={value}" for key, value in LEARNING.items()]
    models = {}
    for seed in (0, 1):
        own = [f"data_dir={data}", f"out={place / str(seed)}", f"seed={seed}"]
        models[f"seed {seed}"] = train(read_recipe("finetune/ola-full-tiny", [*overrides, *own]))
    models["broken"] = broken(models["seed 1"], place / "broken")
    folders = {}
    for name, model in models.items():
        folders[name] = place / "runs" / name
        command = ["eval", "answers", str(data / "test.jsonl"), "-m", str(model)]
        done = CliRunner().invoke(app, [*command, "-o", str(folders[name])])
        assert done.exit_code == 0, done.output
    return folders


def broken(model: Path, folder: Path) -> Path:
    """A copy whose vision connector says the right things in the wrong places."""
    folder.mkdir()
    for file in model.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    weights = load_file(folder / "model.safetensors")
    torch.manual_seed(0)
    shuffled = [n for n in weights if "vision_connector" in n and weights[n].dim() == 2]
    for name in shuffled:
        weights[name] = weights[name][torch.randperm(len(weights[name]))].contiguous()
    assert shuffled
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def difference(first: Path, second: Path) -> Difference:
    (found,) = [
        one for one in compare(make_task("answers"), first, second) if one.metric == "exact_match"
    ]
    return found.difference


def test_two_seeds_do_not_differ(runs: dict[str, Path]) -> None:
    found = difference(runs["seed 0"], runs["seed 1"])
    assert found.count == ASKED
    assert found.p_value > 0.05
    results = json.loads((runs["seed 0"] / "results.json").read_text())
    assert results["scores"]["exact_match"]["value"] > 0.9  # there was something to learn


def test_a_shuffled_connector_is_found_to_be_worse(runs: dict[str, Path]) -> None:
    for seed in ("seed 0", "seed 1"):
        found = difference(runs[seed], runs["broken"])
        assert found.value < -0.3
        assert found.p_value < 0.001


def test_a_run_is_held_against_an_earlier_one(runs: dict[str, Path], data: Path) -> None:
    """`--check` passes on a run itself, and fails on that of the broken model."""
    command = ["eval", "answers", str(data / "test.jsonl"), "-o", str(runs["seed 1"])]
    model = json.loads((runs["seed 1"] / "run.json").read_text())["model"]
    for earlier, status in (("seed 1", 0), ("broken", 1)):
        done = CliRunner().invoke(app, [*command, "-m", model, "--check", str(runs[earlier])])
        assert done.exit_code == status, done.output
