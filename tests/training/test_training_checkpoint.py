"""Checkpoints are whole or not there, and only believed if they are as written."""

import logging
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_stage
from toy_stage import no_curves

from unisono.errors import CheckpointError
from unisono.training import checkpoint as module
from unisono.training.checkpoint import (
    Snapshot,
    newest_checkpoint,
    read_state,
    save_checkpoint,
)
from unisono.training.distributed import Ranks
from unisono.training.snapshot import generators, load_weights, restore_generators

pytestmark = pytest.mark.usefixtures("no_curves")
__all__ = ["no_curves"]

RECIPE = toy_stage.settings({"steps": 9}, checkpoints={"every_s": None, "every_steps": 3})


def saved(folder: Path, *steps: int, keep: int = 9) -> list[Path]:
    ranks = Ranks()
    tensors = {"weight": torch.arange(50.0)}
    return [
        save_checkpoint(
            folder, Snapshot(step, {"model.safetensors": tensors}, {"x": step}), ranks, keep=keep
        )
        for step in steps
    ]


def test_written_and_read(tmp_path: Path) -> None:
    (path,) = saved(tmp_path, 1234)
    assert path.name == "step-00001234"
    assert newest_checkpoint(tmp_path) == path
    state = read_state(path)
    assert (state["step"], state["x"]) == (1234, 1234)
    assert newest_checkpoint(tmp_path / "nowhere") is None


