"""Random Ola checkpoints as their authors publish them: of any size, written shard by shard."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import tiny
import torch
from safetensors.torch import save_file
from torch import Tensor
from transformers import Qwen2Config, WhisperConfig

from unisono.models.ola import OlaConfig
from unisono.models.ola.beats_config import BeatsConfig
from unisono.models.ola.convert_beats import BEATS_PREFIX
from unisono.models.ola.convert_keys import SPEECH_PREFIX, to_official
from unisono.models.ola.convert_plan import expected_shapes
from unisono.models.ola.vision import OryxVisionConfig

WHISPER_FILE, BEATS_FILE = "large.pt", "beats.pt"


def small_config(*, hearing: bool = True, vision: bool = True, **text: Any) -> OlaConfig:
    """The kinds of parts that Ola-7b has, in small; Whisper's heads are 64 wide as always."""
    sizes = {
        "vocab_size": len(tiny.byte_tokenizer()) + 5,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
    }
    speech = WhisperConfig(
        d_model=64,
        encoder_layers=2,
        encoder_attention_heads=1,
        encoder_ffn_dim=256,
        num_mel_bins=80,
        max_source_positions=50,
    )
    sound = BeatsConfig(
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=40,
        embedding_size=16,
        num_classes=3,
    )
    seen = OryxVisionConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=16, position_grid=6
    )
    return OlaConfig(
        text_config=Qwen2Config(**(sizes | text)),
        vision_config=seen if vision else None,
        speech_config=speech if hearing else None,
        sound_config=sound if hearing else None,
        audio_chunk_s=1.0,
        audio_frames_per_chunk=50,
        audio_stack=10,
        audio_connector_width=24,
    )


@dataclass(frozen=True)
class Layout:
    """How a checkpoint is laid out.

    Attributes:
        shards: files of the checkpoint proper.
        pickled: pytorch_model*.bin instead of safetensors.
        hearing_inside: the checkpoint has Whisper and BEATs too.
        hearing_files: the files of Whisper and BEATs lie beside it.
        extra: tensors of the checkpoint proper that are not random, or not the model's.
        without: keys that are left out of it.
    """

    shards: int = 2
    pickled: bool = False
    hearing_inside: bool = True
    hearing_files: bool = True
    extra: Mapping[str, Tensor] = field(default_factory=dict)
    without: tuple[str, ...] = ()


def write_official(folder: Path, config: OlaConfig, layout: Layout | None = None) -> Path:
    """Write a random checkpoint in the official layout, with tokenizer; its folder."""
    layout = layout or Layout()
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(official_config(config)))
    tiny.byte_tokenizer().save_pretrained(folder)
    shapes = official_shapes(config)
    if config.speech_config is not None and layout.hearing_files:
        _write_hearing(folder, config, shapes)
    inside = {
        key: shape
        for key, shape in shapes.items()
        if key not in layout.without
        and key not in layout.extra
        and (layout.hearing_inside or not key.startswith((SPEECH_PREFIX, BEATS_PREFIX)))
    }
    _write_shards(folder, inside, layout)
    return folder


def official_shapes(config: OlaConfig) -> dict[str, tuple[int, ...]]:
    """Official key -> shape."""
    text = config.to_json_string()
    if text not in _SHAPES:
        ours = {k: torch.empty(s, device="meta") for k, s in expected_shapes(config).items()}
        _SHAPES[text] = {key: tuple(tensor.shape) for key, tensor in to_official(ours).items()}
    return _SHAPES[text]


