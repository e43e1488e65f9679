"""A LoRA adapter that PEFT saved, as the GGUF file that llama.cpp adds to a language model.

Knows llama.cpp's names and order of rows; `adapter_file` knows PEFT's. llama.cpp computes B A x
in float32 beside the quantised W x.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedConfig

from unisono.engines.adapter_file import CONFIG, WEIGHTS, Adapted, read_adapter
from unisono.engines.gguf_export import check_config
from unisono.engines.gguf_tensors import head_width, interleave
from unisono.errors import ModelConfigError
from unisono.hub import Cache

_FILE = "adapter.gguf"
_FORMAT = 1
"""Part of the cache's key: one more whenever the files written here change."""


def adapter_gguf(folder: str | os.PathLike[str], config: PreTrainedConfig) -> Path:
    """The adapter as a GGUF file, from the cache or written there now.

    Args:
        folder: written by `save_pretrained` of a PEFT model: adapter_config.json and
            adapter_model.safetensors.
        config: of the language model it was trained on.

    Raises:
        ModelConfigError: there is no adapter, it does more than add B A to linear layers, or it
            is one for another model.
        CacheError: the cache cannot be written.
    """
    check_config(config)
    facts = [_digest(Path(folder) / name) for name in (CONFIG, WEIGHTS)]
    key = json.dumps([_FORMAT, facts, config.to_json_string()])

    def write(new: Path) -> None:
        write_adapter(new / _FILE, read_adapter(folder), config)

    name = f"adapter-{hashlib.sha256(key.encode()).hexdigest()[:16]}"
    return Cache.at(None).derived(name, write) / _FILE


def _digest(path: Path) -> str:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise ModelConfigError(f"there is no adapter in '{path.parent}': no {path.name}") from error


def write_adapter(path: Path, layers: Mapping[str, Adapted], config: PreTrainedConfig) -> None:
    """Write the adapter as one GGUF file.

    Raises:
        ModelConfigError: the model has no such layer, or one of another shape.
    """
    from gguf import GGUFWriter

    named = _named(layers, config)
    writer = GGUFWriter(path, config.model_type)
    writer.add_type("adapter")
    writer.add_string("adapter.type", "lora")
    writer.add_float32("adapter.lora.alpha", 0.0)  # the factor is in B: none of llama.cpp's own
    for name, layer in named.items():
        writer.add_tensor(f"{name}.lora_a", layer.down.contiguous().numpy())
        writer.add_tensor(f"{name}.lora_b", np.ascontiguousarray(layer.up.numpy()))
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_tensors_to_file()
    finally:
        writer.close()


def _named(layers: Mapping[str, Adapted], config: PreTrainedConfig) -> dict[str, Adapted]:
    """llama.cpp's name of a matrix -> what is added, its outputs in llama.cpp's order."""
    from gguf import MODEL_ARCH, get_tensor_name_map

    names = get_tensor_name_map(MODEL_ARCH[config.model_type.upper()], config.num_hidden_layers)
    named = {}
    for layer, adapted in layers.items():
        name = names.get_name(layer)
        if name is None or not name.startswith("blk."):
            raise ModelConfigError(f"the adapter is for a model with {layer!r}; this one has none")
        rotary = config.model_type == "llama" and name.endswith((".attn_q", ".attn_k"))
        named[f"{name}.weight"] = _reordered(layer, adapted, config) if rotary else adapted
    return named


def _reordered(layer: str, adapted: Adapted, config: PreTrainedConfig) -> Adapted:
    width = head_width(config)
    if len(adapted.up) % width:
        raise ModelConfigError(
            f"the adapter does not fit the model: {layer!r} has {len(adapted.up)} outputs, which "
            f"are no heads of {width}"
        )
    rows = np.ascontiguousarray(interleave(adapted.up.numpy(), width))
    return Adapted(adapted.down, torch.from_numpy(rows))
