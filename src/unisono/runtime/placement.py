"""Where a model is computed, and in what numbers."""

from dataclasses import dataclass
from typing import Literal, get_args

import torch

from unisono.engines import llama_api
from unisono.errors import ModelConfigError

EngineName = Literal["auto", "torch", "llama.cpp"]


@dataclass(frozen=True)
class Placement:
    """What a caller of `load` chose; None leaves a choice to us.

    Attributes:
        engine: "auto" takes llama.cpp on a CPU where it runs, else torch.
        device: for torch; by default CUDA where there is one.
        dtype: of the weights in torch; by default bfloat16 on CUDA, float32 on a CPU.
        context_length: tokens a conversation may have, where the engine reserves memory for it.
        conversations: that may be stepped at the same time, where the engine can do that.
    """

    engine: EngineName = "auto"
    device: str | torch.device | None = None
    dtype: torch.dtype | None = None
    context_length: int = 4096
    conversations: int = 1

    @property
    def torch_device(self) -> torch.device:
        """The device of torch's part."""
        return torch.device(self.device or ("cuda" if torch.cuda.is_available() else "cpu"))

    @property
    def torch_dtype(self) -> torch.dtype:
        """What torch's part computes in."""
        on_gpu = self.torch_device.type == "cuda"
        return self.dtype or (torch.bfloat16 if on_gpu else torch.float32)

    def uses_llama(self) -> bool:
        """Whether llama.cpp steps a language model that it can read.

        Raises:
            ModelConfigError: it shall, but cannot run here; or there is no such engine.
        """
        if self.engine not in get_args(EngineName):
            raise ModelConfigError(
                f"engine must be one of {', '.join(get_args(EngineName))}, but is "
                f"{self.engine!r} instead"
            )
        if self.engine == "torch":
            return False
        reason = llama_api.unavailable()
        if self.engine == "llama.cpp" and reason:
            raise ModelConfigError(f"the engine llama.cpp cannot run here: {reason}")
        on_cpu = self.torch_device.type == "cpu" and self.dtype is None
        return self.engine == "llama.cpp" or (on_cpu and not reason)
