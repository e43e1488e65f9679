"""Tensors of transformers' safetensors on their way into a GGUF file, some rows at a time.

Knows what llama.cpp calls the tensors of a language model, their types and their order of rows;
nothing of metadata or of where the file stands.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from transformers import PreTrainedConfig

from unisono.errors import ModelConfigError
from unisono.hub import Progress

Precision = Literal["float32", "int8", "int4"]

_PREFIX = "language_model."

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
class Tensor:
    """A tensor on its way; `GGUFWriter` takes it for an array, and asks it to write itself."""

    source: Checkpoint
    key: str
    name: str
    type_name: str
    rotary_head_width: int | None
    progress: Progress

    @cached_property
    def shape(self) -> tuple[int, ...]:
        """As in the checkpoint, and in the file."""
        return self.source.shape(self.key)

    @property
    def gguf_type(self) -> Any:
        """A `GGMLQuantizationType`."""
        from gguf import GGMLQuantizationType

        return GGMLQuantizationType[self.type_name]

    @property
    def nbytes(self) -> int:
        """Bytes in the file."""
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


def tensors(
    source: Checkpoint, config: PreTrainedConfig, precision: Precision, progress: Progress
) -> list[Tensor]:
    """Every tensor of the language model, in the order of the file.

    Raises:
        ModelConfigError: there are more, fewer or others than `config` says.
    """
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
        width = head_width(config) if rotary else None
        found.append(Tensor(source, key, name, kind, width, progress))
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


def head_width(config: PreTrainedConfig) -> int:
    """H, of one attention head."""
    own = getattr(config, "head_dim", None)
    return int(own or config.hidden_size // config.num_attention_heads)
