"""Rows at rest -> batches in motion: drawn, opened in threads, batched, a few of them ahead.

The stream of a rank is the same in every run. A batch carries what it takes to go on behind it:
where the mixture was before the pool it comes from, and how many batches of that pool were used.
Packed rows that would open a batch too many begin the next pool, so that no batch is nearly empty.
"""

import queue
import threading
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, cast

from unisono.errors import CheckpointError, RecipeError, UnisonoError
from unisono.training.batch import Batch, Objective, State
from unisono.training.batching import Size, fitting, make_batches
from unisono.training.ledger import Ledger
from unisono.training.mixture import Draw, Mixture, digest
from unisono.training.recipe import BatchSettings

_LOOK_S = 0.1
"""How often a thread that waits for the other one looks whether it is still wanted."""


@dataclass
class _Drawn:
    """A row on its way.

    Attributes:
        before: the mixture before it was drawn.
        draw: the row.
        example: what becomes of it.
    """

    before: dict[str, Any]
    draw: Draw
    example: "Future[tuple[str, Any]]"


@dataclass
class _Opened:
    """An example that can be used.

    Attributes:
        place: where mixture and ledger were before it.
        name: of its row.
        example, kind, length: what the objective says.
    """

    place: State
    name: str
    example: Any
    kind: str
    length: int


class _ClosedError(Exception):
    """Nobody wants more batches."""


