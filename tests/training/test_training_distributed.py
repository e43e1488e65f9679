"""Two ranks are one process that takes the micro-batches of both, replicated or sharded."""

from pathlib import Path
from typing import Any

import pytest
import torch
import toy_ranks
import toy_stage
from safetensors.torch import load_file
from torch import nn
from torch.testing import assert_close
from toy_cases import WAYS, runs
from transformers.modeling_layers import GradientCheckpointingLayer

from unisono.training.distributed import Ranks, local, put, sharding_units, whole
from unisono.training.snapshot import load_weights

__all__ = ["runs"]

LAST = Path("checkpoints") / f"step-{toy_ranks.STEPS:08d}"


@pytest.mark.parametrize("way", WAYS)
def test_gradients_are_those_of_one_process(runs: tuple[Path, Any], way: str) -> None:
    seen = load_file(runs[0] / f"gradients-{way}")
    expected = toy_ranks.gradients("auto")
    assert seen.keys() == expected.keys()
    assert all(one.abs().max() > 0 for one in expected.values())
    assert_close(seen, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("way", WAYS)
def test_a_run_is_that_of_one_process(runs: tuple[Path, Any], tmp_path: Path, way: str) -> None:
    assert runs[1][way] == [0, 0]
    recipe = toy_ranks.recipe("auto", ranks=1)
    toy_stage.train(recipe, tmp_path, rows=toy_stage.Rows(toy_ranks.SIZES))
    expected, seen = toy_stage.journal(tmp_path), toy_stage.journal(runs[0] / way)
    for key in ("step", "samples", "tokens", "lr"):
        assert [line[key] for line in seen] == [line[key] for line in expected]
    for key in ("loss", "gradient_norm"):
        found = torch.tensor([[line[key] for line in lines] for lines in (seen, expected)])
        assert_close(found[0], found[1], rtol=1e-4, atol=1e-5)
    terms = [[line["terms"]["absolute"] for line in lines] for lines in (seen, expected)]
    assert_close(torch.tensor(terms[0]), torch.tensor(terms[1]), rtol=1e-4, atol=1e-5)
    for name in ("model.safetensors", "ema.safetensors"):
        pair = [load_file(folder / LAST / name) for folder in (runs[0] / way, tmp_path)]
        assert_close(*pair, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("way", WAYS)
def test_both_ranks_stop_together_and_go_on(runs: tuple[Path, Any], way: str) -> None:
    folder, ended = runs
    codes, saved, then = ended[f"{way}-signalled"]
    assert codes == [130, 130]  # only one had the signal
    assert saved
    assert saved[-1] < toy_ranks.STEPS
    assert then == [0, 0]
    other = folder / f"{way}-signalled"
    assert toy_stage.journal(other) == toy_stage.journal(folder / way)
    assert len(toy_stage.journal(other)) == toy_ranks.STEPS
    for file in (folder / way / LAST).glob("*.safetensors"):
        assert (other / LAST / file.name).read_bytes() == file.read_bytes()


def test_sharded_moments_are_in_pieces(runs: tuple[Path, Any]) -> None:
    pieces = [
        load_file(runs[0] / "fsdp" / LAST / f"moments-0000{rank}.safetensors") for rank in (0, 1)
    ]
    name = "exp_avg/layers.0.linear.weight"
    assert [len(piece[name]) for piece in pieces] == [3, 3]
    assert not (runs[0] / "ddp" / LAST / "moments-00001.safetensors").exists()


def test_weights_of_a_sharded_run_load_into_a_plain_model(runs: tuple[Path, Any]) -> None:
    model = toy_stage.toy(seed=5)
    frozen = model.frozen.weight.clone()
    for ema, name in ((False, "model"), (True, "ema")):
        load_weights(model, runs[0] / "fsdp" / LAST, ema=ema)
        saved = load_file(runs[0] / "fsdp" / LAST / f"{name}.safetensors")
        assert_close({n: dict(model.named_parameters())[n].detach() for n in saved}, saved)
    assert torch.equal(model.frozen.weight, frozen)


def test_all_ranks_end_when_one_has_no_data(runs: tuple[Path, Any]) -> None:
    folder, ended = runs
    assert ended["ddp-bad"] == [2, 2]
    said = [(folder / f"ddp-bad.said-{rank}").read_text() for rank in (0, 1)]
    assert said[1] == "UnisonoError: three of ten rows are of no use"
    assert said[0] == "DataError: rank 1 has no data: three of ten rows are of no use"
    assert toy_stage.saved_steps(folder / "ddp-bad") == [2]  # nothing that was done is lost


def test_units_are_what_transformers_does_not_split() -> None:
    model = toy_stage.toy()
    assert sharding_units(model) == list(model.layers)


def test_units_are_layers_where_a_model_says_nothing() -> None:
    class Block(GradientCheckpointingLayer):  # type: ignore[misc]
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

    blocks = [Block(Block(nn.Linear(2, 2))), Block(nn.Linear(2, 2))]
    assert sharding_units(nn.Sequential(nn.Linear(2, 2), *blocks)) == blocks  # none inside another


def test_one_process_needs_no_sharding() -> None:
    ranks = Ranks("fsdp")
    model = toy_stage.toy()
    assert not ranks.sharded
    assert ranks.wrap(model) is model
    assert ranks.gather("x") == ["x"]
    weight = model.scale
    put(weight, torch.tensor(2.0))
    assert local(weight) is weight
    assert float(whole(weight)) == 2.0
