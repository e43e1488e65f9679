"""The training loop: a model, an objective and batches in; weights, a journal and curves out.

<stage>/checkpoints/    see `checkpoint`
<stage>/journal.jsonl   a line a step
<stage>/curves.png      the same, drawn

Stopped or killed at any time, the same call goes on, and what comes out is what would have come
out: the same samples in the same steps, the same numbers drawn by chance, the same journal.
"""

import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, cast

from torch import nn

from unisono.errors import DataError, DivergenceError
from unisono.training.batch import Batch, BatchSource, Objective, State
from unisono.training.budget import Budget, Totals
from unisono.training.checkpoint import agreed_checkpoint, read_state, save_checkpoint
from unisono.training.distributed import Ranks, trained_parameters
from unisono.training.ema import Ema
from unisono.training.fingerprint import check_same, fingerprint
from unisono.training.gradient_checkpointing import enable_gradient_checkpointing
from unisono.training.guards import Guards
from unisono.training.interruption import Interruption
from unisono.training.optimizer import DepthOf, PartOf, make_optimizer
from unisono.training.precision import Mixed
from unisono.training.recipe import Recipe, StageSettings
from unisono.training.reporting import Reporter, journal_line
from unisono.training.schedule import Schedule
from unisono.training.snapshot import Learned, generators, restore_generators
from unisono.training.step import Measured, Share, Stepper, Taken, take
from unisono.training.trackers import check_trackers

_LOG = logging.getLogger(__name__)

CHECKPOINTS, TRACKERS = "checkpoints", "trackers"


@dataclass(frozen=True)
class Outcome:
    """A stage at its end.

    Attributes:
        totals: what it did.
        loss: running mean over its last 20 steps or so.
        checkpoint: its last one; `load_weights` puts it, or the average of the weights, into a
            model. The model that was trained has the weights too, unless it was sharded.
    """

    totals: Totals
    loss: float
    checkpoint: Path


def train_stage(
    model: nn.Module,
    objective: Objective[Any],
    source: BatchSource,
    *,
    recipe: Recipe,
    stage: StageSettings,
    folder: Path,
    part_of: PartOf,
    depth_of: DepthOf | None = None,
) -> Outcome:
    """Train one stage, or go on with it. Every rank calls it.

    Args:
        model: float32, the same on all ranks; what `requires_grad` trains.
        objective: what is learned; see `distributed` for what it may do.
        source: batches of this rank, not begun yet. Closed in the end.
        recipe: of the run.
        stage: of the recipe; its length in steps, samples or tokens.
        folder: of the stage, the same on all ranks.
        part_of: name of a parameter -> part, for `lr_factors`.
        depth_of: name of a parameter -> its layer, for `layer_decay`.

    Raises:
        RecipeError: nothing trains, a tracker is not installed, the length is in epochs, or the
            model cannot recompute activations as it should.
        CheckpointError: the folder has another run, or cannot be written.
        DivergenceError: the loss is no number any more, or has run away.
        DataError: the data is not as it should be.
        MissingExtraError: accelerate is not installed.
        KeyboardInterrupt: by Ctrl-C or SIGTERM, once everything is saved.
    """
    check_trackers(recipe.log.trackers)
    budget = Budget.of(stage.length)
    with contextlib.closing(source):
        log_folder = str(folder / TRACKERS)
        ranks = Ranks(recipe.distribution, trackers=recipe.log.trackers, log_folder=log_folder)
        if recipe.gradient_checkpointing:
            enable_gradient_checkpointing(model)
        wrapped = ranks.wrap(model.train())
        settings, parameters = stage.optimizer, trained_parameters(wrapped)
        stepper = Stepper(
            model=wrapped,
            parameters=parameters,
            objective=objective,
            optimizer=make_optimizer(parameters, settings, part_of=part_of, depth_of=depth_of),
            ranks=ranks,
            precision=Mixed(recipe.precision, ranks.device),
            ema=None if settings.ema is None else Ema(parameters, settings.ema),
            clip_norm=settings.clip_norm,
            seed=recipe.seed,
        )
        run = _Run(recipe, stage, folder, stepper, source=source, budget=budget)
        with run.opened():
            return run.to_the_end()


