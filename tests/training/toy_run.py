"""Runs of the toy stage that end badly, each in a process of its own; `toy_ranks` starts them.

Cases, each in a folder of its own: `whole` is not disturbed; `killed=SEED,N` is, N times at random
moments, and goes on each time; `signalled=NUMBER` gets a signal after some steps, and goes on;
`full=BYTES,BALLAST` goes on with a disk that takes no file of more bytes. Each returns
JSON values: how its processes ended, and what was said.

All processes are forks of one that has imported everything, and computed nothing.
"""

import os
import random
import resource
import signal
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import accelerate.utils
import numpy as np
import torch
import toy_stage
from torch import nn

from unisono.errors import UnisonoError
from unisono.training import reporting
from unisono.training.batch import Computed

LOADED = accelerate.utils
"""Imported late otherwise, in each process anew."""

STEPS = 40
RECIPE = toy_stage.settings(
    {"steps": STEPS},
    accumulate=2,
    optimizer={"ema": 0.9, "warmup_steps": 5},
    checkpoints={"every_s": None, "every_steps": 3},
)


class Drawing(toy_stage.Squares):
    """Draws by chance from every generator there is; all of it must repeat itself."""

    def loss(self, model: nn.Module, inputs: Mapping[str, Any], *, draw: int) -> Computed:
        computed = super().loss(model, inputs, draw=draw)
        drawn = random.random() + float(np.random.random()) + draw % 7
        return Computed(computed.loss * (1 + 0.01 * drawn), computed.terms)


def no_curves(*_: Any) -> bool:
    """A second each, and of no matter here."""
    return False


def run(folder: Path, *, wait_s: float = 0.0, ballast: int = 0) -> None:
    torch.set_num_threads(1)
    reporting.draw_curves = no_curves
    random.seed(0)
    np.random.seed(0)
    model = toy_stage.toy(dropout=0.2)
    if ballast:
        model.ballast = nn.Parameter(torch.zeros(ballast))
    rows = toy_stage.Rows((4, 2, 5), wait_s=wait_s)
    toy_stage.train(RECIPE, folder, model=model, objective=Drawing(), rows=rows)


def forked(work: Callable[[], None], said: Path | None = None) -> int:
    """Process that does it; exits with 130 if interrupted, with 2 after writing down an error."""
    if pid := os.fork():
        return pid
    code = 1
    try:
        work()
        code = 0
    except KeyboardInterrupt:
        code = 130
    except UnisonoError as error:
        code = 2
        if said is not None:
            said.write_text(str(error))
    finally:
        sys.stderr.flush()
        os._exit(code)


def ended(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def steps_in(folder: Path) -> int:
    try:
        return (folder / "journal.jsonl").read_bytes().count(b"\n")
    except FileNotFoundError:
        return 0


def wait_for(pid: int, folder: Path, steps: int) -> None:
    while steps_in(folder) < steps and os.waitpid(pid, os.WNOHANG) == (0, 0):
        time.sleep(0.002)


def killed(folder: Path, seed: int, kills: int) -> list[int]:
    moments = random.Random(seed)
    codes = []
    for count in range(kills):
        pid = forked(lambda: run(folder, wait_s=0.002))
        # Not before there is something to lose, and not always in the same place of a step.
        steps = min(steps_in(folder) + moments.randrange(2, 8), STEPS - kills + count)
        wait_for(pid, folder, steps)
        time.sleep(moments.random() * 0.02)
        os.kill(pid, signal.SIGKILL)
        codes.append(ended(pid))
    return [*codes, whole(folder)]


def whole(folder: Path) -> int:
    return ended(forked(lambda: run(folder)))


def signalled(folder: Path, number: int) -> list[Any]:
    pid = forked(lambda: run(folder, wait_s=0.01))
    wait_for(pid, folder, 7)
    os.kill(pid, number)
    code, steps, saved = ended(pid), steps_in(folder), toy_stage.saved_steps(folder)
    return [code, steps, saved, whole(folder)]


def full(folder: Path, most_bytes: int, ballast: int) -> list[Any]:
    pid = forked(lambda: run(folder, wait_s=0.01, ballast=ballast))
    wait_for(pid, folder, 7)
    os.kill(pid, signal.SIGINT)
    ended(pid)
    before = toy_stage.tree(folder / "checkpoints")

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
        run(folder, ballast=ballast)

    code = ended(forked(limited, folder / "said"))
    untouched = toy_stage.tree(folder / "checkpoints") == before
    then = ended(forked(lambda: run(folder, ballast=ballast)))
    return [code, untouched, (folder / "said").read_text(), then]


CASES: Mapping[str, Callable[..., Any]] = {
    "whole": whole,
    "killed": killed,
    "signalled": signalled,
    "full": full,
}
