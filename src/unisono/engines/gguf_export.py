"""The language model of an Ola folder, written as a quantised GGUF file for llama.cpp.

Knows the layout of transformers' safetensors and what llama.cpp calls the same tensors; nothing
of encoders, tokenizers or how a model is stepped. Tensors are read and written some rows at a
time, so that a 7B model takes a few hundred megabytes of memory while it is converted.

Weights only are quantised, in blocks of 32 along a row, each with a scale of its own:
docs/decisions/0004-quantised-inference.md says which types and why.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedConfig

from unisono.engines.gguf_file import describe
from unisono.errors import CacheError, ModelConfigError
from unisono.hub import Cache, Progress, QuietProgress

Quantization = Literal["int8", "int4"]
Precision = Literal["float32", "int8", "int4"]
ARCHITECTURES = ("qwen2", "llama")

_PREFIX = "language_model."
_FILE = "model.gguf"
_FORMAT = 1
"""Part of the cache's key: one more whenever the files written here change."""

_VALUES_AT_ONCE = 1 << 24
"""Weights in memory at once: 64 MB as float32, and a few times that while they are quantised."""

_TYPES: dict[Precision, tuple[str, str]] = {
    "float32": ("F32", "F32"),
    "int8": ("Q8_0", "Q8_0"),
    "int4": ("Q4_0", "Q8_0"),
}
"""The GGUF types of the layers' matrices, and of the token embeddings and the head."""


class Checkpoint:
    """The safetensors of a folder written by `save_pretrained`, read some rows at a time."""

    def __init__(self, folder: Path) -> None:
        """Open every shard.

        Raises:
            ModelConfigError: the folder has no safetensors, or broken ones.
        """
        index = folder / "model.safetensors.index.json"
        names = {"model.safetensors"}
        if index.exists():
            names = set(json.loads(index.read_text())["weight_map"].values())
        self.paths = sorted(folder / name for name in names)
        try:
            shards: list[Any] = [safe_open(path, framework="pt") for path in self.paths]
        except (OSError, SafetensorError) as error:
            raise ModelConfigError(f"the weights in '{folder}' cannot be read: {error}") from error
        self._shard_of: dict[str, Any] = {key: shard for shard in shards for key in shard.keys()}  # noqa: SIM118

    def keys(self) -> list[str]:
        """The tensors of the language model, in the order of the shards."""
        return [key for key in self._shard_of if key.startswith(_PREFIX)]

    def shape(self, key: str) -> tuple[int, ...]:
        """The shape of a tensor."""
        return tuple(self._shard_of[key].get_slice(key).get_shape())

    def rows(self, key: str, start: int, stop: int) -> np.ndarray:
        """float32, the rows from `start` to before `stop`."""
        rows = self._shard_of[key].get_slice(key)[start:stop]
        return np.asarray(rows.to(torch.float32).numpy())


