"""The models themselves on two ranks: replicated or sharded, they learn the same."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import model_ranks
import pytest
import torch
import toy_stage
from safetensors.torch import load_file
from torch.testing import assert_close
from toy_stage import no_curves

__all__ = ["no_curves"]

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("no_curves")]

SCRIPT = Path(__file__).with_name("model_ranks.py")
CASES = ("ola-ddp", "ola-fsdp", "onepeace-ddp", "onepeace-fsdp", "ola-ddp-bf16", "ola-fsdp-bf16")


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models")
    command = [sys.executable, str(SCRIPT), str(folder), *CASES]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
    assert list(map(json.loads, ran.stdout.splitlines())) == [[0, 0]] * len(CASES), ran.stderr
    return folder


def assert_same(one: Path, other: Path) -> None:
    """Losses, gradient norms, and the weights in the end."""
    numbers: list[Any] = []
    for folder in (one, other):
        lines = toy_stage.journal(folder)
        assert len(lines) == model_ranks.STEPS
        assert lines[-1]["loss"] < lines[0]["loss"]
        numbers.append(torch.tensor([[line["loss"], line["gradient_norm"]] for line in lines]))
    assert_close(*numbers, rtol=1e-4, atol=1e-5)
    last = Path("checkpoints") / f"step-{model_ranks.STEPS:08d}" / "model.safetensors"
    # AdamW's first steps are the sign of a gradient: where that is nothing but noise, so is it.
    assert_close(load_file(one / last), load_file(other / last), rtol=1e-2, atol=5e-4)


@pytest.mark.parametrize("case", ["ola", "onepeace"])
def test_sharded_is_replicated(runs: Path, case: str) -> None:
    assert_same(runs / f"{case}-ddp", runs / f"{case}-fsdp")


def test_bf16_with_recomputed_activations(runs: Path) -> None:
    assert_same(runs / "ola-ddp-bf16", runs / "ola-fsdp-bf16")


def test_two_ranks_are_one_process(runs: Path, tmp_path: Path) -> None:
    """Not so for ONE-PEACE: a contrast sees the pairs of all ranks."""
    model_ranks.train(tmp_path, "ola", "auto", [0, 1])
    assert_same(runs / "ola-ddp", tmp_path)