class Batches:
    """A `BatchSource` over a mixture."""

    def __init__(
        self,
        mixture: Mixture,
        objective: Objective[Any],
        settings: BatchSettings,
        ledger: Ledger,
        *,
        seed: int = 0,
    ) -> None:
        """Nothing runs before the first batch is asked for.

        Args:
            mixture: of this rank.
            objective: opens and collates rows. With an attribute `packs`, a batch has no padding;
                with `exact`, every batch has `settings.samples` rows; with `augments`, `prepare`
                takes a number `draw` that decides what is drawn by chance.
            settings: sizes, threads.
            ledger: is told of bad rows.
            seed: of the order of batches.

        Raises:
            RecipeError: every batch must have as many rows, but nobody says how many.
        """
        self._mixture, self._objective, self._ledger = mixture, objective, ledger
        self._settings, self._seed = settings, seed
        self._size = Size(
            settings.tokens,
            settings.samples,
            packed=bool(getattr(objective, "packs", False)),
            exact=bool(getattr(objective, "exact", False)),
            group=settings.group,
        )
        if self._size.exact and settings.samples is None:
            raise RecipeError("batch.samples must be given: every batch must have as many rows")
        self._state: State = {"pool": mixture.state(), "bad": ledger.state(), "used": 0}
        self._thread: threading.Thread | None = None
        self._stop = threading.Event()

    def restore(self, state: State) -> None:
        """Go on behind the batch that carried this state.

        Raises:
            CheckpointError: it is of other data.
        """
        self.close()
        if not {"pool", "bad", "used"} <= state.keys():
            raise CheckpointError("the checkpoint has no place in the data")
        self._mixture.restore(state["pool"])
        self._ledger.restore(state["bad"])
        self._state = dict(state)

    def __iter__(self) -> Iterator[Batch]:
        """Batches from the present state on, until closed; one iterator at a time.

        Raises:
            TooManyBadRowsError, DataError: see `Ledger`, `open_manifest`.
        """
        self.restore(self._state)
        self._stop = stop = threading.Event()
        ready: queue.Queue[Batch | BaseException] = queue.Queue(self._settings.ahead)
        self._thread = threading.Thread(
            target=self._produce, args=(ready, stop), name="batches", daemon=True
        )
        self._thread.start()
        try:
            while True:
                started = time.perf_counter()
                if (got := _get(ready, stop)) is None:
                    return
                if isinstance(got, BaseException):
                    raise got
                self._state = got.state
                yield replace(got, waited_s=time.perf_counter() - started)
        finally:
            stop.set()

    def close(self) -> None:
        """Stop the threads and wait for them."""
        self._stop.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()
        self._thread = None

    def _produce(self, ready: "queue.Queue[Batch | BaseException]", stop: threading.Event) -> None:
        workers = ThreadPoolExecutor(self._settings.workers, thread_name_prefix="open-row")
        try:
            for batch in self._pools(workers, stop):
                if not _put(ready, batch, stop):
                    return
        except _ClosedError:
            pass
        except BaseException as error:  # raised again where batches are used
            _put(ready, error, stop)
        finally:
            workers.shutdown(wait=True, cancel_futures=True)

    def _pools(self, workers: ThreadPoolExecutor, stop: threading.Event) -> Iterator[Batch]:
        waiting: deque[_Drawn] = deque()
        left: list[_Opened] = []
        skip = int(self._state["used"])
        while True:
            if not waiting:
                self._draw(waiting, workers)
            place = left[0].place if left else self._place(waiting[0])
            opened = self._opened(left, waiting, workers, stop)
            pool, left = self._divided(opened)
            # Meanwhile the threads open what the next pool will have.
            for _ in range(max(0, len(pool) - len(waiting))):
                self._draw(waiting, workers)
            described = [(one.kind, one.length) for one in pool]
            seed = digest(self._seed, place["pool"]["drawn"])
            for used, places in enumerate(make_batches(described, self._size, seed), 1):
                if used > skip:
                    yield self._collated([pool[p] for p in places], {**place, "used": used})
            skip = 0

    def _draw(self, waiting: "deque[_Drawn]", workers: ThreadPoolExecutor) -> None:
        before = self._mixture.state()
        draw = next(self._mixture)
        waiting.append(_Drawn(before, draw, workers.submit(self._prepared, draw)))

    def _place(self, drawn: _Drawn) -> State:
        """Where mixture and ledger are before a row that the ledger has not seen yet."""
        return {"pool": drawn.before, "bad": self._ledger.state()}

    def _prepared(self, draw: Draw) -> tuple[str, Any]:
        """A row's name and example; runs in the threads."""
        row = draw.read()
        try:
            if getattr(self._objective, "augments", False):
                return row.name, cast(Any, self._objective).prepare(row, draw=draw.chance)
            return row.name, self._objective.prepare(row)
        except UnisonoError as error:
            error.row_name = row.name  # type: ignore[attr-defined]
            raise
        except Exception as error:
            error.add_note(f"while opening row {row.name}")
            raise

    def _opened(
        self,
        left: list[_Opened],
        waiting: "deque[_Drawn]",
        workers: ThreadPoolExecutor,
        stop: threading.Event,
    ) -> list[_Opened]:
        """Examples until there are enough for a pool, those that are left from the last one first.

        Raises:
            _ClosedError: asked to stop meanwhile.
        """
        opened = list(left)
        tokens = sum(one.length for one in opened)
        while not self._full(len(opened), tokens):
            while len(waiting) < 2 * self._settings.workers:
                self._draw(waiting, workers)
            if stop.is_set():
                raise _ClosedError
            one = self._judged(waiting.popleft())
            if one is not None:
                opened.append(one)
                tokens += one.length
        return opened

    def _judged(self, drawn: _Drawn) -> _Opened | None:
        """An example, or None if its row is bad; the ledger is told."""
        place = self._place(drawn)
        try:
            name, example = drawn.example.result()
        except UnisonoError as error:
            self._ledger.bad(_name_of(error), drawn.draw.source, error)
            return None
        self._ledger.good()
        kind, length = self._objective.kind(example), self._objective.length(example)
        return _Opened(place, name, example, kind, length)

    def _full(self, samples: int, tokens: int) -> bool:
        size, pool = self._size, self._settings.pool
        enough_tokens = size.tokens is not None and tokens >= pool * size.tokens
        enough_samples = size.samples is not None and samples >= pool * size.samples
        return enough_samples or (enough_tokens and not size.exact)

    def _divided(self, opened: list[_Opened]) -> tuple[list[_Opened], list[_Opened]]:
        """A pool, and what is left for the next one."""
        if not self._size.packed:
            return opened, []
        described = [(one.kind, one.length) for one in opened]
        count = fitting(described, self._size, self._settings.pool)
        return opened[:count], opened[count:]

    def _collated(self, chosen: list[_Opened], state: State) -> Batch:
        inputs, weight = self._objective.collate([one.example for one in chosen])
        names = tuple(one.name for one in chosen)
        return Batch(inputs, names, sum(one.length for one in chosen), weight, state)


def _name_of(error: UnisonoError) -> str:
    """Of the row; the message about a broken one begins with it."""
    return str(getattr(error, "row_name", str(error).partition(": ")[0]))


def _put(
    ready: "queue.Queue[Batch | BaseException]",
    item: Batch | BaseException,
    stop: threading.Event,
) -> bool:
    """Wait for room; False if nobody wants it any more."""
    while not stop.is_set():
        try:
            ready.put(item, timeout=_LOOK_S)
        except queue.Full:
            continue
        return True
    return False


def _get(
    ready: "queue.Queue[Batch | BaseException]", stop: threading.Event
) -> Batch | BaseException | None:
    """Wait for the next one; None if it will not come any more."""
    while not stop.is_set():
        try:
            return ready.get(timeout=_LOOK_S)
        except queue.Empty:
            continue
    return None
