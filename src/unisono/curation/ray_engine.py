"""Work on the machines of a Ray cluster, or in Ray's processes on this one, by Ray Data.

Workers must see the videos and the output folder under the same paths: they write what they make
into the store themselves, so a cluster that is stopped loses only what it is at.
"""

import pickle
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from unisono.curation.engines import perform_alone
from unisono.curation.stage import Job
from unisono.curation.store import Store
from unisono.errors import DataError, MissingExtraError

_AT_ONCE = 8


class OnRay:
    """An `Engine` over Ray Data.

    Args:
        address: of a cluster ("ray://host:10001", "auto"); None starts one on this machine.
        workers: processes; None for one a core.

    Raises:
        MissingExtraError: ray is not installed.
    """

    def __init__(self, address: str | None = None, workers: int | None = None) -> None:
        try:
            import ray
            import ray.data
            import ray.exceptions
        except ImportError as error:
            raise MissingExtraError("ray", "ray") from error
        self._ray: Any = ray
        self._address, self._workers = address, workers

    def run(self, jobs: Sequence[Job], store: Store) -> Iterator[str]:
        """See `Engine`.

        Raises:
            DataError: the cluster cannot be reached, or a worker stopped.
        """
        if not jobs:
            return
        ray = self._ray
        self._begin()
        # In the order of their names, of which hashes are: long videos are spread evenly.
        items = [{"job": pickle.dumps(job)} for job in sorted(jobs, key=lambda job: job.key)]
        workers = min(len(items), self._workers or int(ray.cluster_resources().get("CPU", 1)))
        blocks = max(1, min(len(items), 4 * workers))
        dataset = ray.data.from_items(items, override_num_blocks=blocks)
        done = dataset.map_batches(
            _Worker,
            fn_constructor_args=(store,),
            batch_size=_AT_ONCE,
            concurrency=max(1, workers),
        )
        try:
            for batch in done.iter_batches(batch_size=_AT_ONCE, batch_format="numpy"):
                yield from (str(key) for key in batch["key"])
        except ray.exceptions.RayError as error:
            lines = [line.strip() for line in str(error).splitlines() if line.strip()]
            said = lines[-1][:300] if lines else type(error).__name__
            raise DataError(f"a Ray worker stopped: {said}") from error

    def _begin(self) -> None:
        if not self._ray.is_initialized():
            try:
                self._ray.init(address=self._address, log_to_driver=False, include_dashboard=False)
            except (ConnectionError, RuntimeError, ValueError) as error:
                raise DataError(f"the Ray cluster cannot be reached: {error}") from None
        self._ray.data.DataContext.get_current().enable_progress_bars = False

    def close(self) -> None:
        """The cluster stays: others may use it, and Ray ends its own at exit."""


class _Worker:
    def __init__(self, store: Store) -> None:
        self._store = store

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        keys = [perform_alone(pickle.loads(job), self._store) for job in batch["job"]]
        return {"key": np.array(keys, dtype=object)}
