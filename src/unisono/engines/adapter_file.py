"""A LoRA adapter that PEFT saved: what it adds to which layers of a language model.

Knows PEFT's files; PEFT itself is not needed to serve an adapter. The factor s of W + s B A
(LoRA, arXiv 2106.09685, section 4.1) is folded into B, so layers may have ranks and factors of
their own.

Shapes: R rank, I inputs, O outputs of an adapted layer.
"""

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from unisono.errors import ModelConfigError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"

_KEY = re.compile(r"^base_model\.model\.(?:language_model\.)?(.+)\.lora_([AB])\.weight$")
_UNSUPPORTED = ("use_dora", "lora_bias", "fan_in_fan_out", "modules_to_save", "layer_replication")
"""Fields of PEFT's config that make more of a layer than W + s B A."""

_KEEP_WEIGHTS = (True, False, "gaussian", "orthogonal")
"""Values of `init_lora_weights` that leave W alone; others ("pissa", say) change it."""


@dataclass(frozen=True)
class Adapted:
    """What an adapter does to one layer.

    Attributes:
        down: [R, I], LoRA's A.
        up: [O, R], LoRA's B times s.
    """

    down: torch.Tensor
    up: torch.Tensor


def read_adapter(folder: str | os.PathLike[str]) -> dict[str, Adapted]:
    """Name of a layer of the language model ("model.layers.0.mlp.up_proj") -> what is added.

    Raises:
        ModelConfigError: there is no adapter, or it does more than add B A to linear layers.
    """
    folder = Path(folder)
    try:
        settings = json.loads((folder / CONFIG).read_text())
        weights = load_file(folder / WEIGHTS)
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelConfigError(f"no adapter can be read from '{folder}': {error}") from error
    _check_kind(settings, folder)
    pairs: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in weights.items():
        if (match := _KEY.match(key)) is None:
            raise ModelConfigError(f"the adapter in '{folder}' has {key!r}, which is no LoRA layer")
        pairs.setdefault(match[1], {})[match[2]] = tensor.to(torch.float32)
    return {name: _adapted(name, pair, settings) for name, pair in pairs.items()}


@torch.no_grad()
def merge_adapter(model: nn.Module, folder: str | os.PathLike[str]) -> None:
    """Add the adapter to a language model's weights, in place.

    Args:
        model: a causal language model of transformers.
        folder: see `read_adapter`.

    Raises:
        ModelConfigError: see `read_adapter`; or the adapter is for another model.
    """
    for name, adapted in read_adapter(folder).items():
        try:
            weight = model.get_submodule(name).get_parameter("weight")
            weight.add_((adapted.up @ adapted.down).to(weight.device, weight.dtype))
        except (AttributeError, RuntimeError) as error:
            raise ModelConfigError(
                f"the adapter in '{folder}' does not fit the model: {name}: {error}"
            ) from error


def _check_kind(settings: Mapping[str, Any], folder: Path) -> None:
    kind = settings.get("peft_type")
    if kind != "LORA":
        raise ModelConfigError(f"the adapter in '{folder}' must be LORA, but is {kind} instead")
    for name in _UNSUPPORTED:
        if settings.get(name):
            raise ModelConfigError(
                f"the adapter in '{folder}' has {name}: only plain LoRA can be used"
            )
    if settings.get("bias", "none") != "none":
        raise ModelConfigError(
            f"the adapter in '{folder}' changes biases: only plain LoRA can be used"
        )
    if (begun := settings.get("init_lora_weights", True)) not in _KEEP_WEIGHTS:
        raise ModelConfigError(f"the adapter in '{folder}' began with {begun}: its W is another")


def _adapted(name: str, pair: Mapping[str, torch.Tensor], settings: Mapping[str, Any]) -> Adapted:
    if set(pair) != {"A", "B"} or pair["A"].shape[0] != pair["B"].shape[1]:
        raise ModelConfigError(f"the adapter's {name} must have an A [R, I] and a B [O, R]")
    rank = pair["A"].shape[0]
    alpha = _of_layer(settings.get("alpha_pattern") or {}, name, settings["lora_alpha"])
    factor = alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)
    return Adapted(pair["A"], pair["B"] * factor)


def _of_layer(patterns: Mapping[str, float], name: str, default: float) -> float:
    """As PEFT reads its patterns: a regular expression that the name ends with."""
    for pattern, value in patterns.items():
        if re.match(rf"(.*\.)?({pattern})$", f"language_model.{name}"):
            return value
    return default
