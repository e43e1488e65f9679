"""Every key of an official Ola checkpoint, and what it is called here: one table.

The rows of the vision encoder stand in `convert_vision`, those of BEATs in `convert_beats`;
here are all others, and the whole. Knows names only; no file is opened.
"""

from collections.abc import Mapping
from typing import NamedTuple

from torch import Tensor

from unisono.errors import ModelConfigError
from unisono.models.key_table import KeyRule, rename, reversed_rules, under
from unisono.models.ola.convert_beats import (
    BEATS_KEYS,
    BEATS_PREFIX,
    BEATS_SHARED_KEYS,
    beats_to_official,
)
from unisono.models.ola.convert_vision import VISION_CONNECTOR_KEYS, VISION_KEYS

SPEECH_PREFIX = "model.speech_encoder.whisper_model."
"""What stands before Whisper's keys; in a Whisper file of its own it is `encoder.`."""
AUDIO_CONNECTOR_PREFIX = "model.speech_projector."
SOUND_OURS = "encoders.hearing.sound."

# fmt: off
LANGUAGE_MODEL_KEYS = under((
    KeyRule("model.embed_tokens.weight", "model.embed_tokens.weight"),
    KeyRule("model.layers.{n}.self_attn.q_proj.weight", "model.layers.{n}.self_attn.q_proj.weight"),
    KeyRule("model.layers.{n}.self_attn.q_proj.bias", "model.layers.{n}.self_attn.q_proj.bias"),
    KeyRule("model.layers.{n}.self_attn.k_proj.weight", "model.layers.{n}.self_attn.k_proj.weight"),
    KeyRule("model.layers.{n}.self_attn.k_proj.bias", "model.layers.{n}.self_attn.k_proj.bias"),
    KeyRule("model.layers.{n}.self_attn.v_proj.weight", "model.layers.{n}.self_attn.v_proj.weight"),
    KeyRule("model.layers.{n}.self_attn.v_proj.bias", "model.layers.{n}.self_attn.v_proj.bias"),
    KeyRule("model.layers.{n}.self_attn.o_proj.weight", "model.layers.{n}.self_attn.o_proj.weight"),
    KeyRule("model.layers.{n}.mlp.gate_proj.weight", "model.layers.{n}.mlp.gate_proj.weight"),
    KeyRule("model.layers.{n}.mlp.up_proj.weight", "model.layers.{n}.mlp.up_proj.weight"),
    KeyRule("model.layers.{n}.mlp.down_proj.weight", "model.layers.{n}.mlp.down_proj.weight"),
    KeyRule("model.layers.{n}.input_layernorm.weight", "model.layers.{n}.input_layernorm.weight"),
    KeyRule("model.layers.{n}.post_attention_layernorm.weight",
            "model.layers.{n}.post_attention_layernorm.weight"),
    KeyRule("model.norm.weight", "model.norm.weight"),
), official="", ours="language_model.")

HEAD_KEYS = (KeyRule("lm_head.weight", "language_model.lm_head.weight"),)
TIED_HEAD_KEYS = (KeyRule("lm_head.weight", "language_model.model.embed_tokens.weight"),)
"""The head where the config says that it is the embeddings once more."""

AUDIO_CONNECTOR_KEYS = under((
    KeyRule("linear1.weight", "linear1.weight"),
    KeyRule("linear1.bias", "linear1.bias"),
    KeyRule("linear2.weight", "linear2.weight"),
    KeyRule("linear2.bias", "linear2.bias"),
    KeyRule("speech_begin", "begin"),
    KeyRule("speech_newline", "newline"),
    KeyRule("speech_end", "end"),
), official=AUDIO_CONNECTOR_PREFIX, ours="encoders.audio_connector.")

