"""Shapes of the learning rate, and budgets in steps, samples and tokens."""

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unisono.errors import RecipeError
from unisono.training.budget import Budget, Totals
from unisono.training.recipe import Length, OptimizerSettings
from unisono.training.schedule import Schedule


def factors(steps: int, **settings: Any) -> list[float]:
    schedule = Schedule(OptimizerSettings(**{"lr": 1.0, **settings}))
    return [schedule.factor(i, i / steps, (i + 1) / steps) for i in range(steps)]


def test_cosine_falls_from_the_peak() -> None:
    found = factors(100, schedule="cosine")
    assert found[0] == 1.0
    assert found[50] == pytest.approx(0.5)
    assert found[25] == pytest.approx((1 + math.cos(math.pi / 4)) / 2)
    assert 0 < found[-1] < 0.001


def test_linear_and_constant() -> None:
    assert factors(4, schedule="linear") == pytest.approx([1.0, 0.75, 0.5, 0.25])
    assert factors(4, schedule="constant") == [1.0] * 4


@pytest.mark.parametrize("warmup", [{"warmup_steps": 10}, {"warmup_ratio": 0.1}])
def test_warmup_is_linear_and_the_rest_is_stretched(warmup: dict[str, Any]) -> None:
    found = factors(100, **warmup)
    assert found[:10] == pytest.approx([i / 10 for i in range(1, 11)])
    assert found[10] == pytest.approx(1.0)
    assert found[55] == pytest.approx(0.5)  # half-way between 10 and 100


def test_warmup_steps_of_a_budget_in_samples_are_noted() -> None:
    """Ten steps reach progress 0.5: the cosine has the other half."""
    settings = OptimizerSettings(lr=1.0, warmup_steps=10)
    schedule = Schedule(settings)
    for step in range(10):
        schedule.factor(step, step / 20, (step + 1) / 20)
    resumed = Schedule(settings)
    resumed.restore(schedule.state())
    for one in (schedule, resumed):
        assert one.factor(10, 0.5, 0.55) == pytest.approx(1.0)
        assert one.factor(15, 0.75, 0.8) == pytest.approx(0.5)


@pytest.mark.parametrize("floor", [{"floor_lr": 0.2}, {"floor_ratio": 0.1}])
def test_floor(floor: dict[str, float]) -> None:
    found = factors(1000, lr=2.0, **floor)
    assert found[-1] == pytest.approx(0.1, abs=1e-3)
    assert found[500] == pytest.approx(0.55)


@given(
    steps=st.integers(1, 60),
    warmup=st.integers(0, 80),
    shape=st.sampled_from(["cosine", "linear", "constant"]),
    floor=st.floats(0, 1),
)
def test_rises_and_then_never_rises_again(
    steps: int, warmup: int, shape: str, floor: float
) -> None:
    found = factors(steps, warmup_steps=warmup, schedule=shape, floor_ratio=floor)
    assert all(0 <= one <= 1 + 1e-12 for one in found)
    assert found[:warmup] == sorted(found[:warmup])
    after = found[warmup:]
    assert after == sorted(after, reverse=True)
    assert all(one >= floor - 1e-12 for one in after)


def test_budgets() -> None:
    totals = Totals()
    totals.add(samples=30, tokens=400, seconds=1.0)
    step = Totals(steps=1, samples=30, tokens=400)
    for length, before, after in (
        (Length(steps=4), 1 / 4, 2 / 4),
        (Length(samples=100), 0.3, 0.6),
        (Length(tokens=500), 0.8, 1.0),  # the last step does not fit exactly
    ):
        budget = Budget.of(length)
        assert budget.progress(totals) == pytest.approx(before)
        assert budget.progress(totals, step) == pytest.approx(after)


def test_epochs_are_for_the_caller_to_count() -> None:
    with pytest.raises(RecipeError, match="steps, samples or tokens"):
        Budget.of(Length(epochs=2))
