"""What an official Ola checkpoint says of its shape -> `OlaConfig`.

Some of it stands in the official config, some in the encoders' files, some only in the shapes
of the tensors.
"""

from collections.abc import Mapping
from typing import Any

from transformers import Qwen2Config, WhisperConfig

from unisono.errors import ModelConfigError
from unisono.models.ola.beats_config import BeatsConfig
from unisono.models.ola.config import OlaConfig
from unisono.models.ola.convert_beats import (
    BEATS_PREFIX,
    beats_config_from_official,
    beats_config_from_shapes,
)
from unisono.models.ola.convert_keys import AUDIO_CONNECTOR_PREFIX, SPEECH_PREFIX
from unisono.models.ola.convert_official import OfficialCheckpoint
from unisono.models.ola.convert_vision import vision_config_from_official
from unisono.models.ola.vision import OryxVisionConfig

SYSTEM_PROMPT = "You are a helpful assistant."
VISION_HEADS = 16
"""Attention heads of the official vision encoder; no file says it."""
_VISION_WIDTH = 1152
"""Of the published one."""

_FRAMES_PER_S = 50
"""Of Whisper's encoder."""
_WHISPER_HEAD_WIDTH = 64
"""Of every published Whisper."""
_VISION_CONNECTORS = ("ola_mlp",)

_TEXT_FIELDS = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("num_key_value_heads", "hidden_act", "max_position_embeddings", "initializer_range"),
    *("rms_norm_eps", "tie_word_embeddings", "rope_theta", "rope_scaling", "attention_dropout"),
    *("use_sliding_window", "sliding_window", "max_window_layers"),
    *("bos_token_id", "eos_token_id", "pad_token_id"),
)
"""Fields of the language model; they are called the same here."""


def config_from_official(
    checkpoint: OfficialCheckpoint, *, vision_heads: int | None = None
) -> tuple[OlaConfig, tuple[str, ...]]:
    """The config, and notes on what had to be taken for granted.

    Args:
        checkpoint: what `open_official` found.
        vision_heads: attention heads of the vision encoder; None takes the official code's.

    Raises:
        ModelConfigError: the checkpoint contradicts itself, or does not tell its shape.
    """
    official, shapes = checkpoint.config, checkpoint.shapes
    notes: list[str] = []
    settings: dict[str, Any] = {}
    if official.get("mm_vision_tower"):
        settings["vision_config"] = _vision(checkpoint, vision_heads, notes)
    if official.get("speech_encoder"):
        speech = _speech(checkpoint, notes)
        settings["speech_config"] = speech
        settings["audio_frames_per_chunk"] = speech.max_source_positions
        settings["audio_chunk_s"] = speech.max_source_positions / _FRAMES_PER_S
    if official.get("music_encoder"):
        settings["sound_config"] = _sound(checkpoint, notes)
    if settings.keys() & {"speech_config", "sound_config"}:
        settings |= _audio_connector(official, shapes)
    config = OlaConfig(
        text_config=_text(official, shapes),
        system_prompt=SYSTEM_PROMPT,
        architectures=["OlaForConditionalGeneration"],
        **settings,
    )
    return config, tuple(notes)


def _text(official: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]) -> Qwen2Config:
    """The language model; the embeddings have as many rows as they have, whatever was said."""
    fields = {name: official[name] for name in _TEXT_FIELDS if name in official}
    rows, _ = _matrix(shapes, "model.embed_tokens.weight")
    return Qwen2Config(vocab_size=rows, **fields)


def _vision(
    checkpoint: OfficialCheckpoint, heads: int | None, notes: list[str]
) -> OryxVisionConfig:
    connector = checkpoint.config.get("mm_projector_type", _VISION_CONNECTORS[0])
    if connector not in _VISION_CONNECTORS:
        raise ModelConfigError(
            f"mm_projector_type must be {' or '.join(_VISION_CONNECTORS)}, "
            f"but is {connector} instead"
        )
    config = vision_config_from_official(
        checkpoint.shapes, num_attention_heads=heads or VISION_HEADS
    )
    if heads is None and config.hidden_size != _VISION_WIDTH:
        notes.append(
            f"The vision encoder of width {config.hidden_size} is taken to have {VISION_HEADS} "
            f"attention heads, as that of Ola-7b; no file says it."
        )
    return config


def _speech(checkpoint: OfficialCheckpoint, notes: list[str]) -> WhisperConfig:
    dims = checkpoint.whisper_dims
    if dims is None:
        dims = _whisper_dims_from_shapes(checkpoint.shapes)
        notes.append(
            f"The shape of Whisper is read off the checkpoint; that its {dims['n_audio_head']} "
            f"attention heads are {_WHISPER_HEAD_WIDTH} wide is taken for granted."
        )
    try:
        return WhisperConfig(
            d_model=dims["n_audio_state"],
            encoder_layers=dims["n_audio_layer"],
            encoder_attention_heads=dims["n_audio_head"],
            encoder_ffn_dim=4 * dims["n_audio_state"],
            num_mel_bins=dims["n_mels"],
            max_source_positions=dims["n_audio_ctx"],
        )
    except KeyError as error:
        raise ModelConfigError(f"the dims of the Whisper file lack {error}") from None


def _whisper_dims_from_shapes(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
    whisper = {k.removeprefix(SPEECH_PREFIX) for k in shapes if k.startswith(SPEECH_PREFIX)}
    if f"{SPEECH_PREFIX}conv1.weight" not in shapes:
        raise ModelConfigError(f"the checkpoint has no {SPEECH_PREFIX}conv1.weight")
    width, mels, _ = shapes[f"{SPEECH_PREFIX}conv1.weight"]
    if width % _WHISPER_HEAD_WIDTH:
        raise ModelConfigError(
            f"a Whisper of width {width} does not tell its attention heads: name its file "
            "with --whisper"
        )
    return {
        "n_audio_state": width,
        "n_audio_layer": len({k.split(".")[1] for k in whisper if k.startswith("blocks.")}),
        "n_audio_head": width // _WHISPER_HEAD_WIDTH,
        "n_mels": mels,
        "n_audio_ctx": _matrix(shapes, f"{SPEECH_PREFIX}positional_embedding")[0],
    }


def _sound(checkpoint: OfficialCheckpoint, notes: list[str]) -> BeatsConfig:
    if checkpoint.beats_cfg is not None:
        return beats_config_from_official(checkpoint.beats_cfg)
    beats = {
        key.removeprefix(BEATS_PREFIX): shape
        for key, shape in checkpoint.shapes.items()
        if key.startswith(BEATS_PREFIX)
    }
    notes.append(
        "The shape of BEATs is read off the checkpoint; what leaves no trace there is taken to be "
        "that of BEATs_iter3_plus_AS2M."
    )
    return beats_config_from_shapes(beats)


def _audio_connector(
    official: Mapping[str, Any], shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, int]:
    if "speech_encoder_ds_rate" not in official:
        raise ModelConfigError("the config must say its speech_encoder_ds_rate, but does not")
    return {
        "audio_stack": official["speech_encoder_ds_rate"],
        "audio_connector_width": _matrix(shapes, f"{AUDIO_CONNECTOR_PREFIX}linear1.weight")[0],
    }


def _matrix(shapes: Mapping[str, tuple[int, ...]], key: str) -> tuple[int, int]:
    shape = shapes.get(key)
    if shape is None:
        raise ModelConfigError(f"the checkpoint has no {key}")
    if len(shape) != 2:
        raise ModelConfigError(f"{key} must be a matrix, but is {list(shape)} instead")
    return shape[0], shape[1]