@dataclass(frozen=True)
class _Tensor:
    """A tensor on its way; `GGUFWriter` takes it for an array, and asks it to write itself."""

    source: Checkpoint
    key: str
    name: str
    type_name: str
    rotary_head_width: int | None
    progress: Progress

    @cached_property
    def shape(self) -> tuple[int, ...]:
        return self.source.shape(self.key)

    @property
    def gguf_type(self) -> Any:
        from gguf import GGMLQuantizationType

        return GGMLQuantizationType[self.type_name]

    @property
    def nbytes(self) -> int:
        from gguf import GGML_QUANT_SIZES

        values, size = GGML_QUANT_SIZES[self.gguf_type]
        return int(np.prod(self.shape)) // int(values) * int(size)

    def tofile(self, stream: IO[bytes]) -> None:
        """Quantise and write, block by block of rows."""
        from gguf import quants

        for rows in self._blocks():
            encoded = quants.quantize(np.ascontiguousarray(rows), self.gguf_type)
            stream.write(encoded.tobytes())
            self.progress.advance(encoded.nbytes)

    def _blocks(self) -> Iterator[np.ndarray]:
        # Whole heads at once, for their rows change places.
        head_width = self.rotary_head_width or 1
        width = int(np.prod(self.shape[1:]))
        step = max(1, _VALUES_AT_ONCE // (width * head_width)) * head_width
        for start in range(0, self.shape[0], step):
            rows = self.source.rows(self.key, start, min(start + step, self.shape[0]))
            yield interleave(rows, head_width) if self.rotary_head_width else rows


def interleave(rows: np.ndarray, head_width: int) -> np.ndarray:
    """Reorder the rows [heads * H, …] of a query or key projection for llama.cpp's "llama".

    transformers rotates the pairs (i, i + H/2) of a head, llama.cpp the neighbours (2i, 2i + 1).
    """
    halves = rows.reshape(-1, 2, head_width // 2, *rows.shape[1:])
    return halves.swapaxes(1, 2).reshape(rows.shape)


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
    cache = Cache.at(None)
    derived = cache.folder / "derived" / _key(source, config, quantization)
    if derived.is_dir():
        return derived
    with cache.faults():
        derived.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(derived.with_suffix(".lock")):
            if not derived.is_dir():  # another process may have written it meanwhile
                _write_folder(derived, source, config, quantization, progress or QuietProgress())
    return derived


def gguf_path(derived: Path) -> Path:
    """The GGUF file in a folder made by `exported`."""
    return derived / _FILE


def _key(source: Checkpoint, config: PreTrainedConfig, quantization: str) -> str:
    """Changes with the weights: hashing gigabytes at each start would take longer than reading."""
    stats = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in source.paths]
    facts = json.dumps([_FORMAT, quantization, stats, config.to_json_string()])
    return hashlib.sha256(facts.encode()).hexdigest()[:16]


def _write_folder(
    derived: Path,
    source: Checkpoint,
    config: PreTrainedConfig,
    precision: Precision,
    progress: Progress,
) -> None:
    """The folder appears whole or not at all; what a killed process left is removed."""
    unfinished = derived.with_name(f".unfinished-{derived.name}")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir()
    try:
        write_gguf(unfinished / _FILE, source, config, precision, progress)
        describe(unfinished / _FILE, unfinished)
        os.replace(unfinished, derived)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


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

    tensors = _tensors(source, config, precision, progress)
    total = sum(tensor.nbytes for tensor in tensors)
    _check_room(path, total)
    writer = GGUFWriter(path, config.model_type)
    _add_metadata(writer, config)
    factors = _rotary_factors(config)
    if factors is not None:
        writer.add_tensor_info("rope_freqs.weight", factors.shape, factors.dtype, factors.nbytes)
    for tensor in tensors:
        writer.add_tensor_info(
            tensor.name, tensor.shape, np.dtype(np.float32), tensor.nbytes, tensor.gguf_type
        )
    progress.start(f"{precision} weights", total, 0)
    try:
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for each in tensors if factors is None else (factors, *tensors):
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


def _tensors(
    source: Checkpoint, config: PreTrainedConfig, precision: Precision, progress: Progress
) -> list[_Tensor]:
    from gguf import MODEL_ARCH, get_tensor_name_map

    names = get_tensor_name_map(MODEL_ARCH[config.model_type.upper()], config.num_hidden_layers)
    found = []
    for key in source.keys():  # noqa: SIM118 -- not a dict
        short = key.removeprefix(_PREFIX)
        if short == "lm_head.weight" and config.tie_word_embeddings:
            continue
        name = names.get_name(short, try_suffixes=(".weight", ".bias"))
        if name is None:
            raise ModelConfigError(f"llama.cpp's {config.model_type!r} has no place for {key!r}")
        kind = _type_name(name, source.shape(key), precision)
        rotary = config.model_type == "llama" and (".attn_q." in name or ".attn_k." in name)
        head_width = _head_width(config) if rotary else None
        found.append(_Tensor(source, key, name, kind, head_width, progress))
    _check_complete({tensor.name: tensor.shape for tensor in found}, config)
    return found


def _check_complete(shapes: dict[str, tuple[int, ...]], config: PreTrainedConfig) -> None:
    """llama.cpp would only say that it cannot read the file."""
    parts = ["attn_q", "attn_k", "attn_v", "attn_output", "attn_norm"]
    parts += ["ffn_gate", "ffn_up", "ffn_down", "ffn_norm"]
    layers = range(config.num_hidden_layers)
    expected = {f"blk.{layer}.{part}.weight" for layer in layers for part in parts}
    expected |= {"token_embd.weight", "output_norm.weight"}
    if not config.tie_word_embeddings:
        expected.add("output.weight")
    if missing := sorted(expected - shapes.keys()):
        raise ModelConfigError(f"the weights of the language model lack {', '.join(missing[:3])}")
    table = (config.vocab_size, config.hidden_size)
    if shapes["token_embd.weight"] != table:
        raise ModelConfigError(
            f"the token embeddings must be {table}, but are {shapes['token_embd.weight']} instead"
        )


def _type_name(name: str, shape: tuple[int, ...], precision: Precision) -> str:
    from gguf import GGML_QUANT_SIZES, GGMLQuantizationType

    if len(shape) == 1:
        return "F32"
    layers, tables = _TYPES[precision]
    kind = tables if name in {"token_embd.weight", "output.weight"} else layers
    values, _ = GGML_QUANT_SIZES[GGMLQuantizationType[kind]]
    return "F16" if shape[-1] % values else kind


def _add_metadata(writer: Any, config: PreTrainedConfig) -> None:
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(_head_width(config))
    writer.add_value_length(_head_width(config))
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_dimension_count(_head_width(config))
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    writer.add_tokenizer_model("no_vocab")
    writer.add_quantization_version(2)


def _head_width(config: PreTrainedConfig) -> int:
    own = getattr(config, "head_dim", None)
    return int(own or config.hidden_size // config.num_attention_heads)


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
    exponents = torch.arange(0, _head_width(config), 2, dtype=torch.float32) / _head_width(config)
    plain = config.rope_parameters["rope_theta"] ** -exponents
    return np.asarray((plain / scaled).numpy(), dtype=np.float32)
