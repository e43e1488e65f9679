"""Whatever happens to a run, it goes on as if it had not."""

import signal
from pathlib import Path
from typing import Any

import pytest
import toy_stage
from toy_cases import STATE_IS_TOO_BIG, WEIGHTS_ARE_TOO_BIG, came_to, runs

__all__ = ["runs"]


def assert_equal_runs(one: Path, other: Path) -> None:
    """Losses, terms, norms, learning rates and samples of all steps; weights and averages."""
    expected = toy_stage.journal(one)
    assert [line["step"] for line in expected] == list(range(1, 41))
    assert toy_stage.journal(other) == expected
    for name in ("model", "ema", "moments-00000"):
        file = Path("checkpoints") / "step-00000040" / f"{name}.safetensors"
        assert (other / file).read_bytes() == (one / file).read_bytes()


def test_killed_at_random_moments(runs: tuple[Path, dict[str, Any]]) -> None:
    folder, ended = runs
    assert ended["whole"] == 0
    assert ended["killed=1,3"] == [-signal.SIGKILL] * 3 + [0]
    assert_equal_runs(folder / "whole", folder / "killed=1,3")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [7, 8])
def test_killed_at_ten_random_moments(tmp_path: Path, seed: int) -> None:
    case = f"killed={seed},10"
    codes = came_to(tmp_path, "whole", case)[case]
    assert codes == [-signal.SIGKILL] * 10 + [0]
    assert_equal_runs(tmp_path / "whole", tmp_path / case)


@pytest.mark.parametrize("case", ["signalled=2", "signalled=15"])
def test_a_signal_saves_and_interrupts(runs: tuple[Path, dict[str, Any]], case: str) -> None:
    folder, ended = runs
    code, steps, saved, then = ended[case]
    assert code == 130
    assert 7 <= steps < 40
    assert saved[-1] == steps
    assert then == 0
    assert_equal_runs(folder / "whole", folder / case)


@pytest.mark.parametrize("case", [STATE_IS_TOO_BIG, WEIGHTS_ARE_TOO_BIG])
def test_a_full_disk_costs_no_checkpoint(runs: tuple[Path, dict[str, Any]], case: str) -> None:
    folder, ended = runs
    code, untouched, said, then = ended[case]
    assert code == 2
    assert untouched
    assert "a checkpoint cannot be written to" in said
    assert "File too large" in said
    assert "\n" not in said
    assert then == 0
    if case == STATE_IS_TOO_BIG:  # without ballast, it is the same run
        assert_equal_runs(folder / "whole", folder / case)