def values(key: str, shape: tuple[int, ...], dtype: torch.dtype = torch.bfloat16) -> Tensor:
    """Random numbers, the same ones for the same key; those of shared tables for all layers."""
    if "relative_attention_bias" in key:
        key = "relative_attention_bias"
    start = sum(key.encode()) * 7919 % 1000
    count = torch.Size(shape).numel()
    noise = _noise(dtype)[start:]
    return noise.repeat(count // len(noise) + 1)[:count].view(shape).clone()


def official_config(config: OlaConfig) -> dict[str, Any]:
    """The fields that conversion reads, and some that it does not."""
    text = config.text_config
    names = (
        *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
        *("num_key_value_heads", "max_position_embeddings", "rms_norm_eps", "vocab_size"),
        *("tie_word_embeddings", "hidden_act"),
    )
    official = {name: getattr(text, name) for name in names}
    official |= {"model_type": "ola_qwen", "rope_theta": 1e6, "torch_dtype": "bfloat16"}
    official |= {"mm_projector_type": "ola_mlp", "tokenizer_padding_side": "right"}
    if config.vision_config is not None:
        official["mm_vision_tower"] = "elsewhere/oryx_vit.pth"
    if config.speech_config is not None:
        official["speech_encoder"] = f"elsewhere/{WHISPER_FILE}"
        official["music_encoder"] = BEATS_FILE
        official["speech_encoder_ds_rate"] = config.audio_stack
    return official


def whisper_dims(config: OlaConfig) -> dict[str, int]:
    """As a Whisper file has them."""
    speech = config.speech_config
    return {
        "n_mels": speech.num_mel_bins,
        "n_audio_ctx": speech.max_source_positions,
        "n_audio_state": speech.d_model,
        "n_audio_head": speech.encoder_attention_heads,
        "n_audio_layer": speech.encoder_layers,
        "n_vocab": 5,
    }


def beats_cfg(config: OlaConfig) -> dict[str, Any]:
    """As a BEATs file has it."""
    sound = config.sound_config
    return {
        "encoder_embed_dim": sound.hidden_size,
        "encoder_layers": sound.num_hidden_layers,
        "encoder_attention_heads": sound.num_attention_heads,
        "encoder_ffn_embed_dim": sound.intermediate_size,
        "input_patch_size": sound.patch_size,
        "embed_dim": sound.embedding_size,
        "deep_norm": True,
        "relative_position_embedding": True,
        "gru_rel_pos": True,
        "max_distance": 777,
        "finetuned_model": True,
        "predictor_class": sound.num_classes,
        "dropout": 0.1,
    }


def _write_hearing(folder: Path, config: OlaConfig, shapes: Mapping[str, tuple[int, ...]]) -> None:
    whisper = {
        key.replace(SPEECH_PREFIX, "encoder."): values(f"file {key}", shape, torch.float16)
        for key, shape in shapes.items()
        if key.startswith(SPEECH_PREFIX)
    }
    whisper["decoder.token_embedding.weight"] = torch.zeros(3, 2)
    torch.save({"dims": whisper_dims(config), "model_state_dict": whisper}, folder / WHISPER_FILE)
    beats = {
        key.removeprefix(BEATS_PREFIX): values(f"file {key}", shape, torch.float32)
        for key, shape in shapes.items()
        if key.startswith(BEATS_PREFIX)
    }
    torch.save({"cfg": beats_cfg(config), "model": beats}, folder / BEATS_FILE)


def _write_shards(folder: Path, shapes: Mapping[str, tuple[int, ...]], layout: Layout) -> None:
    stem, suffix = ("pytorch_model", "bin") if layout.pickled else ("model", "safetensors")
    weight_map = {}
    groups = list(_groups(shapes, layout.shards))
    for index, keys in enumerate(groups):
        name = f"{stem}-{index + 1:05}-of-{len(groups):05}.{suffix}"
        name = f"{stem}.{suffix}" if len(groups) == 1 else name
        tensors = {key: values(key, shapes[key]) for key in keys}
        tensors |= layout.extra if index == 0 else {}
        torch.save(tensors, folder / name) if layout.pickled else save_file(tensors, folder / name)
        weight_map |= dict.fromkeys(tensors, name)
    if len(groups) > 1:
        index_file = folder / f"{stem}.{suffix}.index.json"
        index_file.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))


def _groups(shapes: Mapping[str, tuple[int, ...]], count: int) -> Iterator[list[str]]:
    """The keys, in `count` groups of about the same number of values."""
    limit = sum(torch.Size(shape).numel() for shape in shapes.values()) / count
    group: list[str] = []
    filled = 0
    for key, shape in shapes.items():
        if group and count > 1 and filled >= limit:
            yield group
            group, filled = [], 0
        group.append(key)
        filled += torch.Size(shape).numel()
    yield group


_SHAPES: dict[str, dict[str, tuple[int, ...]]] = {}


@cache
def _noise(dtype: torch.dtype) -> Tensor:
    """Repeated rather than drawn anew, so that gigabytes are made in seconds."""
    return torch.randn(1_000_003, generator=torch.Generator().manual_seed(5)).to(dtype)
