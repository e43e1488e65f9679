"""What a run made, as small as it can be: the folder that the package ships or a user passes on.

    python -m unisono.training.ship RUN DESTINATION

Ola: config.json, model.safetensors (encoders and connectors) and adapter/ (the LoRA adapters of
all stages, as one). The language model and Whisper's encoder are parts of the catalog that every
user fetches: they are left out, so no stage may have trained them. ONE-PEACE: the model without
the decoder of its pretraining, and its processor. All numbers are in half precision.
"""

import argparse
import math
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from unisono.engines.adapter_file import WEIGHTS, read_adapter
from unisono.errors import CheckpointError
from unisono.models import OlaConfig, OnePeaceModel, OnePeaceProcessor
from unisono.training.adapters import adapter_state, reduced, summed, write_config
from unisono.training.finish import ADAPTER, AVERAGED, DONE, MODEL
from unisono.training.recipe import Recipe
from unisono.training.recipe_read import read_recipe

MOST_BYTES = 60_000_000
"""Of all models that are shipped side by side."""

_TENSORS = "model.safetensors"
_SPEECH, _LANGUAGE_MODEL = "encoders.hearing.speech.", "language_model."
_NOT_SHIPPED = ("language_model", "speech_encoder")
"""Parts of other people's, which users fetch."""


@dataclass(frozen=True)
class Shipped:
    """What stands in the destination.

    Attributes:
        files: name, relative to the destination -> bytes.
        bytes_together: of this model, and of the models beside it.
        adapter_lost: the share of the adapter that a smaller rank lost; see `adapters.reduced`.
    """

    files: dict[str, int]
    bytes_together: int
    adapter_lost: float = 0.0


def ship(
    run: Path, destination: Path, *, averaged: bool = False, rank: int | None = None
) -> Shipped:
    """Write what a run made into a folder.

    Args:
        run: the folder of a run that is complete.
        destination: the folder "weights/<name>"; what it has besides stays (a card, generation
            settings).
        averaged: take the average of the weights, which a run with `ema` keeps.
        rank: largest of the adapter. By default the ranks of all stages' adapters add up, and
            nothing is lost.

    Raises:
        CheckpointError: the run is not complete; a stage trained what cannot be shipped; numbers
            do not fit half precision; or all models together would be too large. The destination
            is as it was then.
    """
    recipe = _recipe(run)
    model = run / "stages" / recipe.stages[-1].name / (AVERAGED if averaged else MODEL)
    if not (model / "config.json").is_file() or not (model.parent / DONE).is_file():
        raise CheckpointError(
            f"there is no finished {model.name} in '{model.parent}': is the run complete?"
        )
    new = destination.with_name(f".unfinished-{destination.name}")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    lost = 0.0
    try:
        if recipe.model.family == "ola":
            adapters = _adapters_of(run, recipe)
            if averaged and adapters:
                raise CheckpointError("no average is kept of an adapter: ship the last weights")
            _write_ola(model, new)
            lost = _write_adapter(adapters, rank, new / ADAPTER)
        else:
            _write_onepeace(model, new)
        together = _size(new) + sum(_size(one) for one in _neighbours(destination))
        if together > MOST_BYTES:
            raise CheckpointError(
                f"the models in '{destination.parent}' must have at most {MOST_BYTES / 1e6:.0f} MB "
                f"together, but would have {together / 1e6:.1f} MB"
            )
        files = {str(path.relative_to(new)): path.stat().st_size for path in _files(new)}
        _put(new, destination)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return Shipped(files, together, lost)


def _recipe(run: Path) -> Recipe:
    if not (run / "recipe.yaml").is_file():
        raise CheckpointError(f"'{run}' is no folder of a run: it has no recipe.yaml")
    return read_recipe(run / "recipe.yaml")


def _adapters_of(run: Path, recipe: Recipe) -> list[Path]:
    """The adapters in the last stage's model, oldest first."""
    folders = [stage / ADAPTER for stage in _stages_of(run, recipe)]
    return [folder for folder in folders if folder.is_dir()]


