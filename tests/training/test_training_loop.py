"""One process trains the toy stage: steps, precision, guards, reports."""

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import pytest
import torch
import toy_stage
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.testing import assert_close
from toy_stage import no_curves

from unisono.errors import DivergenceError, RecipeError, UnisonoError
from unisono.training import trackers
from unisono.training.batch import Batch, Computed
from unisono.training.gradient_checkpointing import enable_gradient_checkpointing
from unisono.training.journal import read_journal
from unisono.training.precision import Mixed
from unisono.training.snapshot import load_weights

__all__ = ["no_curves"]

pytestmark = pytest.mark.usefixtures("no_curves")


def trained(folder: Path, rows: toy_stage.Rows | None = None, **given: Any) -> nn.Module:
    model = toy_stage.toy()
    toy_stage.train(toy_stage.settings(**given), folder, model=model, rows=rows)
    return model


def test_it_learns_and_the_journal_says_so(tmp_path: Path) -> None:
    before = toy_stage.weights(toy_stage.toy())
    model = toy_stage.toy()
    rows = toy_stage.Rows((4, 2))
    outcome = toy_stage.train(toy_stage.settings({"steps": 150}), tmp_path, model=model, rows=rows)
    lines = list(read_journal(tmp_path / "journal.jsonl"))
    losses = [line["loss"] for line in lines]
    assert sum(losses[-20:]) < 0.5 * sum(losses[:20])
    assert outcome.loss == pytest.approx(sum(losses[-40:]) / 40, rel=0.3)
    assert [line["step"] for line in lines] == list(range(1, 151))
    assert [line["samples"] for line in lines[:4]] == [4, 2, 4, 2]
    assert lines[0]["tokens"] == 12
    assert outcome.totals.samples == 450
    assert len({line["names"] for line in lines}) == 150
    assert all(0 <= line["waited"] <= 1 and line["seconds"] > 0 for line in lines)
    assert rows.closed
    after = toy_stage.weights(model)
    same = {name for name in before if torch.equal(before[name], after[name])}
    assert same == {"frozen.weight", "frozen.bias"}


def test_the_outcome_has_the_weights(tmp_path: Path) -> None:
    model = toy_stage.toy()
    outcome = toy_stage.train(toy_stage.settings(), tmp_path, model=model)
    fresh = toy_stage.toy()
    load_weights(fresh, outcome.checkpoint)
    assert_close(toy_stage.weights(fresh), toy_stage.weights(model), rtol=0, atol=0)


def test_a_finished_stage_does_nothing_more(tmp_path: Path) -> None:
    first = toy_stage.train(toy_stage.settings(), tmp_path)
    before = toy_stage.tree(tmp_path)
    model = toy_stage.toy(seed=3)
    again = toy_stage.train(toy_stage.settings(), tmp_path, model=model)
    assert again == first
    assert toy_stage.tree(tmp_path) == before


@pytest.mark.parametrize("sizes", [(4, 4, 4, 4), (1, 6, 2, 3)])
def test_accumulated_is_at_once(tmp_path: Path, sizes: tuple[int, ...]) -> None:
    """Micro-batches of unequal weight too: the mean is over rows, not over micro-batches."""
    whole = toy_stage.Rows((sum(sizes),))
    expected = trained(tmp_path / "1", whole, length={"steps": 6})
    found = trained(tmp_path / "4", toy_stage.Rows(sizes), length={"steps": 6}, accumulate=4)
    assert_close(toy_stage.weights(found), toy_stage.weights(expected), rtol=1e-4, atol=1e-5)
    pairs = zip(toy_stage.journal(tmp_path / "1"), toy_stage.journal(tmp_path / "4"), strict=True)
    for one, other in pairs:
        for key in ("loss", "gradient_norm", "samples", "tokens", "lr"):
            assert other[key] == pytest.approx(one[key], rel=1e-4)


@pytest.mark.parametrize(("length", "steps"), [({"samples": 30}, 8), ({"tokens": 24}, 2)])
def test_budgets_end_a_stage(tmp_path: Path, length: dict[str, int], steps: int) -> None:
    assert toy_stage.train(toy_stage.settings(length), tmp_path).totals.steps == steps


def test_epochs_must_be_counted_before(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="steps, samples or tokens"):
        toy_stage.train(toy_stage.settings({"epochs": 1}), tmp_path)


def test_gradients_are_clipped(tmp_path: Path) -> None:
    """Plain SGD would show it; AdamW does in its first moments: 0.1 of the gradient."""
    norms = {}
    for clip in (None, 0.25):
        folder = tmp_path / str(clip)
        outcome = toy_stage.train(
            toy_stage.settings({"steps": 1}, optimizer={"clip_norm": clip}), folder
        )
        file = outcome.checkpoint / "moments-00000.safetensors"
        saved = load_file(file)
        moments = [value for name, value in saved.items() if name.startswith("exp_avg/")]
        norms[clip] = 10 * float(torch.cat([one.flatten() for one in moments]).norm())
    (line,) = toy_stage.journal(tmp_path / "0.25")
    assert norms[0.25] == pytest.approx(0.25, rel=1e-4)
    assert norms[None] == pytest.approx(line["gradient_norm"], rel=1e-4)  # as it was before
    assert norms[None] > 1


