"""The toy stage on two gloo ranks, forked from a process that has imported everything.

    python toy_ranks.py FOLDER CASE...

Cases: `ddp`, `fsdp` (a run), `ddp-signalled`, `fsdp-signalled` (the second rank gets SIGTERM after
some steps, and then both go on), `ddp-bad` (the second rank has no data after some steps),
`gradients-ddp`, `gradients-fsdp` (of one step), and those of `toy_run`. Prints a line of JSON for
each: what the processes came to.
"""

import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import accelerate.utils
import torch
import toy_stage
from safetensors.torch import save_file
from torch import Tensor
from torch.distributed.tensor import DTensor
from toy_run import CASES, ended, no_curves, wait_for

from unisono.errors import UnisonoError
from unisono.training import reporting
from unisono.training.distributed import Ranks, trained_parameters, whole
from unisono.training.precision import Mixed
from unisono.training.step import Stepper, take

LOADED = accelerate.utils
WORLD, ACCUMULATE, STEPS = 2, 2, 12
SIZES = (4, 1, 3, 2, 1)
"""Rows of the batches: unequal weights, and single rows that leave a branch without gradient."""


def recipe(distribution: str, *, ranks: int = WORLD) -> Any:
    return toy_stage.settings(
        {"steps": STEPS},
        accumulate=ACCUMULATE * WORLD // ranks,
        optimizer={"ema": 0.9, "clip_norm": 1.0},
        distribution=distribution,
        checkpoints={"every_s": None, "every_steps": 5},
    )


def objective(distribution: str) -> toy_stage.Squares:
    # Where a model is sharded, all ranks must pass the same layers.
    return toy_stage.Squares(every_branch=distribution == "fsdp")


def train(folder: Path, distribution: str, rank: int, **rows: Any) -> None:
    # Other weights on the second rank: it must be given those of the first.
    source = toy_stage.Rows(SIZES, rank=rank, world=WORLD, **rows)
    toy_stage.train(
        recipe(distribution),
        folder,
        model=toy_stage.toy(seed=rank),
        objective=objective(distribution),
        rows=source,
    )


class Recorder(torch.optim.SGD):
    """Keeps gradients instead of using them."""

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter]) -> None:
        super().__init__(parameters.values(), lr=0.0)
        self.param_groups[0]["lr_factor"] = 1.0
        self.parameters = parameters
        self.seen: dict[str, Tensor] = {}

    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        self.seen = {
            n: whole(p.grad).clone() for n, p in self.parameters.items() if p.grad is not None
        }


def gradients(distribution: Any, *, rank: int = 0, world: int = 1) -> dict[str, Tensor]:
    """Of the first step, without clipping."""
    ranks = Ranks(distribution)
    wrapped = ranks.wrap(toy_stage.toy())
    parameters = trained_parameters(wrapped)
    if distribution == "fsdp":
        kinds = {name: type(one) for name, one in parameters.items() if one.ndim}
        if set(kinds.values()) != {DTensor}:
            raise RuntimeError(f"parameters must be sharded, but are {kinds}")
    optimizer = Recorder(parameters)
    stepper = Stepper(
        wrapped,
        parameters,
        objective(distribution),
        optimizer,
        ranks,
        precision=Mixed("fp32", ranks.device),
        ema=None,
        clip_norm=None,
        seed=0,
    )
    source = toy_stage.Rows(SIZES, rank=rank, world=world)
    taken = take(iter(source), ACCUMULATE * WORLD // world)
    shares = ranks.gather(taken.share(stop=False, due=False))
    stepper.run(0, taken.batches, weight=sum(one.weight for one in shares), lr=0.0)
    return optimizer.seen


def free_port() -> int:
    with socket.socket() as opened:
        opened.bind(("localhost", 0))
        return int(opened.getsockname()[1])


def start(work: Callable[[int], None], said: Path) -> list[int]:
    """A process for each rank."""
    port = free_port()
    return [_forked(work, rank, port, said) for rank in range(WORLD)]


def _forked(work: Callable[[int], None], rank: int, port: int, said: Path) -> int:
    if pid := os.fork():
        return pid
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(WORLD),
        LOCAL_WORLD_SIZE=str(WORLD),
        MASTER_ADDR="localhost",
        MASTER_PORT=str(port),
        OMP_NUM_THREADS="1",
    )
    torch.set_num_threads(1)
    reporting.draw_curves = no_curves
    code = 1
    try:
        work(rank)
        code = 0
    except KeyboardInterrupt:
        code = 130
    except UnisonoError as error:
        code = 2
        said.with_suffix(f".said-{rank}").write_text(f"{type(error).__name__}: {error}")
    except BaseException:
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stderr.flush()
        os._exit(code)


def run(folder: Path, distribution: str, how: str) -> Any:
    if how == "signalled":
        pids = start(lambda rank: train(folder, distribution, rank, wait_s=0.02), folder)
        wait_for(pids[0], folder, 3)
        os.kill(pids[1], signal.SIGTERM)
        first = [ended(pid) for pid in pids], toy_stage.saved_steps(folder)
        then = start(lambda rank: train(folder, distribution, rank), folder)
        return [*first, [ended(pid) for pid in then]]
    bad = {"fails_at": 9, "failure": UnisonoError("three of ten rows are of no use")}

    def work(rank: int) -> None:
        train(folder, distribution, rank, **(bad if how == "bad" and rank == 1 else {}))

    return [ended(pid) for pid in start(work, folder)]


def record(folder: Path, distribution: str) -> list[int]:
    def work(rank: int) -> None:
        seen = gradients(distribution, rank=rank, world=WORLD)
        if rank == 0:
            save_file(seen, folder)

    return [ended(pid) for pid in start(work, folder)]


def came_to(folder: Path, case: str) -> Any:
    name, _, numbers = case.partition("=")
    if name in CASES:
        return CASES[name](folder, *map(int, numbers.split(",") if numbers else ()))
    first, _, second = case.partition("-")
    return record(folder, second) if first == "gradients" else run(folder, first, second)


def main() -> None:
    folder, *cases = sys.argv[1:]
    for case in cases:
        print(json.dumps(came_to(Path(folder) / case, case)), flush=True)


if __name__ == "__main__":
    main()
