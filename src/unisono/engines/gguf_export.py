"""The language model of an Ola folder, written as a quantised GGUF file for llama.cpp.

Knows which language models llama.cpp computes as transformers does, how a GGUF file describes
them, and where in the cache the file stands; nothing of encoders, tokenizers or how a model is
stepped. Tensors are read and written some rows at a time (`gguf_tensors`), so that a 7B model
takes a few hundred megabytes of memory while it is converted.

Weights only are quantised, in blocks of 32 along a row, each with a scale of its own:
docs/decisions/0004-quantised-inference.md says which types and why.
"""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from transformers import PreTrainedConfig

from unisono.engines.gguf_file import describe
from unisono.engines.gguf_tensors import Checkpoint, Precision, head_width, tensors
from unisono.errors import CacheError, ModelConfigError
from unisono.hub import Cache, Progress, QuietProgress

Quantization = Literal["int8", "int4"]
ARCHITECTURES = ("qwen2", "llama")

_FILE = "model.gguf"
_FORMAT = 1
"""Part of the cache's key: one more whenever the files written here change."""


def exported(
    folder: Path,
    config: PreTrainedConfig,
    quantization: Quantization,
    *,
    progress: Progress | None = None,
) -> Path:
    """The quantised language model of an Ola folder, from the cache or written there now.

    Args:
        folder: written by `OlaForConditionalGeneration.save_pretrained`.
        config: of the language model.
        quantization: "int8" or "int4".
        progress: told how far it is.

    Returns:
        The folder of the cache that holds "model.gguf", and what `TokenEmbeddings` wants.

    Raises:
        ModelConfigError: the language model is none that can be converted, or its weights are
            not as its config says.
        CacheError: the cache cannot be written, or has no room.
    """
    if quantization not in ("int8", "int4"):
        raise ModelConfigError(f"quantization must be int8 or int4, but is {quantization!r}")
    check_config(config)
    source = Checkpoint(folder)

    def write(new: Path) -> None:
        write_gguf(new / _FILE, source, config, quantization, progress or QuietProgress())
        describe(new / _FILE, new)

    return Cache.at(None).derived(_key(source, config, quantization), write)


def gguf_path(derived: Path) -> Path:
    """The GGUF file in a folder made by `exported`."""
    return derived / _FILE


def _key(source: Checkpoint, config: PreTrainedConfig, quantization: str) -> str:
    """Changes with the weights: hashing gigabytes at each start would take longer than reading."""
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in source.paths]
    facts = json.dumps([_FORMAT, quantization, stats, config.to_json_string()])
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def write_gguf(
    path: Path,
    source: Checkpoint,
    config: PreTrainedConfig,
    precision: Precision,
    progress: Progress,
) -> None:
    """Write the language model as one GGUF file without a vocabulary: ids are all it is fed.

    Raises:
        ModelConfigError: the weights are not as `config` says.
        CacheError: the disk has no room.
    """
    from gguf import GGUFWriter

    found = tensors(source, config, precision, progress)
    total = sum(tensor.nbytes for tensor in found)
    _check_room(path, total)
    writer = GGUFWriter(path, config.model_type)
    _add_metadata(writer, config)
    factors = _rotary_factors(config)
    if factors is not None:
        writer.add_tensor_info("rope_freqs.weight", factors.shape, factors.dtype, factors.nbytes)
    for tensor in found:
        writer.add_tensor_info(
            tensor.name, tensor.shape, np.dtype(np.float32), tensor.nbytes, tensor.gguf_type
        )
    progress.start(f"{precision} weights", total, 0)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for each in found if factors is None else (factors, *found):
            writer.write_tensor_data(each)
    finally:
        writer.close()
        progress.finish()


def _check_room(path: Path, needed: int) -> None:
    free = shutil.disk_usage(path.parent).free
    if free < needed:
        raise CacheError(
            f"the quantised model needs {needed / 1e9:.1f} GB, but the disk of '{path.parent}' has "
            f"{free / 1e9:.1f} GB free; set UNISONO_CACHE to a folder on another disk"
        )


def _add_metadata(writer: Any, config: PreTrainedConfig) -> None:
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(head_width(config))
    writer.add_value_length(head_width(config))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(head_width(config))
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("no_vocab")
    writer.add_quantization_version(2)


def check_config(config: PreTrainedConfig) -> None:
    """Whether llama.cpp computes what transformers would.

    Raises:
        ModelConfigError: it would not; the message says which are supported.
    """
    kind = config.model_type
    if kind not in ARCHITECTURES:
        raise ModelConfigError(
            f"only language models of type {' or '.join(ARCHITECTURES)} can be quantised, "
            f"but this one is of type {kind!r}"
        )
    rotary = config.rope_parameters["rope_type"]
    allowed = ("default", "llama3") if kind == "llama" else ("default",)
    if rotary not in allowed:
        raise ModelConfigError(
            f"rope_type must be {' or '.join(allowed)} to quantise a {kind}, but is {rotary!r}"
        )
    if config.hidden_act != "silu":
        raise ModelConfigError(f"hidden_act must be 'silu', but is {config.hidden_act!r} instead")
    if set(getattr(config, "layer_types", None) or ()) - {"full_attention"}:
        raise ModelConfigError("a language model with sliding attention cannot be quantised")


def _rotary_factors(config: PreTrainedConfig) -> np.ndarray | None:
    """[H / 2]: what "llama3" divides the rotary frequencies by; None for the plain ones."""
    if config.rope_parameters["rope_type"] == "default":
        return None
    from transformers.modeling_rope_utils import ROPE_INIT_FUNCTIONS

    scaled, _ = ROPE_INIT_FUNCTIONS[config.rope_parameters["rope_type"]](config, "cpu")
    exponents = torch.arange(0, head_width(config), 2, dtype=torch.float32) / head_width(config)
    plain = config.rope_parameters["rope_theta"] ** -exponents
    return np.asarray((plain / scaled).numpy(), dtype=np.float32)
