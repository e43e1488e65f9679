"""Embedding on the machines of a Ray cluster, or on all cores of this one.

Workers read, cut and embed; rows come back to the one process that commits them, interval by
interval, so that a library is written by the same code whoever embeds. Workers must see the files
under the same paths.
"""

import pickle
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from unisono.errors import DataError, MissingExtraError, UnisonoError
from unisono.retrieval.indexing import Outcome, Work, embedded, read
from unisono.retrieval.record import FileInfo
from unisono.runtime import load_embedder
from unisono.runtime.embedder import Embedder

_FILES_AT_ONCE = 64


def on_ray(
    model: str | Embedder,
    *,
    address: str | None = None,
    workers: int | None = None,
    dtype: torch.dtype | None = None,
) -> Work:
    """An engine for `Library.index`.

    Args:
        model: that each worker loads by this name; it must be the library's. An embedder is sent
            to them as it is.
        address: of a cluster ("ray://host:10001", "auto"); None starts one on this machine.
        workers: processes with the model; None for one a core.
        dtype: of the weights, as the library's own embedder has it: a worker with a GPU would
            choose another one.

    Raises:
        MissingExtraError: ray is not installed.
        DataError: when it works, the cluster cannot be reached or gives up.
    """
    try:
        import ray
        import ray.data
        import ray.exceptions
    except ImportError as error:
        raise MissingExtraError("ray", "ray") from error

    def work(files: Sequence[FileInfo]) -> Iterator[list[Outcome]]:
        if not files:
            return
        if not ray.is_initialized():
            try:
                ray.init(address=address, log_to_driver=False, include_dashboard=False)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise DataError(f"the Ray cluster cannot be reached: {error}") from None
        ray.data.DataContext.get_current().enable_progress_bars = False
        count = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
        items = [{"file": pickle.dumps(file)} for file in files]
        dataset = ray.data.from_items(items, override_num_blocks=_blocks(len(items), count))
        outcomes = dataset.map_batches(
            _Worker,
            fn_constructor_args=(model, dtype),
            batch_size=_FILES_AT_ONCE,
            concurrency=min(count, _blocks(len(items), count)),
        )
        batches = outcomes.iter_batches(batch_size=_FILES_AT_ONCE, batch_format="numpy")
        try:
            for batch in batches:
                yield [pickle.loads(one) for one in batch["outcome"]]
        except ray.exceptions.RayError as error:
            raise DataError(f"a Ray worker stopped: {_cause(error)}") from error

    return work


class _Worker:
    """A process with the model."""

    def __init__(self, model: str | Embedder, dtype: torch.dtype | None) -> None:
        if not isinstance(model, Embedder):
            model = load_embedder(model, dtype=dtype)
        self._embedder = model

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        reads = [read(pickle.loads(one)) for one in batch["file"]]
        outcomes = [_portable(one) for one in embedded(self._embedder, reads)]
        return {"outcome": np.array([pickle.dumps(one) for one in outcomes], dtype=object)}


def _portable(outcome: Outcome) -> Outcome:
    """With an error that another process can be told."""
    if isinstance(outcome.error, MissingExtraError):  # is made of other words than it says
        return replace(outcome, error=UnisonoError(str(outcome.error)))
    return outcome


def _cause(error: Exception) -> str:
    """The last line of a worker's traceback, which says what was wrong."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__


def _blocks(files: int, workers: int) -> int:
    """Enough for all workers to have something to do, and for results to come early."""
    return max(1, min(files, 2 * workers, files // 8 + 1))
