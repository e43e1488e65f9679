"""A recipe's stages one after the other; what is done is not done again.

<out>/recipe.yaml          the run, all defaults written out
<out>/bad_rows.jsonl       rows of no use
<out>/features/            what frozen encoders made of media, where a stage keeps it
<out>/stages/<stage>/      journal, curves and checkpoints: see `loop`; the model: see `finish`
"""

import logging
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from unisono.allocator import keep_memory
from unisono.errors import CheckpointError, RecipeError, UnisonoError
from unisono.manifests import Manifest, Row
from unisono.models.onepeace import OnePeaceForPretraining
from unisono.training.data import check_data, open_source
from unisono.training.distributed import Ranks
from unisono.training.feature_cache import EncoderCache, FeatureStore
from unisono.training.finish import AVERAGED, MODEL, forget, is_done, mark_done, save_stage
from unisono.training.goals import LabelledSettings
from unisono.training.labels import choose_labels
from unisono.training.ledger import Ledger
from unisono.training.loop import CHECKPOINTS, train_stage
from unisono.training.mixture import Mixture, Source, digest
from unisono.training.model_config import laid_over
from unisono.training.objectives.audio_spectrum import AudioSpectrum
from unisono.training.objectives.choose import AnyObjective, choose_objective
from unisono.training.objectives.connector_cells import ConnectorCells
from unisono.training.objectives.connector_ctc import ConnectorCtc
from unisono.training.parts import depth_finder, part_of, set_trainable
from unisono.training.plan import make_plan
from unisono.training.recipe import Length, Recipe, StageSettings
from unisono.training.recipe_yaml import written
from unisono.training.snapshot import load_weights
from unisono.training.start import Processor, begin
from unisono.training.start_head import head_fields
from unisono.training.strategies import arranged
from unisono.training.stream import Batches

_LOG = logging.getLogger(__name__)
_OF_A_RUN = ("stages", "features", "recipe.yaml")


def train(recipe: Recipe, *, resume: bool = True) -> Path:
    """Train all stages of a recipe, from where an earlier run of it stopped.

    Args:
        recipe: as `read_recipe` gave it.
        resume: False throws away what is in the recipe's `out`.

    Returns:
        The folder of the last stage's model, for `unisono.load`.

    Raises:
        RecipeError: the recipe contradicts itself, its model or its data; before the first step.
        CheckpointError: what is in `out` is of another recipe, or cannot be written.
        DataError, DivergenceError, HubError, MissingExtraError: see `train_stage`, `begin`.
        KeyboardInterrupt: Ctrl-C; the stage is saved.
    """
    if not torch.accelerator.is_available():
        keep_memory()
    recipe = arranged(recipe)
    make_plan(recipe)
    for stage in recipe.stages:
        check_data(recipe, stage)
    return _Run(recipe, Ranks(recipe.distribution)).train(resume=resume)


@dataclass
class _Run:
    recipe: Recipe
    ranks: Ranks

    def train(self, *, resume: bool) -> Path:
        self._prepare(Path(self.recipe.out), resume)
        before: Path | None = None
        for place, stage in enumerate(self.recipe.stages):
            folder = self._folder(stage)
            done = is_done(folder, self.recipe, stage)
            if not self.ranks.gather(done)[0]:
                _StageOfRun(self.recipe, stage, self.ranks, before).train(folder)
                self._forget(self.recipe.stages[place + 1 :])
            before = folder / MODEL
        return cast(Path, before)  # a recipe has at least one stage

    def _folder(self, stage: StageSettings) -> Path:
        return Path(self.recipe.out) / "stages" / stage.name

    def _prepare(self, out: Path, resume: bool) -> None:
        if self.ranks.is_main:
            if not resume:
                _clear(out)
            try:
                out.mkdir(parents=True, exist_ok=True)
                (out / "recipe.yaml").write_text(written(self.recipe.model_dump(mode="json")))
            except OSError as error:
                raise CheckpointError(f"'{out}' cannot be written: {error.strerror}") from error
            if self.ranks.world != self.recipe.ranks:
                _LOG.warning(
                    "the recipe's batches are meant for %d ranks, but there are %d",
                    self.recipe.ranks,
                    self.ranks.world,
                )
        self.ranks.barrier()

    def _forget(self, later: Sequence[StageSettings]) -> None:
        """Later stages of an earlier run began with other weights."""
        if self.ranks.is_main:
            for stage in later:
                forget(self._folder(stage))
                shutil.rmtree(self._folder(stage) / CHECKPOINTS, ignore_errors=True)
        self.ranks.barrier()


@dataclass(frozen=True)
class _Ready:
    """A stage that may begin: its model with what trains, and what is to be learned."""

    model: nn.Module
    processor: Processor
    objective: AnyObjective