def test_bf16_is_near_fp32_and_weights_stay_fp32(tmp_path: Path) -> None:
    seen: list[torch.dtype] = []

    def spoil(loss: Tensor, draw: int) -> Tensor:
        autocast = torch.is_autocast_enabled("cpu")
        seen.append(torch.get_autocast_dtype("cpu") if autocast else loss.dtype)
        return loss

    models = {}
    for precision in ("fp32", "bf16"):
        models[precision] = toy_stage.toy()
        toy_stage.train(
            toy_stage.settings({"steps": 20}, precision=precision),
            tmp_path / precision,
            model=models[precision],
            objective=toy_stage.Squares(spoil),
        )
    assert set(seen[:20]) == {torch.float32}
    assert set(seen[20:]) == {torch.bfloat16}
    assert {p.dtype for p in models["bf16"].parameters()} == {torch.float32}
    losses = [
        torch.tensor([line["loss"] for line in toy_stage.journal(tmp_path / precision)])
        for precision in models
    ]
    assert_close(*losses, rtol=0.05, atol=0.02)
    assert not torch.equal(*losses)


def test_fp16_scales_its_loss(tmp_path: Path) -> None:
    """The scale begins too high: steps are skipped until it fits, and no guard minds."""
    given = {"length": {"steps": 16}, "guards": {"nan_steps": 1}, "precision": "fp16"}
    model = trained(tmp_path, **given)
    skipped = [line["skipped"] for line in toy_stage.journal(tmp_path)]
    assert skipped[0]
    assert sum(skipped) < 8
    weights = toy_stage.weights(model)
    assert all(one.isfinite().all() for one in weights.values())
    first = toy_stage.weights(toy_stage.toy())
    assert not torch.equal(weights["scale"], first["scale"])


def test_the_scale_of_fp16_falls_and_grows() -> None:
    mixed = Mixed("fp16", torch.device("cpu"))
    assert mixed.noted(1.0, math.inf)
    assert mixed.scale == 2.0**15
    assert not mixed.noted(math.nan, math.inf)  # the loss itself is none: not to be forgiven
    for _ in range(2000):
        assert not mixed.noted(1.0, 1.0)
    assert mixed.scale == 2.0**15
    other = Mixed("fp16", torch.device("cpu"))
    other.restore(mixed.state())
    assert other.scale == mixed.scale
    for _ in range(20):
        forgiven = mixed.noted(1.0, math.inf)
    assert mixed.scale == 1.0
    assert not forgiven  # no scale was too high


def test_the_average_is_saved_beside_the_weights(tmp_path: Path) -> None:
    outcome = toy_stage.train(toy_stage.settings(optimizer={"ema": 0.5}), tmp_path)
    last, average = (
        load_file(outcome.checkpoint / f"{name}.safetensors") for name in ("model", "ema")
    )
    assert last.keys() == average.keys()
    first = toy_stage.weights(toy_stage.toy())
    name = "layers.0.linear.weight"
    assert not torch.equal(last[name], average[name])
    distance = [float((one - last[name]).abs().max()) for one in (average[name], first[name])]
    assert distance[0] < distance[1]


def broken(at: range, value: float) -> toy_stage.Squares:
    return toy_stage.Squares(lambda loss, draw: loss * value if draw in at else loss)


def test_a_step_that_is_no_number_changes_nothing(tmp_path: Path) -> None:
    recipe = toy_stage.settings({"steps": 5}, optimizer={"ema": 0.5})
    models = []
    for steps, objective in ((5, broken(range(4, 5), math.nan)), (4, None)):
        models.append(toy_stage.toy())
        stage = recipe.stages[0].model_copy(
            update={
                "length": recipe.stages[0].length.model_copy(update={"steps": steps}),
                "optimizer": recipe.stages[0].optimizer.model_copy(update={"schedule": "constant"}),
            }
        )
        changed = recipe.model_copy(update={"stages": (stage,)})
        toy_stage.train(changed, tmp_path / str(steps), model=models[-1], objective=objective)
    assert_close(*map(toy_stage.weights, models), rtol=0, atol=0)
    last = toy_stage.journal(tmp_path / "5")[-1]
    assert (last["skipped"], last["loss"]) == (True, None)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_divergence_names_the_last_good_checkpoint(tmp_path: Path, value: float) -> None:
    recipe = toy_stage.settings({"steps": 20}, checkpoints={"every_s": None, "every_steps": 4})
    with pytest.raises(DivergenceError) as caught:
        toy_stage.train(recipe, tmp_path, objective=broken(range(10, 99), value))
    assert "3 steps in a row, up to step 13" in str(caught.value)
    assert f"the last good checkpoint is '{tmp_path / 'checkpoints' / 'step-00000008'}'" in str(
        caught.value
    )
    assert toy_stage.saved_steps(tmp_path) == [4, 8]  # none after the step that was skipped
    assert len(toy_stage.journal(tmp_path)) == 13


