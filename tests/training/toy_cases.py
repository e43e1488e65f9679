"""All cases of `toy_run` and `toy_ranks`, run once: half of the time they need is for imports."""

import json
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("toy_ranks.py")
STATE_IS_TOO_BIG, WEIGHTS_ARE_TOO_BIG = "full=9000,0", "full=50000,20000"
WAYS = ("ddp", "fsdp")
CASES = (
    *("whole", "killed=1,3", "signalled=2", "signalled=15"),
    *(STATE_IS_TOO_BIG, WEIGHTS_ARE_TOO_BIG),
    *(case for way in WAYS for case in (f"gradients-{way}", way, f"{way}-signalled")),
    "ddp-bad",
)


def came_to(folder: Path, *cases: str) -> dict[str, Any]:
    """What the processes of each case did in the end."""
    command = [sys.executable, str(SCRIPT), str(folder), *cases]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if ran.returncode:
        raise RuntimeError(ran.stderr[-3000:])
    return dict(zip(cases, map(json.loads, ran.stdout.splitlines()), strict=True))


@cache
def _all(folder: Path) -> dict[str, Any]:
    return came_to(folder, *CASES)


@pytest.fixture(scope="session")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """Folder that has one for each case, and what became of their processes."""
    # Pytest takes it for another fixture in each module that imports it, hence the cache.
    folder = tmp_path_factory.getbasetemp() / "toy-cases"
    return folder, _all(folder)