def test_the_last_few_are_kept(tmp_path: Path) -> None:
    saved(tmp_path, 1, 5, 20, 100, keep=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["step-00000020", "step-00000100"]


def truncated(path: Path) -> None:
    file = path / "model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])


def flipped(path: Path) -> None:
    file = path / "model.safetensors"
    data = bytearray(file.read_bytes())
    data[-7] ^= 1
    file.write_bytes(data)


def without_weights(path: Path) -> None:
    (path / "model.safetensors").unlink()


def without_state(path: Path) -> None:
    (path / "state.json").unlink()


def with_half_a_state(path: Path) -> None:
    file = path / "state.json"
    file.write_bytes(file.read_bytes()[:30])


DAMAGES = (truncated, flipped, without_weights, without_state, with_half_a_state)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_passed_over(
    tmp_path: Path, damage: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    first, second = saved(tmp_path, 10, 20)
    damage(second)
    assert newest_checkpoint(tmp_path) == first
    assert "step-00000020' is damaged" in caplog.text
    assert "the checkpoint before it is taken" in caplog.text


def test_nothing_left_to_read_is_an_error(tmp_path: Path) -> None:
    for path in saved(tmp_path, 10, 20):
        truncated(path)
    with pytest.raises(CheckpointError, match="none of the 2 checkpoints .* can be read; --fresh"):
        newest_checkpoint(tmp_path)


def test_other_versions_are_refused(tmp_path: Path) -> None:
    (path,) = saved(tmp_path, 1)
    (path / "state.json").write_text('{"version": 99}')
    with pytest.raises(CheckpointError, match="another version"):
        read_state(path)


def test_unfinished_ones_are_cleared_away(tmp_path: Path) -> None:
    left = tmp_path / "step-00000007.partial"
    left.mkdir()
    (left / "model.safetensors").write_bytes(b"half")
    assert newest_checkpoint(tmp_path) is None
    saved(tmp_path, 8)
    assert not left.exists()


def test_a_failing_disk_leaves_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = saved(tmp_path, 10)
    before = toy_stage.tree(tmp_path)

    def fail(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module.os, "fsync", fail)
    with pytest.raises(CheckpointError, match="cannot be written to .*: No space left on device$"):
        saved(tmp_path, 20, keep=1)
    assert toy_stage.tree(tmp_path) == before
    assert newest_checkpoint(tmp_path) == first


def test_everything_is_on_the_disk_before_the_name_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []
    real_sync, real_replace = os.fsync, Path.replace

    def sync(descriptor: int) -> None:
        events.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        real_sync(descriptor)

    def replace(path: Path, target: Path) -> Path:
        events.append("renamed")
        return real_replace(path, target)

    monkeypatch.setattr(module.os, "fsync", sync)
    monkeypatch.setattr(Path, "replace", replace)
    saved(tmp_path, 1)
    partial = "step-00000001.partial"
    assert events == ["model.safetensors", "state.json", partial, "renamed", tmp_path.name]


def test_a_run_goes_on_before_a_damaged_checkpoint(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    toy_stage.train(RECIPE, tmp_path)
    expected, weights = toy_stage.journal(tmp_path), toy_stage.tree(tmp_path / "checkpoints")
    flipped(tmp_path / "checkpoints" / "step-00000009")
    caplog.set_level(logging.INFO)
    other = toy_stage.toy(seed=1)
    other.frozen.load_state_dict(toy_stage.toy().frozen.state_dict())
    toy_stage.train(RECIPE, tmp_path, model=other)
    assert "goes on after step 6" in caplog.text
    assert toy_stage.journal(tmp_path) == expected
    name = "step-00000009/model.safetensors"
    assert toy_stage.tree(tmp_path / "checkpoints")[name] == weights[name]


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (toy_stage.settings({"steps": 9}, optimizer={"lr": 0.5}), "optimizer.lr was 0.01, is 0.5"),
        (toy_stage.settings({"steps": 10}), "length.steps was 9, is 10"),
        (toy_stage.settings({"steps": 9}, seed=3), "seed was 0, is 3"),
        (toy_stage.settings({"steps": 9}, accumulate=2), "batch.accumulate was 1, is 2"),
        (toy_stage.settings({"steps": 9}, precision="bf16"), "precision was 'fp32', is 'bf16'"),
    ],
)
def test_a_run_goes_on_only_as_what_it_was(tmp_path: Path, changed: object, said: str) -> None:
    toy_stage.train(RECIPE, tmp_path)
    before = toy_stage.tree(tmp_path)
    with pytest.raises(CheckpointError) as caught:
        toy_stage.train(changed, tmp_path)  # type: ignore[arg-type]
    assert said in str(caught.value)
    assert "--fresh" in str(caught.value)
    assert toy_stage.tree(tmp_path) == before


def test_how_it_is_done_may_change(tmp_path: Path) -> None:
    toy_stage.train(RECIPE, tmp_path)
    shutil.rmtree(tmp_path / "checkpoints" / "step-00000009")
    stage = RECIPE.stages[0]
    batch = stage.batch.model_copy(update={"workers": 7, "ahead": 9})
    stage = stage.model_copy(update={"batch": batch, "our_choice": ("optimizer.lr",)})
    outcome = toy_stage.train(RECIPE.model_copy(update={"stages": (stage,)}), tmp_path)
    assert outcome.totals.steps == 9


def test_other_data_is_refused(tmp_path: Path) -> None:
    toy_stage.train(RECIPE, tmp_path)
    with pytest.raises(CheckpointError, match="other data"):
        toy_stage.train(RECIPE, tmp_path, rows=toy_stage.Rows((3,)))


def test_other_parameters_are_refused(tmp_path: Path) -> None:
    outcome = toy_stage.train(RECIPE, tmp_path)
    other = toy_stage.toy()
    other.branches.requires_grad_(False)
    with pytest.raises(CheckpointError, match="do not train the same parameters: branches.even"):
        toy_stage.train(RECIPE, tmp_path, model=other)
    with pytest.raises(CheckpointError, match="of another model: this one has no branches.even"):
        load_weights(torch.nn.Linear(2, 2), outcome.checkpoint)
    with pytest.raises(CheckpointError, match="no readable ema.safetensors"):
        load_weights(toy_stage.toy(), outcome.checkpoint, ema=True)


def test_only_what_trains_is_saved(tmp_path: Path) -> None:
    outcome = toy_stage.train(RECIPE, tmp_path)
    saved_names = set(module.read_tensors(outcome.checkpoint, "model.safetensors"))
    every = set(toy_stage.weights(toy_stage.toy()))
    assert every - saved_names == {"frozen.weight", "frozen.bias"}


def test_generators_go_on() -> None:
    random.seed(5)
    np.random.seed(5)
    random.gauss(0, 1)  # leaves a second number behind
    np.random.standard_normal()
    state = module.json.loads(module.json.dumps(generators()))
    expected = [random.gauss(0, 1), random.random(), np.random.standard_normal(3).tolist()]
    random.seed(6)
    np.random.seed(6)
    restore_generators(state)
    assert [random.gauss(0, 1), random.random(), np.random.standard_normal(3).tolist()] == expected
