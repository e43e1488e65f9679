"""Whisper's encoder for transformers, out of the CTranslate2 file the listener runs.

One download serves both: what hears words (CTranslate2) and what makes features for a connector
(torch). The encoder is written once into the cache as a folder of transformers.
"""

import hashlib
import re
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import WhisperConfig

from unisono.errors import ModelConfigError
from unisono.hub import Cache, fetch_part, load_catalog
from unisono.models.ctranslate2_file import Ctranslate2File

DEFAULT_PART = "whisper-base-ct2"
_FILE, _SPEC = "model.bin", "WhisperSpec"
_FORMAT = 1
"""Part of the cache's key: one more whenever the files written here change."""

_SIZES = (
    *("d_model", "encoder_layers", "encoder_attention_heads"),
    *("encoder_ffn_dim", "num_mel_bins"),
)

_OUTSIDE = {
    "conv1.weight": "conv1/weight",
    "conv1.bias": "conv1/bias",
    "conv2.weight": "conv2/weight",
    "conv2.bias": "conv2/bias",
    "embed_positions.weight": "position_encodings/encodings",
    "layer_norm.weight": "layer_norm/gamma",
    "layer_norm.bias": "layer_norm/beta",
}
_OF_LAYER = {
    "self_attn_layer_norm.weight": "self_attention/layer_norm/gamma",
    "self_attn_layer_norm.bias": "self_attention/layer_norm/beta",
    "self_attn.out_proj.weight": "self_attention/linear_1/weight",
    "self_attn.out_proj.bias": "self_attention/linear_1/bias",
    "final_layer_norm.weight": "ffn/layer_norm/gamma",
    "final_layer_norm.bias": "ffn/layer_norm/beta",
    "fc1.weight": "ffn/linear_0/weight",
    "fc1.bias": "ffn/linear_0/bias",
    "fc2.weight": "ffn/linear_1/weight",
    "fc2.bias": "ffn/linear_1/bias",
}
"""Key of transformers' `WhisperEncoder` -> CTranslate2's name below "encoder/" (and "layer_N/").

Besides these, "self_attention/linear_0" is the projections of queries, keys and values, one below
the other.
"""


def whisper_encoder_folder(part_name: str = DEFAULT_PART) -> Path:
    """The encoder of a catalog part, from the cache or converted now.

    Args:
        part_name: a part with a CTranslate2 Whisper, as the listener takes it.

    Returns:
        A folder that `WhisperEncoder.from_pretrained` reads, and `AutoConfig` for
        `OlaConfig.speech_config`.

    Raises:
        UnknownModelError: no part has this name.
        HubError: the part cannot be had, or the cache not be written.
        ModelConfigError: the part is no Whisper.
    """
    part = load_catalog().part(part_name)
    files = {file.name: file for file in part.files}
    if _FILE not in files:
        raise ModelConfigError(f"the part {part_name!r} is no Whisper of CTranslate2")
    key = hashlib.sha256(f"{_FORMAT} {files[_FILE].sha256}".encode()).hexdigest()[:16]

    def write(folder: Path) -> None:
        convert_whisper_encoder(fetch_part(part_name) / _FILE, folder)

    return Cache.at(None).derived(f"whisper-encoder-{key}", write)


def whisper_encoder_weights(
    config: WhisperConfig, part_name: str = DEFAULT_PART
) -> dict[str, Tensor]:
    """The part's weights for an encoder of this config, float32.

    An encoder that is fed shorter windows than 30 s has fewer positions: the first ones.

    Args:
        config: as the part's own (`whisper_encoder_folder`), but for `max_source_positions`.
        part_name: see `whisper_encoder_folder`.

    Raises:
        UnknownModelError, HubError: see `whisper_encoder_folder`.
        ModelConfigError: the part's encoder is of another size.
    """
    folder = whisper_encoder_folder(part_name)
    own = WhisperConfig.from_pretrained(folder)
    for name in _SIZES:
        if (given := getattr(config, name)) != (had := getattr(own, name)):
            raise ModelConfigError(
                f"speech_config.{name} must be {had} for {part_name!r}, but is {given} instead"
            )
    if config.max_source_positions > own.max_source_positions:
        raise ModelConfigError(
            f"speech_config.max_source_positions must be at most {own.max_source_positions} for "
            f"{part_name!r}, but is {config.max_source_positions} instead"
        )
    weights = load_file(folder / "model.safetensors")
    positions = weights["embed_positions.weight"][: config.max_source_positions]
    weights["embed_positions.weight"] = positions
    return {key: tensor.to(torch.float32) for key, tensor in weights.items()}


def convert_whisper_encoder(source: Path, folder: Path) -> None:
    """Write the encoder of a CTranslate2 file as config.json and model.safetensors.

    Numbers stay as they come, in half precision say; quantised ones become float32.

    Args:
        source: "model.bin" of a Whisper.
        folder: an empty one.

    Raises:
        IncompleteFileError: the file is cut short.
        ModelConfigError: it is no Whisper.
    """
    file = Ctranslate2File(source)
    if file.spec != _SPEC:
        raise ModelConfigError(f"{source.name!r} must be a {_SPEC}, but is a {file.spec} instead")
    layers = _count_layers(file, "encoder")
    weights = {key: file.weight(f"encoder/{name}") for key, name in _OUTSIDE.items()}
    for layer in range(layers):
        weights |= {f"layers.{layer}.{k}": t for k, t in _layer(file, layer).items()}
    config = WhisperConfig(**_sizes(file, layers), architectures=["WhisperEncoder"])
    (folder / "config.json").write_text(config.to_json_string())
    tensors = {key: tensor.contiguous() for key, tensor in weights.items()}
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def _layer(file: Ctranslate2File, layer: int) -> dict[str, Tensor]:
    place = f"encoder/layer_{layer}"
    found = {key: file.weight(f"{place}/{name}") for key, name in _OF_LAYER.items()}
    q, k, v = file.weight(f"{place}/self_attention/linear_0/weight").chunk(3)
    # Whisper's keys have no bias: CTranslate2 fills in zeros for it.
    bias_q, _, bias_v = file.weight(f"{place}/self_attention/linear_0/bias").chunk(3)
    found |= {"self_attn.q_proj.weight": q, "self_attn.q_proj.bias": bias_q}
    found |= {"self_attn.v_proj.weight": v, "self_attn.v_proj.bias": bias_v}
    return found | {"self_attn.k_proj.weight": k}


def _sizes(file: Ctranslate2File, layers: int) -> dict[str, Any]:
    width, mel_bins, _ = file.shape("encoder/conv1/weight")
    return {
        "d_model": width,
        "num_mel_bins": mel_bins,
        "max_source_positions": file.shape("encoder/position_encodings/encodings")[0],
        "encoder_layers": layers,
        "encoder_attention_heads": int(file.tensor("encoder/num_heads")),
        "encoder_ffn_dim": file.shape("encoder/layer_0/ffn/linear_0/weight")[0],
        "decoder_layers": _count_layers(file, "decoder"),
        "decoder_attention_heads": int(file.tensor("decoder/num_heads")),
        "decoder_ffn_dim": file.shape("decoder/layer_0/ffn/linear_0/weight")[0],
        "vocab_size": file.shape("decoder/embeddings/weight")[0],
        "max_target_positions": file.shape("decoder/position_encodings/encodings")[0],
    }


def _count_layers(file: Ctranslate2File, side: str) -> int:
    found = {m[1] for m in (re.match(rf"{side}/layer_(\d+)/", key) for key in file.keys()) if m}  # noqa: SIM118
    return len(found)
