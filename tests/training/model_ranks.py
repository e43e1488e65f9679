"""Tiny real models on two gloo ranks, forked like the toy's.

    python model_ranks.py FOLDER CASE...

A case is MODEL-WAY[-PRECISION]: `ola-ddp`, `onepeace-fsdp-bf16`. The second rank's batches have
media, the first's are text alone, where the model knows such. Prints a line of JSON for each: how
the ranks' processes ended.
"""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

import olas
import tiny
import torch
import toy_stage
from torch import nn
from toy_ranks import ended, start

from unisono.manifests import Row
from unisono.models.onepeace import OnePeaceForPretraining
from unisono.training import recipe as settings
from unisono.training.batch import Batch, Objective, State
from unisono.training.loop import train_stage
from unisono.training.objectives.next_token import NextToken
from unisono.training.objectives.onepeace import OnePeaceContrast
from unisono.training.parts import depth_finder, part_of

STEPS = 4


class Prepared:
    """The same batches over and over."""

    def __init__(self, objective: Objective[Any], batches: Sequence[Sequence[Row]]) -> None:
        self._objective, self._batches = objective, batches

    def __iter__(self) -> Iterator[Batch]:
        while True:
            for rows in self._batches:
                inputs, weight = self._objective.collate(list(map(self._objective.prepare, rows)))
                yield Batch(inputs, tuple(row.name for row in rows), 1, weight)

    def restore(self, state: State) -> None:
        raise NotImplementedError

    def close(self) -> None:
        pass


def made(name: str, ranks: Sequence[int]) -> tuple[nn.Module, Any, Prepared]:
    """A model, its objective, and the batches of some ranks, in turns."""
    if name == "ola":
        model, processor = olas.ola("llama", speech=True, vision=True)
        work: Any = NextToken(processor, settings.NextToken(), loss_chunk=4)
        picture, text, sound, both = olas.rows()
        shares = [[text], [picture, sound, both]]
    else:
        from test_training_onepeace import pictures

        onepeace, processor = tiny.onepeace()
        torch.manual_seed(0)
        model = OnePeaceForPretraining(onepeace.config)
        work = OnePeaceContrast(processor, settings.Contrastive(stage="vision_language"))
        shares = [pictures()[:2], pictures()[2:]]
    return model, work, Prepared(work, [shares[rank] for rank in ranks])


def train(folder: Path, name: str, way: Any, ranks: Sequence[int], precision: Any = "fp32") -> None:
    torch.set_num_threads(1)
    model, work, source = made(name, ranks)
    if name == "onepeace":
        for parameter_name, parameter in model.named_parameters():
            parameter.requires_grad_(part_of(parameter_name) not in ("audio", ""))
    recipe = toy_stage.settings(
        {"steps": STEPS},
        accumulate=len(ranks),
        optimizer={"lr": 1e-3, "layer_decay": 0.9, "ema": 0.9},
        distribution=way,
        precision=precision,
        gradient_checkpointing=precision != "fp32",
    )
    train_stage(
        model,
        work,
        source,
        recipe=recipe,
        stage=recipe.stages[0],
        folder=folder,
        part_of=part_of,
        depth_of=depth_finder(model),
    )


def main() -> None:
    folder, *cases = sys.argv[1:]
    for case in cases:
        name, way, *precision = case.split("-")
        path = Path(folder) / case

        def work(rank: int) -> None:
            train(path, name, way, [rank], *precision)  # noqa: B023 -- used before the next turn

        print(json.dumps([ended(pid) for pid in start(work, path)]), flush=True)


if __name__ == "__main__":
    main()
