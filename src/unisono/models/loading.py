"""Weights are what the checkpoint says, or loading fails: never random ones.

transformers fills what a checkpoint lacks with random numbers and says so in its log, where a
user does not look; the model then answers nonsense.
"""

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Self

from safetensors import SafetensorError
from transformers import PreTrainedModel
from transformers.utils import logging as progress

from unisono.errors import IncompleteFileError, ModelConfigError

_NAMED = 4
"""Keys that an error names; of the others it gives the number."""


class StrictlyLoadedModel(PreTrainedModel):
    """A model that takes a checkpoint wholly or not at all."""

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str] | None,
        *model_args: Any,
        output_loading_info: bool = False,
        **kwargs: Any,
    ) -> Self | tuple[Self, dict[str, Any]]:
        """Load as `PreTrainedModel.from_pretrained` does, but only what fits.

        Args:
            pretrained_model_name_or_path: a folder or hub name.
            *model_args: see there.
            output_loading_info: return what was found besides the model.
            **kwargs: see there (`dtype`, `device_map`, …). `ignore_mismatched_sizes` has no
                effect.

        Raises:
            ModelConfigError: a key is missing, unexpected, or of another shape.
            IncompleteFileError: a file of weights is cut short.
            OSError: there is no such checkpoint.
        """
        # transformers raises by itself for shapes only, and without naming them.
        kwargs["ignore_mismatched_sizes"] = True
        with _without_report(), _bars_on_terminals():
            try:
                model, info = super().from_pretrained(
                    pretrained_model_name_or_path, *model_args, output_loading_info=True, **kwargs
                )
            except SafetensorError as error:
                raise IncompleteFileError(
                    f"the weights of {pretrained_model_name_or_path} cannot be read: {error}"
                ) from error
        _check(info, pretrained_model_name_or_path)
        return (model, info) if output_loading_info else model

    def save_pretrained(self, save_directory: str | os.PathLike[str], **kwargs: Any) -> None:
        """As `PreTrainedModel.save_pretrained`, quiet where there is no terminal."""
        with _bars_on_terminals():
            super().save_pretrained(save_directory, **kwargs)


def _check(info: dict[str, Any], name: object) -> None:
    shapes = [
        f"{key} {list(found)} instead of {list(wanted)}"
        for key, found, wanted in info["mismatched_keys"]
    ]
    faults = {
        "missing": info["missing_keys"],
        "unexpected": info["unexpected_keys"],
        "of another shape": shapes,
    }
    if told := "; ".join(f"{kind}: {_listed(keys)}" for kind, keys in faults.items() if keys):
        raise ModelConfigError(f"the weights of {name} do not fit the model; {told}")


def _listed(keys: Any) -> str:
    every = sorted(keys)
    first = ", ".join(every[:_NAMED])
    return first if len(every) <= _NAMED else f"{first}, … ({len(every)} in all)"


@contextmanager
def _without_report() -> Iterator[None]:
    """Keep transformers from logging a table of what our one line says."""
    logger = logging.getLogger("transformers.modeling_utils")

    def is_no_report(record: logging.LogRecord) -> bool:
        return "LOAD REPORT" not in str(record.msg)

    logger.addFilter(is_no_report)
    try:
        yield
    finally:
        logger.removeFilter(is_no_report)


@contextmanager
def _bars_on_terminals() -> Iterator[None]:
    """Keep transformers from drawing a progress bar where there is no terminal to draw it on."""
    draws = progress.is_progress_bar_enabled()
    if draws and not sys.stderr.isatty():
        progress.disable_progress_bar()
    try:
        yield
    finally:
        if draws:
            progress.enable_progress_bar()
