"""TensorBoard, W&B and trackio, as accelerate knows them."""

from collections.abc import Mapping, Sequence
from importlib.util import find_spec

from unisono.errors import RecipeError
from unisono.training.distributed import Ranks


def check_trackers(names: Sequence[str]) -> None:
    """Their packages must be there: accelerate leaves out those that are not.

    Raises:
        RecipeError: one is not.
    """
    for name in names:
        if find_spec(name) is None:
            raise RecipeError(
                f"log.trackers names {name}, which is not installed: pip install {name}"
            )


class Trackers:
    """Those of a stage."""

    def __init__(self, ranks: Ranks, project: str) -> None:
        self._accelerator = ranks.accelerator
        self._accelerator.init_trackers(project)

    def log(self, values: Mapping[str, float], step: int) -> None:
        """Numbers of a step, by name; the first rank's are noted."""
        self._accelerator.log(dict(values), step=step)

    def close(self) -> None:
        """Write what is not written yet. (`end_training` would end the process group too.)"""
        for tracker in self._accelerator.trackers:
            tracker.finish()