def _stages_of(run: Path, recipe: Recipe) -> list[Path]:
    """The stages whose adapters are in the last one's model, those of earlier runs too.

    Raises:
        CheckpointError: one of them trained what cannot be shipped.
    """
    stages: list[Path] = []
    before = recipe.model.source
    for stage in recipe.stages:
        if trained := sorted(set(stage.trainable) & set(_NOT_SHIPPED)):
            raise CheckpointError(
                f"stage {stage.name} of '{run}' trained {', '.join(trained)}, which is not "
                "shipped: train an adapter (model.lora)"
            )
        if stage.starts_from is not None:
            stages, before = [], stage.starts_from
        if not stages and before is not None:
            stages = _stages_before(Path(before))
        stages.append(run / "stages" / stage.name)
    return stages


def _stages_before(model: Path) -> list[Path]:
    """The stages behind a folder of weights, if it is the end of a run's stage."""
    run = model.parent.parent.parent
    if not (run / "recipe.yaml").is_file():
        return []
    recipe = _recipe(run)
    names = [stage.name for stage in recipe.stages]
    if model.parent.name not in names:
        return []
    last = names.index(model.parent.name)
    earlier = recipe.model_copy(update={"stages": recipe.stages[: last + 1]})
    return _stages_of(run, earlier)


def _write_ola(model: Path, new: Path) -> None:
    try:
        state = load_file(model / _TENSORS)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"the weights in '{model}' cannot be read: {error}") from error
    left_out = (_LANGUAGE_MODEL, _SPEECH)
    ours = {key: tensor for key, tensor in state.items() if not key.startswith(left_out)}
    if ours:
        _save(ours, new / _TENSORS)
    config = OlaConfig.from_pretrained(model)
    config.dtype = torch.float16
    config.save_pretrained(new)


def _write_adapter(folders: Sequence[Path], rank: int | None, folder: Path) -> float:
    """The share of the adapters that a smaller rank loses."""
    layers, lost = summed([read_adapter(one) for one in folders]), 0.0
    if rank is not None:
        layers, lost = reduced(layers, rank)
    if layers:
        folder.mkdir()
        _save(adapter_state(layers), folder / WEIGHTS)
        write_config(layers, folder)
    return lost


def _write_onepeace(model: Path, new: Path) -> None:
    loaded: Any = OnePeaceModel.from_pretrained(model, dtype=torch.float32)
    loaded.config.decoder_config = None
    _check_range(loaded.state_dict())
    loaded.half().save_pretrained(new)
    OnePeaceProcessor.from_pretrained(model).save_pretrained(new)


def _save(state: dict[str, Tensor], path: Path) -> None:
    """In half precision; whole numbers as they are."""
    _check_range(state)
    halved = {
        name: (tensor.half() if tensor.is_floating_point() else tensor).contiguous()
        for name, tensor in state.items()
    }
    save_file(halved, path, metadata={"format": "pt"})


def _check_range(state: dict[str, Tensor]) -> None:
    most = torch.finfo(torch.float16).max
    for name, tensor in state.items():
        largest = float(tensor.abs().max()) if tensor.is_floating_point() and tensor.numel() else 0
        if not math.isfinite(largest) or largest > most:
            raise CheckpointError(f"{name} has {largest:g}, which half precision cannot hold")


def _put(new: Path, destination: Path) -> None:
    """Replace what is written anew; an adapter of an earlier run goes."""
    destination.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(destination / ADAPTER, ignore_errors=True)
    (destination / _TENSORS).unlink(missing_ok=True)
    for path in new.iterdir():
        path.replace(destination / path.name)


def _neighbours(destination: Path) -> list[Path]:
    """The other models beside it."""
    beside = destination.parent.glob("*/config.json")
    return [path.parent for path in beside if path.parent.name not in _names_of(destination)]


def _names_of(destination: Path) -> set[str]:
    return {destination.name, f".unfinished-{destination.name}"}


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in _files(folder))


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line; see the module."""
    parser = argparse.ArgumentParser(prog="python -m unisono.training.ship", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("run", type=Path)
    parser.add_argument("destination", type=Path)
    parser.add_argument("--averaged", action="store_true", help="the average of the weights")
    parser.add_argument("--rank", type=int, help="the largest rank of the adapter")
    given = parser.parse_args(arguments)
    shipped = ship(given.run, given.destination, averaged=given.averaged, rank=given.rank)
    for name, size in shipped.files.items():
        print(f"{size / 1e6:8.2f} MB  {given.destination / name}")
    print(f"{shipped.bytes_together / 1e6:8.2f} MB  with the models beside it")
    if given.rank is not None:
        print(f"{shipped.adapter_lost:8.1%} of the adapter is lost to its smaller rank")


if __name__ == "__main__":
    main()
