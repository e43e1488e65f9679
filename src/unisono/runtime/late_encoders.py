"""Encoders that are loaded when the first picture, sound or video comes.

Text alone needs none of them: a conversation in text starts as quickly as if there were none.
"""

import threading
from collections.abc import Callable

import torch

from unisono.models.ola import OlaEncoders


class LateEncoders:
    """Stands for `OlaEncoders` until they are needed."""

    def __init__(self, load: Callable[[], OlaEncoders]) -> None:
        """Remember how to load them; `load` is called at most once."""
        self._load = load
        self._lock = threading.Lock()
        self._loaded: OlaEncoders | None = None

    @property
    def loaded(self) -> OlaEncoders:
        """The encoders themselves."""
        with self._lock:
            if self._loaded is None:
                # The first who needs them may only infer; others may want gradients.
                with torch.inference_mode(mode=False):
                    self._loaded = self._load()
            return self._loaded

    @property
    def is_loaded(self) -> bool:
        """Whether something has needed them."""
        return self._loaded is not None
