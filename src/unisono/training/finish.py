"""The end of a stage: a folder that the next stage and `unisono.load` read.

<stage>/model/      config, tokenizer and all weights, an adapter merged into them
<stage>/adapter/    with LoRA: the adapter alone, for the weights the stage began with
<stage>/done.json   written last: what the stage was, so that it is not trained again
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any, cast

from torch import nn
from transformers.utils import logging as progress

from unisono.errors import CheckpointError
from unisono.training.fingerprint import check_same
from unisono.training.objectives.alignment import TokenAlignment
from unisono.training.objectives.audio_spectrum import StemSpectrum
from unisono.training.recipe import Recipe, StageSettings
from unisono.training.start import Processor

MODEL, AVERAGED, ADAPTER, DONE = "model", "averaged", "adapter", "done.json"


def save_stage(model: nn.Module, processor: Processor, folder: Path, name: str = MODEL) -> Path:
    """Write a stage's model; whole or not at all.

    Args:
        model: as trained, on any device, not sharded; an adapter in it is merged, in place.
        processor: its.
        folder: of the stage.
        name: `MODEL`, or `AVERAGED`.

    Returns:
        The folder of the model.

    Raises:
        CheckpointError: it cannot be written.
    """
    plain = model.model if isinstance(model, TokenAlignment | StemSpectrum) else model
    try:
        if hasattr(plain, "merge_and_unload"):
            if name == MODEL:
                adapted = cast(Any, plain)
                _replaced(folder / ADAPTER, adapted.save_pretrained)
            plain = cast(Any, plain).merge_and_unload()
        return _replaced(folder / name, lambda new: _write(plain, processor, new))
    except OSError as error:
        raise CheckpointError(
            f"the model cannot be written to '{folder}': {error.strerror or error}"
        ) from error


def mark_done(folder: Path, recipe: Recipe, stage: StageSettings) -> None:
    """Say that a stage is complete."""
    new = folder / f"{DONE}.partial"
    new.write_text(json.dumps(_identity(recipe, stage), indent=1, sort_keys=True))
    new.replace(folder / DONE)


def forget(folder: Path) -> None:
    """A stage is no longer complete."""
    (folder / DONE).unlink(missing_ok=True)


def is_done(folder: Path, recipe: Recipe, stage: StageSettings) -> bool:
    """Whether a stage is complete.

    Raises:
        CheckpointError: it is, but was another one then.
    """
    try:
        then = json.loads((folder / DONE).read_text())
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        raise CheckpointError(f"'{folder / DONE}' cannot be read: {error}") from error
    check_same(then, _identity(recipe, stage), folder)
    return True


def _identity(recipe: Recipe, stage: StageSettings) -> dict[str, Any]:
    """What a stage's result depends on, as plain values."""
    settings = stage.model_dump(mode="json", exclude={"our_choice"})
    for name in ("workers", "ahead", "cache_gb"):
        del settings["batch"][name]
    sources = {name: recipe.sources[name].model_dump(mode="json") for name in stage.mixture}
    model = recipe.model.model_dump(mode="json")
    rest = {"seed": recipe.seed, "precision": recipe.precision}
    return {**settings, "sources": sources, "model_of_run": model, **rest}


def _write(model: Any, processor: Processor, folder: Path) -> None:
    draws = progress.is_progress_bar_enabled()
    progress.disable_progress_bar()  # it would tear the training's own
    try:
        model.save_pretrained(folder)
        if processor is not None:
            processor.save_pretrained(folder)
    finally:
        if draws:
            progress.enable_progress_bar()


def _replaced(folder: Path, write: Any) -> Path:
    """Write a folder beside its place, then put it there."""
    new = folder.with_name(f"{folder.name}.partial")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    try:
        write(new)
        for path in new.rglob("*"):
            if path.is_file():
                _flush(path)
        shutil.rmtree(folder, ignore_errors=True)
        new.replace(folder)
    except OSError:
        shutil.rmtree(new, ignore_errors=True)
        raise
    return folder


def _flush(path: Path) -> None:
    """To the disk: a crash of the machine must not leave an empty file under a good name."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
