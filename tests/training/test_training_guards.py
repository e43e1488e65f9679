"""When a run stops by itself."""

import math

import pytest

from unisono.errors import DivergenceError
from unisono.training.guards import Guards
from unisono.training.recipe import GuardSettings


def fed(guards: Guards, losses: list[float], *, start: int = 0) -> None:
    for step, loss in enumerate(losses, start + 1):
        guards.seen(step, loss, finite=math.isfinite(loss))


def test_single_steps_may_be_skipped() -> None:
    guards = Guards(GuardSettings(nan_steps=3))
    fed(guards, [1.0, math.nan, math.inf, 1.0, math.nan, math.nan, 1.0])
    assert guards.mean == pytest.approx(1.0)


def test_three_in_a_row_are_enough() -> None:
    guards = Guards(GuardSettings(nan_steps=3))
    with pytest.raises(DivergenceError, match="not finite in 3 steps in a row, up to step 6"):
        fed(guards, [1.0, 1.0, 1.0, math.nan, math.nan, math.nan])


def test_running_away_stops() -> None:
    guards = Guards(GuardSettings(loss_factor=4.0))
    fed(guards, [2.0] * 50)
    assert guards.healthy
    seen: list[bool] = []

    def run_away() -> None:
        for step in range(60):
            guards.seen(step, 2.0 * 1.1**step, finite=True)
            seen.append(guards.healthy)

    with pytest.raises(DivergenceError, match=r"more than 4 times its best \(2\)"):
        run_away()
    assert seen[0]
    assert not seen[-1]  # before it stopped, nothing more was saved


def test_noise_and_a_fall_to_nearly_nothing_do_not() -> None:
    guards = Guards(GuardSettings(loss_factor=4.0))
    fed(guards, [8.0 * 0.9**step for step in range(150)])  # down to a millionth
    fed(guards, [0.01, 0.2] * 50)
    guards = Guards(GuardSettings(loss_factor=4.0))
    fed(guards, [1.0] * 50 + [15.0] + [1.0] * 50)  # one bad batch


def test_a_limit_can_be_left_out() -> None:
    guards = Guards(GuardSettings(loss_factor=None))
    fed(guards, [1.0] * 50 + [1e6] * 50)
    assert guards.healthy


def test_losses_below_zero_have_no_multiples() -> None:
    fed(Guards(GuardSettings()), [-1.0] * 30 + [5.0] * 30)


def test_state_goes_on() -> None:
    losses = [3.0 - 0.01 * step for step in range(60)] + [math.nan]
    whole, first, second = (Guards(GuardSettings()) for _ in range(3))
    fed(whole, losses)
    fed(first, losses[:30])
    second.restore(first.state())
    fed(second, losses[30:])
    assert second.state() == whole.state()
    assert not second.healthy
