"""Ola: encoders and connectors that turn media into embeddings, and a language model.

`OlaEncoders` stands alone, so that a language model stepped by another engine (llama.cpp,
say) can be fed the same embeddings.

Shapes: B batch, T tokens, D width of the language model, N audio chunks of the whole batch.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GenerationMixin, PreTrainedModel
from transformers.cache_utils import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast

from unisono.errors import UnsupportedModalityError
from unisono.models.ola.config import OlaConfig
from unisono.models.ola.connector import AudioConnector
from unisono.models.ola.hearing import HearingEncoders
from unisono.models.ola.merge import merge, without_placeholders

MEDIA_INPUTS = ("audio_mels", "audio_samples", "audio_chunk_counts")
"""What the processor makes of media; read once, before the first token."""


class OlaEncoders(nn.Module):
    """Media in, embeddings of the language model's width out."""

    def __init__(self, config: OlaConfig) -> None:
        super().__init__()
        _, self.audio_token_id, _ = config.placeholder_ids
        self.hearing: HearingEncoders | None = None
        self.audio_connector: AudioConnector | None = None
        width = HearingEncoders.width_of(config)
        if width:
            self.hearing = HearingEncoders(config)
            self.audio_connector = AudioConnector(
                width,
                config.audio_connector_width,
                config.text_config.hidden_size,
                stack=config.audio_stack,
            )

    def forward(
        self,
        audio_mels: Tensor | None = None,
        audio_samples: Tensor | None = None,
        audio_chunk_counts: Tensor | None = None,
    ) -> dict[int, Tensor]:
        """Encode whatever is there; what is absent costs nothing.

        Args:
            audio_mels: [N, mel bins, mel frames], for the speech encoder.
            audio_samples: [N, samples] at 16 kHz, for the sound encoder.
            audio_chunk_counts: [sounds], the chunks of each sound.

        Returns:
            Placeholder id -> [tokens, D].

        Raises:
            UnsupportedModalityError: a sound for a model without a hearing encoder.
        """
        if audio_chunk_counts is None:
            return {}
        if self.hearing is None or self.audio_connector is None:
            raise UnsupportedModalityError("the model has no hearing encoder, but was given sound")
        frames = self.hearing(audio_mels, audio_samples)
        tokens = self.audio_connector(frames, audio_chunk_counts)
        return {self.audio_token_id: tokens}


class OlaForConditionalGeneration(PreTrainedModel, GenerationMixin):
    """Text, sounds (and, once trained for them, pictures and video) in; text out."""

    config_class = OlaConfig
    base_model_prefix = "language_model"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True

    def __init__(self, config: OlaConfig) -> None:
        super().__init__(config)
        self.encoders = OlaEncoders(config)
        self.language_model = AutoModelForCausalLM.from_config(config.text_config)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """The language model's token embeddings."""
        return self.language_model.get_input_embeddings()

    def set_input_embeddings(self, value: nn.Module) -> None:
        """Replace the language model's token embeddings."""
        self.language_model.set_input_embeddings(value)

    def get_output_embeddings(self) -> nn.Module:
        """The language model's head."""
        return self.language_model.get_output_embeddings()

    def embed(self, input_ids: Tensor, **media: Tensor | None) -> Tensor:
        """[B, T] and media -> [B, T, D], what the language model reads."""
        lookup = without_placeholders(input_ids, self.config.placeholder_ids)
        embeddings = self.get_input_embeddings()(lookup)
        return merge(embeddings, input_ids, self.encoders(**media), self.config.placeholder_ids)

    def forward(  # noqa: PLR0913 -- the signature transformers' generate and trainers expect
        self,
        input_ids: Tensor | None = None,
        *,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        audio_mels: Tensor | None = None,
        audio_samples: Tensor | None = None,
        audio_chunk_counts: Tensor | None = None,
        **kwargs: Any,
    ) -> CausalLMOutputWithPast:
        """One step of the language model over text and media.

        Args:
            input_ids: [B, T], with placeholders where media stand.
            attention_mask: [B, T + past], 0 at padding.
            position_ids: [B, T].
            past_key_values: what was read before.
            inputs_embeds: [B, T, D] in place of `input_ids`, media merged already.
            labels: [B, T], -100 where nothing is to be learned.
            audio_mels: see `OlaEncoders.forward`.
            audio_samples: see `OlaEncoders.forward`.
            audio_chunk_counts: see `OlaEncoders.forward`.
            **kwargs: for the language model.
        """
        if inputs_embeds is None:
            if input_ids is None:
                raise ValueError("input_ids or inputs_embeds must be given")
            inputs_embeds = self.embed(
                input_ids,
                audio_mels=audio_mels,
                audio_samples=audio_samples,
                audio_chunk_counts=audio_chunk_counts,
            )
        return self.language_model(
            inputs_embeds=inputs_embeds,
            attention_mask=attention_mask,
            position_ids=position_ids,
            past_key_values=past_key_values,
            labels=labels,
            **kwargs,
        )

    def prepare_inputs_for_generation(
        self, input_ids: Tensor, *, is_first_iteration: bool = False, **kwargs: Any
    ) -> dict[str, Any]:
        """Media are read with the prompt only, unless there is no cache to keep it in."""
        inputs: dict[str, Any] = super().prepare_inputs_for_generation(
            input_ids, is_first_iteration=is_first_iteration, **kwargs
        )
        if not is_first_iteration and kwargs.get("use_cache", True):
            for name in MEDIA_INPUTS:
                inputs.pop(name, None)
        return inputs

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, AudioConnector):
            scale = module.begin.shape[-1] ** -0.5
            for mark in (module.begin, module.newline, module.end):
                torch.nn.init.normal_(mark, std=scale)
