"""Where a recipe's sources lie on this machine."""

import glob
from pathlib import Path

from unisono.errors import DataError, RecipeError, UnisonoError
from unisono.manifests import Manifest, StreamedManifest, open_manifest
from unisono.manifests.datasets import open_dataset
from unisono.training.recipe import Recipe, SourceSettings, StageSettings


def open_source(recipe: Recipe, name: str) -> Manifest | StreamedManifest:
    """The rows of one of a recipe's sources.

    Raises:
        DataError: its files are missing, or no manifests; the message names the source.
        MissingExtraError: its kind of file needs another package.
    """
    source = recipe.sources[name]
    root = Path(recipe.data_dir or ".")
    media = None if source.media is None else root / source.media
    try:
        if source.format is not None:
            (path,) = _paths(source)
            return open_dataset(source.format, root / path, media=media, **(source.options or {}))
        return open_manifest(
            [root / path for path in _paths(source)], media=media, streaming=source.streaming
        )
    except DataError as error:
        raise type(error)(f"source {name}: {error}") from error


def row_count(recipe: Recipe, name: str) -> int | None:
    """Rows of the files at hand; where none can be counted, what the recipe says, or None."""
    try:
        opened = open_source(recipe, name)
    except UnisonoError:
        return recipe.sources[name].rows
    return len(opened) if isinstance(opened, Manifest) else recipe.sources[name].rows


def _paths(source: SourceSettings) -> tuple[str, ...]:
    return (source.path,) if isinstance(source.path, str) else source.path


def missing_files(recipe: Recipe, stage: StageSettings) -> list[str]:
    """What a stage needs and is not there, as a person would look for it."""
    root = Path(recipe.data_dir or ".")
    missing = []
    for name in stage.mixture:
        for pattern in _paths(recipe.sources[name]):
            if not glob.glob(str(root / pattern), recursive=True):
                missing.append(f"source {name}: there is no '{root / pattern}'")
    return missing


def check_data(recipe: Recipe, stage: StageSettings) -> None:
    """All files of a stage's sources must be there.

    Raises:
        RecipeError: one is not.
    """
    if missing := missing_files(recipe, stage):
        more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
        raise RecipeError(f"stage {stage.name}, {missing[0]}{more}")
