"""A stage small enough to be trained hundreds of times: numbers through two branches.

A row has the name "row:<number>"; its features and target follow from the number. Rows of odd
number pass one branch, of even number the other, so that a batch may leave one without gradient.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from unisono.errors import CheckpointError
from unisono.training import reporting
from unisono.training.batch import Batch, Computed, State
from unisono.training.checkpoint import checkpoints
from unisono.training.goals import NextToken
from unisono.training.journal import TIMES, read_journal
from unisono.training.loop import Outcome, train_stage
from unisono.training.recipe import (
    BatchSettings,
    Length,
    ModelSettings,
    OptimizerSettings,
    Recipe,
    SourceSettings,
    StageSettings,
)

WIDTH = 6


class Layer(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(WIDTH, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.norm(self.linear(x)).tanh()


class Toy(nn.Module):
    """[N, WIDTH], [N] -> [N]; the branch of each row is given."""

    _no_split_modules = ("Layer",)

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer() for _ in range(3))
        self.branches = nn.ModuleDict({"even": nn.Linear(WIDTH, 1), "odd": nn.Linear(WIDTH, 1)})
        self.scale = nn.Parameter(torch.tensor(0.5))  # FSDP knows no scalars
        self.frozen = nn.Linear(WIDTH, WIDTH).requires_grad_(False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, odd: Tensor, *, every_branch: bool = False) -> Tensor:
        x = self.frozen(x)
        for layer in self.layers:
            x = self.dropout(layer(x))
        found = x.new_zeros(len(x))
        for name, chosen in (("even", ~odd), ("odd", odd)):
            if every_branch or chosen.any():
                branch: Tensor = self.branches[name](x)
                found = found + torch.where(chosen, branch[:, 0], branch[:, 0] * 0)
        return found * self.scale.exp()


def toy(seed: int = 0, dropout: float = 0.0) -> Toy:
    torch.manual_seed(seed)
    return Toy(dropout)


def features(number: int) -> tuple[Tensor, float]:
    x = torch.randn(WIDTH, generator=torch.Generator().manual_seed(number))
    return x, float(x.sum().tanh())


class Squares:
    """Squared errors; weight is the rows. `spoil` changes the loss of a draw, to break it."""

    def __init__(
        self,
        spoil: Callable[[Tensor, int], Tensor] | None = None,
        *,
        every_branch: bool = False,
    ) -> None:
        self.spoil = spoil
        self.every_branch = every_branch

    def prepare(self, row: Any) -> Any:
        return row

    def length(self, example: Any) -> int:
        return 1

    def kind(self, example: Any) -> str:
        return "text"

    def collate(self, examples: Any) -> Any:
        raise NotImplementedError  # `Rows` makes the batches

    def loss(self, model: nn.Module, inputs: Mapping[str, Any], *, draw: int) -> Computed:
        found = model(inputs["x"], inputs["odd"], every_branch=self.every_branch)
        errors = (found - inputs["y"]).float()
        loss = errors.square().sum()
        if self.spoil is not None:
            loss = self.spoil(loss, draw)
        return Computed(loss, {"absolute": errors.detach().abs().sum()})


class Rows:
    """Batches of numbered rows, the sizes taking turns; of rank r of n, every n-th batch."""

    def __init__(
        self,
        sizes: tuple[int, ...] = (4,),
        *,
        rank: int = 0,
        world: int = 1,
        wait_s: float = 0.0,
        fails_at: int | None = None,
        failure: Exception | None = None,
    ) -> None:
        self.sizes, self.rank, self.world = sizes, rank, world
        self.wait_s = wait_s
        self.fails_at, self.failure = fails_at, failure
        self.batch = rank
        self.closed = False

    def __iter__(self) -> Iterator[Batch]:
        while True:
            if self.fails_at is not None and self.batch >= self.fails_at and self.failure:
                raise self.failure
            time.sleep(self.wait_s)
            batch = self._made(self.batch)
            self.batch += self.world
            yield batch

    def _made(self, place: int) -> Batch:
        turns, rest = divmod(place, len(self.sizes))
        start = turns * sum(self.sizes) + sum(self.sizes[:rest])
        numbers = range(start, start + self.sizes[rest])
        rows = [features(number) for number in numbers]
        inputs = {
            "x": torch.stack([x for x, _ in rows]),
            "y": torch.tensor([y for _, y in rows]),
            "odd": torch.tensor([number % 2 == 1 for number in numbers]),
        }
        names = tuple(f"row:{number}" for number in numbers)
        state = {"next": place + self.world, "sizes": list(self.sizes)}
        return Batch(inputs, names, 3 * len(names), float(len(names)), state, self.wait_s)

    def restore(self, state: State) -> None:
        if state["sizes"] != list(self.sizes):
            raise CheckpointError("other data")
        self.batch = state["next"]

    def close(self) -> None:
        self.closed = True


def settings(
    length: Mapping[str, Any] | None = None,
    *,
    accumulate: int = 1,
    optimizer: Mapping[str, Any] | None = None,
    **recipe: Any,
) -> Recipe:
    """A recipe of one stage; nothing of it but what the loop reads means anything."""
    stage = StageSettings(
        name="toy",
        objective=NextToken(),
        mixture={"rows": 1.0},
        trainable=("all",),
        length=Length(**(length or {"steps": 10})),
        batch=BatchSettings(samples=4, accumulate=accumulate),
        optimizer=OptimizerSettings(**{"lr": 0.01, "weight_decay": 0.1, **(optimizer or {})}),
    )
    return Recipe(
        model=ModelSettings(family="ola"),
        sources={"rows": SourceSettings(path="rows.jsonl")},
        stages=(stage,),
        out="unused",
        **{"checkpoints": {"every_s": None}, **recipe},
    )


def train(
    recipe: Recipe,
    folder: Path,
    *,
    model: nn.Module | None = None,
    objective: Squares | None = None,
    rows: Rows | None = None,
) -> Outcome:
    return train_stage(
        toy() if model is None else model,
        objective or Squares(),
        rows or Rows(),
        recipe=recipe,
        stage=recipe.stages[0],
        folder=folder,
        part_of=lambda name: name.split(".")[0],
    )


@pytest.fixture
def no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second each, and of no matter where they are not looked at."""
    monkeypatch.setattr(reporting, "draw_curves", lambda journal, picture: False)


def journal(folder: Path) -> list[dict[str, Any]]:
    """The lines, without what differs from run to run."""
    lines = read_journal(folder / "journal.jsonl")
    return [{key: line[key] for key in line if key not in TIMES} for line in lines]


def saved_steps(folder: Path) -> list[int]:
    return [int(path.name[5:]) for path in checkpoints(folder / "checkpoints")]


def tree(folder: Path) -> dict[str, bytes]:
    """Every file in a folder."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def weights(model: nn.Module) -> dict[str, Tensor]:
    return {name: one.detach().clone() for name, one in model.named_parameters()}