@dataclass
class _StageOfRun:
    recipe: Recipe
    stage: StageSettings
    ranks: Ranks
    before: Path | None

    def train(self, folder: Path) -> None:
        """From the end of the stage before to a model in `folder`."""
        sources = {name: open_source(self.recipe, name) for name in self.stage.mixture}
        ready = self._ready(sources)
        outcome = train_stage(
            ready.model,
            cast(Any, ready.objective),
            self._batches(ready.objective, sources),
            recipe=self.recipe,
            stage=self.stage.model_copy(update={"length": self._length(sources)}),
            folder=folder,
            part_of=part_of,
            depth_of=depth_finder(ready.model),
        )
        if self.ranks.is_main:
            self._save(ready, sources, outcome.checkpoint, folder)
            shutil.rmtree(folder / CHECKPOINTS, ignore_errors=True)
        self.ranks.barrier()

    def _ready(self, sources: dict[str, Source]) -> _Ready:
        weights = self.stage.starts_from or (self.before and str(self.before)) or None
        settings, seed = self.recipe.model, self.recipe.seed
        labels = self._labels(sources)
        changes = laid_over(self.stage.model, head_fields(self.stage.objective))
        started = begin(settings, changes=changes, folder=weights, labels=labels, seed=seed)
        model = started.model
        if isinstance(model, OnePeaceForPretraining):
            self._start_over(model)
        # Already here: the cache asks what is frozen.
        inner = set(self.stage.trainable) - {"alignment"}
        set_trainable(model, inner, stage=self.stage.name)
        rows, cache = _rows(sources), self._cache(model)
        objective = choose_objective(
            self.stage,
            started.processor,
            rows,
            seed=seed,
            cache=cache,
            labels=labels,
            config=cast(Any, model).config,
        )
        if isinstance(objective, ConnectorCtc | ConnectorCells | AudioSpectrum):
            model = objective.wrap(cast(Any, model))
            set_trainable(model, self.stage.trainable, stage=self.stage.name)
        return _Ready(model, started.processor, objective)

    def _labels(self, sources: dict[str, Source]) -> tuple[str, ...] | None:
        """What a classifier is to choose from."""
        if not isinstance(self.stage.objective, LabelledSettings):
            return None
        lists = [getattr(source, "classes", None) for source in sources.values()]
        published = lists[0] if all(one == lists[0] for one in lists) else None
        return choose_labels(self.stage.objective, _rows(sources), published)

    def _start_over(self, model: OnePeaceForPretraining) -> None:
        if "logit_scale" in self.stage.reset:
            model.onepeace.reset_scale()
        for modality, other in self.stage.begin_as.items():
            model.onepeace.begin_as(modality, other)

    def _cache(self, model: nn.Module) -> EncoderCache | None:
        gigabytes = self.stage.batch.cache_gb
        if not gigabytes or self.recipe.model.family != "ola":
            return None
        store = FeatureStore(Path(self.recipe.out) / "features", round(gigabytes * 1e9))
        return EncoderCache(cast(Any, model).encoders, store, self.recipe.precision)

    def _length(self, sources: dict[str, Source]) -> Length:
        """Epochs as samples.

        Raises:
            RecipeError: nobody knows how many rows there are.
        """
        epochs = self.stage.length.epochs
        if epochs is None:
            return self.stage.length
        rows = 0
        for name, source in sources.items():
            own = len(source) if isinstance(source, Manifest) else self.recipe.sources[name].rows
            if own is None:
                raise RecipeError(
                    f"length.epochs of stage {self.stage.name} needs to know how many rows there "
                    f"are, but source {name} is read as a stream: give length.samples, or "
                    f"sources.{name}.rows"
                )
            rows += own
        return Length(samples=max(1, round(epochs * rows)))

    def _batches(self, objective: AnyObjective, sources: dict[str, Source]) -> Batches:
        seed, rank = digest(self.recipe.seed, self.stage.name), self.ranks.rank
        mixture = Mixture(sources, self.stage.mixture, seed=seed, rank=rank, world=self.ranks.world)
        name = f"bad_rows.{rank}.jsonl" if rank else "bad_rows.jsonl"
        ledger = Ledger(Path(self.recipe.out) / name, self.recipe.guards.bad_rows, mixture.rows)
        return Batches(mixture, cast(Any, objective), self.stage.batch, ledger, seed=seed)

    def _save(
        self, trained: _Ready, sources: dict[str, Source], checkpoint: Path, folder: Path
    ) -> None:
        if self.stage.optimizer.ema is not None:
            averaged = self._ready(sources).model
            load_weights(averaged, checkpoint, ema=True)
            save_stage(averaged, trained.processor, folder, AVERAGED)
        # One that several processes trained may be in shards.
        model = trained.model
        if self.ranks.world > 1:
            model = self._ready(sources).model
            load_weights(model, checkpoint)
        save_stage(model, trained.processor, folder)
        mark_done(folder, self.recipe, self.stage)


def _rows(sources: dict[str, Source]) -> Iterator[Row]:
    """All rows that are not broken."""
    for source in sources.values():
        if isinstance(source, Manifest):
            for place in range(len(source)):
                try:
                    yield source[place]
                except UnisonoError:
                    continue
        else:
            yield from (row for row in source.stream(0) if not isinstance(row, UnisonoError))


def _clear(out: Path) -> None:
    """Remove what a run has written, and nothing else."""
    for path in (*(out / name for name in _OF_A_RUN), *out.glob("bad_rows*.jsonl")):
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