class _Run:
    """One call of `train_stage`: all that goes on from step to step."""

    def __init__(
        self,
        recipe: Recipe,
        stage: StageSettings,
        folder: Path,
        stepper: Stepper,
        *,
        source: BatchSource,
        budget: Budget,
    ) -> None:
        self._recipe, self._stage, self._folder = recipe, stage, folder
        self._stepper, self._source, self._budget = stepper, source, budget
        self._ranks = ranks = stepper.ranks
        self._schedule = Schedule(stage.optimizer)
        self._guards = Guards(recipe.guards)
        self._interruption = Interruption()
        self._reporter = Reporter(
            ranks, folder, name=stage.name, every_steps=recipe.log.every_steps
        )
        self._learned = Learned(stepper.parameters, stepper.optimizer, stepper.ema, ranks)
        self._identity = {
            **fingerprint(recipe, stage, budget),
            "ranks": ranks.world,
            "sharded": ranks.sharded,
        }
        self._totals = Totals()
        self._place: State = {}
        self._generators = generators()
        self._checkpoint: Path | None = None
        self._saved_step, self._saved_at = 0, time.monotonic()

    @contextlib.contextmanager
    def opened(self) -> Iterator[None]:
        """Go on where the last checkpoint was; inside, signals are noted and progress is shown."""
        with contextlib.closing(self._reporter):
            self._resume()
            showing = self._reporter.showing(self._budget, self._totals)
            with self._interruption.watched(), showing:
                yield

    def to_the_end(self) -> Outcome:
        """Step after step."""
        batches = iter(self._source)
        while not self._is_over():
            self._step(batches)
        self._save()
        self._reporter.draw()
        # There is one: a budget has at least a step.
        return Outcome(self._totals, self._guards.mean, cast(Path, self._checkpoint))

    def _step(self, batches: Iterator[Batch]) -> None:
        started = time.perf_counter()
        taken = take(batches, self._stage.batch.accumulate)
        share = taken.share(stop=self._interruption.asked, due=self._is_due())
        shares = self._ranks.gather(share)
        self._stop_if_needed(taken, shares)
        lr = self._lr(shares)
        measured = self._stepper.run(
            self._totals.steps,
            taken.batches,
            weight=sum(one.weight for one in shares),
            lr=lr,
            stopped=self._stopped_alone,
        )
        if measured is None:
            self._interrupt()
        self._done(taken, shares, seconds=time.perf_counter() - started)
        self._report(measured, shares, lr=lr, seconds=time.perf_counter() - started)
        self._guard(measured)
        if shares[0].due and self._guards.healthy:
            self._save()
            self._reporter.draw(now=False)

    def _lr(self, shares: Sequence[Share]) -> float:
        samples, tokens = sum(one.samples for one in shares), sum(one.tokens for one in shares)
        before = self._budget.progress(self._totals)
        after = self._budget.progress(self._totals, step=Totals(1, samples, tokens))
        return self._stage.optimizer.lr * self._schedule.factor(self._totals.steps, before, after)

    def _done(self, taken: Taken, shares: Sequence[Share], *, seconds: float) -> None:
        """What a checkpoint would have from now on."""
        self._place, self._generators = taken.batches[-1].state, generators()
        self._totals.add(
            samples=sum(one.samples for one in shares),
            tokens=sum(one.tokens for one in shares),
            seconds=seconds,
        )

    def _report(
        self, measured: Measured, shares: Sequence[Share], *, lr: float, seconds: float
    ) -> None:
        line = journal_line(self._totals.steps, measured, shares, lr=lr, seconds=seconds)
        self._reporter.step(line, self._budget.done(self._totals), last=self._is_over())

    def _guard(self, measured: Measured) -> None:
        finite = measured.forgiven or not measured.skipped
        try:
            self._guards.seen(self._totals.steps, measured.loss, finite=finite)
        except DivergenceError as error:
            self._reporter.draw()
            kept = f"is '{self._checkpoint}'" if self._checkpoint else "was not reached"
            raise DivergenceError(f"{error}; the last good checkpoint {kept}") from None

    def _is_over(self) -> bool:
        return self._budget.done(self._totals) >= self._budget.total

    def _is_due(self) -> bool:
        """Whether a checkpoint is to follow the step that begins; the first rank's clock counts."""
        settings = self._recipe.checkpoints
        every_s, every_steps = settings.every_s, settings.every_steps
        by_time = every_s is not None and time.monotonic() - self._saved_at >= every_s
        return by_time or (every_steps is not None and (self._totals.steps + 1) % every_steps == 0)

    def _stopped_alone(self) -> bool:
        """Between micro-batches; several ranks stop together, between steps."""
        return self._interruption.asked and self._ranks.world == 1

    def _stop_if_needed(self, taken: Taken, shares: Sequence[Share]) -> None:
        failures = [(rank, one.failure) for rank, one in enumerate(shares) if one.failure]
        if failures:
            self._save()
            if taken.failure is not None:
                raise taken.failure
            raise DataError(f"rank {failures[0][0]} has no data: {failures[0][1]}")
        if any(one.stop for one in shares):
            self._interrupt()

    def _interrupt(self) -> NoReturn:
        self._save()
        self._reporter.draw()
        if self._ranks.is_main:
            where = f"saved in '{self._checkpoint}'" if self._checkpoint else "nothing to save yet"
            _LOG.warning("stopped after step %d: %s", self._totals.steps, where)
        raise KeyboardInterrupt

    def _save(self) -> None:
        """Unless this very step is saved already."""
        if self._totals.steps == self._saved_step:
            return
        of_ranks = self._ranks.gather((self._place, self._generators))
        state = {
            "identity": self._identity,
            "totals": self._totals.state(),
            "places": [place for place, _ in of_ranks],
            "generators": [drawn for _, drawn in of_ranks],
            "journal": self._reporter.position(),
            "guards": self._guards.state(),
            "schedule": self._schedule.state(),
            "precision": self._stepper.precision.state(),
        }
        self._checkpoint = save_checkpoint(
            self._folder / CHECKPOINTS,
            self._learned.snapshot(self._totals.steps, state),
            self._ranks,
            keep=self._recipe.checkpoints.keep,
        )
        self._saved_step, self._saved_at = self._totals.steps, time.monotonic()

    def _resume(self) -> None:
        path = agreed_checkpoint(self._folder / CHECKPOINTS, self._ranks)
        if path is None:
            self._reporter.cut_back(0)
            return
        state = read_state(path)
        check_same(state["identity"], self._identity, path)
        self._learned.restore(path)
        rank = self._ranks.rank
        self._place, self._generators = state["places"][rank], state["generators"][rank]
        self._source.restore(self._place)
        restore_generators(self._generators)
        self._totals = Totals(**state["totals"])
        self._guards.restore(state["guards"])
        self._schedule.restore(state["schedule"])
        self._stepper.precision.restore(state["precision"])
        self._reporter.cut_back(state["journal"])
        self._checkpoint, self._saved_step = path, self._totals.steps
        _LOG.info("stage %s goes on after step %d", self._stage.name, self._totals.steps)
