"""Who does the work: this process, or several of this machine. `ray_engine` has the cluster.

Every worker computes with one thread: sums of floats depend on how many threads share them, and
the same videos must give the same bytes on any machine and engine.
"""

import multiprocessing
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Protocol

from unisono.curation.records import Outcome
from unisono.curation.stage import Job, forget_models, perform
from unisono.curation.store import Store

CRASHED = "crashes its reader"


class Engine(Protocol):
    """Does pieces of work, in whatever order."""

    def run(self, jobs: Sequence[Job], store: Store) -> Iterator[str]:
        """The key of each piece as soon as its outcome is in the store."""

    def close(self) -> None:
        """Free what it holds."""


class InProcess:
    """One after the other, in this process."""

    def run(self, jobs: Sequence[Job], store: Store) -> Iterator[str]:
        """See `Engine`."""
        with _one_thread():
            for job in jobs:
                yield perform(job, store)
        forget_models()

    def close(self) -> None:
        """Nothing is held."""


class Processes:
    """Several processes of this machine.

    A file that kills its reader is found by trying those that were at work one by one; it is
    rejected, and the others go on.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool: ProcessPoolExecutor | None = None

    def run(self, jobs: Sequence[Job], store: Store) -> Iterator[str]:
        """See `Engine`."""
        done: set[str] = set()
        try:
            for key in self._shared(jobs, store):
                done.add(key)
                yield key
            return
        except BrokenProcessPool:
            self.close()
        for job in (job for job in jobs if job.key not in done):
            try:
                yield from self._shared([job], store)
            except BrokenProcessPool:
                self.close()
                store.put(job.stage.name, job.key, Outcome(None, CRASHED))
                yield job.key

    def _shared(self, jobs: Sequence[Job], store: Store) -> Iterator[str]:
        if self._pool is None:
            # Not forked: threads of torch and FFmpeg do not live on in a fork.
            context = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._workers, context)
        futures = [self._pool.submit(perform_alone, job, store) for job in jobs]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            for future in futures:
                future.cancel()

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


_LAST: list[str] = []


def perform_alone(job: Job, store: Store) -> str:
    """`perform` with one thread; the models of an earlier stage are forgotten."""
    if [job.stage.name] != _LAST:
        forget_models()
        _LAST[:] = [job.stage.name]
    with _one_thread():
        return perform(job, store)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Compute with one thread. A stage that computes has imported torch; others need not wait."""
    torch = sys.modules.get("torch")
    if torch is None:
        yield
        return
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