SPEECH_KEYS = under((
    KeyRule("conv1.weight", "conv1.weight"),
    KeyRule("conv1.bias", "conv1.bias"),
    KeyRule("conv2.weight", "conv2.weight"),
    KeyRule("conv2.bias", "conv2.bias"),
    KeyRule("positional_embedding", "embed_positions.weight"),
    KeyRule("blocks.{n}.attn_ln.weight", "layers.{n}.self_attn_layer_norm.weight"),
    KeyRule("blocks.{n}.attn_ln.bias", "layers.{n}.self_attn_layer_norm.bias"),
    KeyRule("blocks.{n}.attn.query.weight", "layers.{n}.self_attn.q_proj.weight"),
    KeyRule("blocks.{n}.attn.query.bias", "layers.{n}.self_attn.q_proj.bias"),
    KeyRule("blocks.{n}.attn.key.weight", "layers.{n}.self_attn.k_proj.weight"),  # has no bias
    KeyRule("blocks.{n}.attn.value.weight", "layers.{n}.self_attn.v_proj.weight"),
    KeyRule("blocks.{n}.attn.value.bias", "layers.{n}.self_attn.v_proj.bias"),
    KeyRule("blocks.{n}.attn.out.weight", "layers.{n}.self_attn.out_proj.weight"),
    KeyRule("blocks.{n}.attn.out.bias", "layers.{n}.self_attn.out_proj.bias"),
    KeyRule("blocks.{n}.mlp_ln.weight", "layers.{n}.final_layer_norm.weight"),
    KeyRule("blocks.{n}.mlp_ln.bias", "layers.{n}.final_layer_norm.bias"),
    KeyRule("blocks.{n}.mlp.0.weight", "layers.{n}.fc1.weight"),
    KeyRule("blocks.{n}.mlp.0.bias", "layers.{n}.fc1.bias"),
    KeyRule("blocks.{n}.mlp.2.weight", "layers.{n}.fc2.weight"),
    KeyRule("blocks.{n}.mlp.2.bias", "layers.{n}.fc2.bias"),
    KeyRule("ln_post.weight", "layer_norm.weight"),
    KeyRule("ln_post.bias", "layer_norm.bias"),
), official=SPEECH_PREFIX, ours="encoders.hearing.speech.")

SOUND_KEYS = under(BEATS_KEYS, official=BEATS_PREFIX, ours=SOUND_OURS)
SOUND_SHARED_KEYS = under(BEATS_SHARED_KEYS, official=BEATS_PREFIX, ours=SOUND_OURS)

OLA_KEYS = (
    *LANGUAGE_MODEL_KEYS, *HEAD_KEYS, *AUDIO_CONNECTOR_KEYS, *SPEECH_KEYS, *SOUND_KEYS,
    *VISION_KEYS, *VISION_CONNECTOR_KEYS,
)
"""One key for one; `SOUND_SHARED_KEYS` has many for one besides."""


class IgnoredKey(NamedTuple):
    """A key that has no place here.

    Attributes:
        official: its pattern, as in a `KeyRule`.
        reason: why nothing is lost.
    """

    official: str
    reason: str


IGNORED_KEYS = (
    IgnoredKey("model.layers.{n}.self_attn.rotary_emb.inv_freq",
               "follows from rope_theta; written by old versions of transformers only"),
)
IGNORED_WHISPER_KEYS = (
    IgnoredKey("decoder.{rest}", "writes text; Ola takes the encoder alone"),
)
"""As they stand in a Whisper file."""
# fmt: on


def rules_for(*, tied_head: bool) -> tuple[KeyRule, ...]:
    """The table of a whole checkpoint, shared keys included.

    Args:
        tied_head: whether the head is the token embeddings once more.
    """
    rules = OLA_KEYS + SOUND_SHARED_KEYS
    if not tied_head:
        return rules
    return tuple(rule for rule in rules if rule not in HEAD_KEYS) + TIED_HEAD_KEYS


def is_ignored(key: str, ignored: tuple[IgnoredKey, ...] = IGNORED_KEYS) -> bool:
    """Whether an official key is one of those without a place here."""
    return any(KeyRule(row.official, "").renamed(key) is not None for row in ignored)


def to_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our tensors under the keys of an official checkpoint: the table from right to left.

    Args:
        state: the `state_dict` of an `OlaForConditionalGeneration`.

    Returns:
        Official key -> tensor; what the layers of BEATs share stands under each layer's key.

    Raises:
        ModelConfigError: a key has no place in an official checkpoint.
    """
    back = reversed_rules(OLA_KEYS)
    official: dict[str, Tensor] = {}
    for key, tensor in state.items():
        if key.startswith(SOUND_OURS):
            continue
        if (match := rename(back, key)) is None:
            raise ModelConfigError(f"{key} has no place in an official Ola checkpoint")
        name, transform = match
        official[name] = transform(tensor) if transform else tensor
    sound = {k.removeprefix(SOUND_OURS): v for k, v in state.items() if k.startswith(SOUND_OURS)}
    layers = {key.split(".")[1] for key in sound if key.startswith("layers.")}
    beats = beats_to_official(sound, len(layers))
    return official | {BEATS_PREFIX + key: tensor for key, tensor in beats.items()}
