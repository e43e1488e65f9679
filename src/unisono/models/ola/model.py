"""Ola: encoders and connectors that turn media into embeddings, and a language model.

Shapes: B batch, T tokens, D width of the language model.
"""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import AutoModelForCausalLM, GenerationMixin
from transformers.cache_utils import Cache
from transformers.modeling_outputs import CausalLMOutputWithPast

from unisono.errors import ModelConfigError
from unisono.models.chunked_loss import summed_label_loss
from unisono.models.loading import StrictlyLoadedModel
from unisono.models.ola.config import OlaConfig
from unisono.models.ola.connector import AudioConnector
from unisono.models.ola.connector_vision import VisionConnector
from unisono.models.ola.encoders import KNOWN_FEATURES, MEDIA_INPUTS, OlaEncoders
from unisono.models.ola.features import KeepFeatures
from unisono.models.ola.merge import merge, without_placeholders
from unisono.models.packed_attention import segment_arguments

_FOR_ENCODERS = (*KNOWN_FEATURES, "keep")
_AFTER_THE_HEAD = ("final_logit_softcapping", "logit_scale", "logits_scaling")
"""Fields of some language models' configs that change the logits behind the head."""


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
    # As the official inference has it, whatever the rest is loaded in: half precision moves what
    # BEATs hears.
    _keep_in_fp32_modules_strict = {"hearing.sound"}  # noqa: RUF012 -- the form transformers expects

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

    def embed(
        self, input_ids: Tensor, *, keep: KeepFeatures | None = None, **media: Tensor | None
    ) -> Tensor:
        """[B, T] and media (see `OlaEncoders.each`) -> [B, T, D], what the language model reads."""
        lookup = without_placeholders(input_ids, self.config.placeholder_ids)
        embeddings = self.get_input_embeddings()(lookup)
        features = self.encoders(keep=keep, **media)
        return merge(embeddings, input_ids, features, self.config.placeholder_ids)

    def forward(  # noqa: PLR0913 -- the names that transformers' generate and trainers look for
        self,
        input_ids: Tensor | None = None,
        *,
        attention_mask: Tensor | None = None,
        position_ids: Tensor | None = None,
        past_key_values: Cache | None = None,
        inputs_embeds: Tensor | None = None,
        labels: Tensor | None = None,
        loss_chunk: int | None = None,
        audio_mels: Tensor | None = None,
        audio_samples: Tensor | None = None,
        audio_chunk_counts: Tensor | None = None,
        audio_lengths: Tensor | None = None,
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
            position_ids: [B, T]. With `loss_chunk` and without a mask they may begin anew in a
                row: conversations packed into it, none of which sees another.
            past_key_values: what was read before.
            inputs_embeds: [B, T, D] in place of `input_ids`, media merged already.
            labels: [B, T], -100 where nothing is to be learned.
            loss_chunk: with labels, positions whose logits exist at once: the output then has
                the sum of the losses, not their mean, and no logits.
            audio_mels, audio_samples, audio_chunk_counts, audio_lengths: see `OlaEncoders.each`.
            pixel_patches, patch_grids, picture_counts, is_video: see `OlaEncoders.each`.
            **kwargs: `KNOWN_FEATURES` and `keep`, see `OlaEncoders.each`; all others are for the
                language model.

        Raises:
            ModelConfigError: `loss_chunk` is given, but the language model changes its logits
                after the head.
        """
        if inputs_embeds is None:
            if input_ids is None:
                raise ValueError("input_ids or inputs_embeds must be given")
            known = {name: kwargs.pop(name) for name in _FOR_ENCODERS if name in kwargs}
            inputs_embeds = self.embed(
                input_ids,
                audio_mels=audio_mels,
                audio_samples=audio_samples,
                audio_chunk_counts=audio_chunk_counts,
                audio_lengths=audio_lengths,
                pixel_patches=pixel_patches,
                patch_grids=patch_grids,
                picture_counts=picture_counts,
                is_video=is_video,
                **known,
            )
        read = {
            "inputs_embeds": inputs_embeds,
            "attention_mask": attention_mask,
            "position_ids": position_ids,
            **kwargs,
        }
        if labels is not None and loss_chunk is not None:
            return CausalLMOutputWithPast(loss=self._summed_loss(read, labels, loss_chunk))
        return self.language_model(past_key_values=past_key_values, labels=labels, **read)

    def _summed_loss(self, read: dict[str, Any], labels: Tensor, chunk: int) -> Tensor:
        """Of the labels that follow what the language model reads; see `chunked_loss`."""
        for name in _AFTER_THE_HEAD:
            if getattr(self.config.text_config, name, None) not in (None, 1, 1.0):
                raise ModelConfigError(f"a chunked loss is not possible with the model's {name}")
        decoder = self.language_model.get_decoder()
        apart = segment_arguments(decoder, read["position_ids"], read["attention_mask"])
        # With a cache, transformers would not see that a row is packed.
        hidden = decoder(use_cache=False, **read | apart).last_hidden_state
        return summed_label_loss(hidden, labels, self.get_output_embeddings(), chunk)

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
