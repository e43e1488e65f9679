"""Ola: encoders and connectors that turn media into embeddings, and a language model.

Shapes: B batch, T tokens, D width of the language model.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GenerationMixin
from transformers.cache_utils import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast

from unisono.models.loading import StrictlyLoadedModel
from unisono.models.ola.config import OlaConfig
from unisono.models.ola.connector import AudioConnector
from unisono.models.ola.connector_vision import VisionConnector
from unisono.models.ola.encoders import MEDIA_INPUTS, OlaEncoders
from unisono.models.ola.merge import merge, without_placeholders


class OlaForConditionalGeneration(StrictlyLoadedModel, GenerationMixin):
    """Text, images, video and sounds in; text out."""

    config_class = OlaConfig
    base_model_prefix = "language_model"
    supports_gradient_checkpointing = True
    # Encoders and connectors concatenate each other's results: one device for all of them. What
    # must not be cut in the language model, that model says itself.
    _no_split_modules = ["OlaEncoders"]  # noqa: RUF012 -- the form transformers expects
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

    def forward(  # noqa: PLR0913 -- the names that transformers' generate and trainers look for
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
        pixel_patches: Tensor | None = None,
        patch_grids: Tensor | None = None,
        picture_counts: Tensor | None = None,
        is_video: Tensor | None = None,
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
            audio_mels, audio_samples, audio_chunk_counts: see `OlaEncoders.each`.
            pixel_patches, patch_grids, picture_counts, is_video: see `OlaEncoders.each`.
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
                pixel_patches=pixel_patches,
                patch_grids=patch_grids,
                picture_counts=picture_counts,
                is_video=is_video,
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
        if isinstance(module, AudioConnector | VisionConnector):
            for name in module.MARKS:
                mark = getattr(module, name)
                torch.nn.init.normal_(mark, std=mark.shape[-1] ** -0.5)