def test_a_loss_that_runs_away_stops_the_run(tmp_path: Path) -> None:
    recipe = toy_stage.settings({"steps": 200}, checkpoints={"every_s": None, "every_steps": 1})
    runaway = toy_stage.Squares(lambda loss, draw: loss * (1 + max(draw - 40, 0)))
    with pytest.raises(DivergenceError, match="more than 4 times its best") as caught:
        toy_stage.train(recipe, tmp_path, objective=runaway)
    kept = toy_stage.saved_steps(tmp_path)
    steps = len(toy_stage.journal(tmp_path))
    assert kept[-1] < steps - 1  # while it rose, the good ones were kept
    assert f"step-{kept[-1]:08d}" in str(caught.value)


def test_bad_data_loses_no_steps(tmp_path: Path) -> None:
    failure = UnisonoError("too many bad rows")
    rows = toy_stage.Rows(fails_at=5, failure=failure)
    with pytest.raises(UnisonoError, match="too many bad rows"):
        toy_stage.train(toy_stage.settings(), tmp_path, rows=rows)
    assert toy_stage.saved_steps(tmp_path) == [5]
    assert rows.closed
    outcome = toy_stage.train(toy_stage.settings(), tmp_path)  # mended
    toy_stage.train(toy_stage.settings(), tmp_path / "whole")
    assert outcome.totals.steps == 10
    assert toy_stage.journal(tmp_path) == toy_stage.journal(tmp_path / "whole")


def test_batches_without_units_are_no_division_by_zero(tmp_path: Path) -> None:
    class Weightless(toy_stage.Rows):
        def __iter__(self) -> Iterator[Batch]:
            for batch in super().__iter__():
                yield replace(batch, weight=0.0)

    class Nothing(toy_stage.Squares):
        def loss(self, model: nn.Module, inputs: Mapping[str, Any], *, draw: int) -> Computed:
            return Computed(super().loss(model, inputs, draw=draw).loss * 0)

    toy_stage.train(
        toy_stage.settings({"steps": 2}), tmp_path, rows=Weightless(), objective=Nothing()
    )
    assert [line["loss"] for line in toy_stage.journal(tmp_path)] == [0.0, 0.0]


def test_every_draw_is_another_and_seeds_dropout(tmp_path: Path) -> None:
    draws: list[tuple[int, float]] = []

    def spoil(loss: Tensor, draw: int) -> Tensor:
        draws.append((draw, float(torch.rand(()))))
        return loss

    for folder in ("one", "two"):
        torch.manual_seed(len(draws))  # whatever the process did before
        toy_stage.train(
            toy_stage.settings({"steps": 3}, accumulate=2),
            tmp_path / folder,
            model=toy_stage.toy(dropout=0.5),
            objective=toy_stage.Squares(spoil),
        )
    assert draws[:6] == draws[6:]
    assert [draw for draw, _ in draws[:6]] == list(range(6))
    assert len({drawn for _, drawn in draws[:6]}) == 6
    assert toy_stage.journal(tmp_path / "one") == toy_stage.journal(tmp_path / "two")


def test_lines_of_the_journal_may_be_fewer(tmp_path: Path) -> None:
    toy_stage.train(toy_stage.settings({"steps": 8}, log={"every_steps": 3}), tmp_path)
    assert [line["step"] for line in toy_stage.journal(tmp_path)] == [3, 6, 8]


def test_tensorboard_has_the_numbers(tmp_path: Path) -> None:
    toy_stage.train(toy_stage.settings({"steps": 3}, log={"trackers": ["tensorboard"]}), tmp_path)
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    (file,) = (tmp_path / "trackers").rglob("events.*")
    seen = EventAccumulator(str(file))
    seen.Reload()
    losses = [event.value for event in seen.Scalars("loss")]
    assert losses == pytest.approx([line["loss"] for line in toy_stage.journal(tmp_path)])
    assert {"lr", "terms/absolute", "gradient_norm"} <= set(seen.Tags()["scalars"])


def test_a_tracker_that_is_not_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> ModuleSpec | None:
        return None

    monkeypatch.setattr(trackers, "find_spec", find)
    with pytest.raises(RecipeError, match="wandb, which is not installed: pip install wandb"):
        toy_stage.train(toy_stage.settings(log={"trackers": ["wandb"]}), tmp_path)
    assert not list(tmp_path.iterdir())


def test_activations_can_be_recomputed() -> None:
    import tiny_onepeace

    from unisono.models.onepeace import OnePeaceForPretraining
    from unisono.models.onepeace.encoder import EncoderLayer

    model = OnePeaceForPretraining(tiny_onepeace.tiny_config())
    holder = nn.Module()
    holder.model = model
    enable_gradient_checkpointing(holder)
    layers = [one for one in model.modules() if isinstance(one, EncoderLayer)]
    assert layers
    assert all(one.gradient_checkpointing for one in layers)
    with pytest.raises(RecipeError, match="a Toy cannot recompute activations"):
        enable_gradient_checkpointing(toy_stage.toy())
