"""ONE-PEACE: text, images and sound (or more) in one encoder; embeddings in one space.

Shapes: B batch, T tokens with [CLS], D width.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.utils import ModelOutput

from unisono.errors import UnsupportedModalityError
from unisono.models.loading import StrictlyLoadedModel
from unisono.models.onepeace import audio, image, text  # noqa: F401 -- each registers its adapter
from unisono.models.onepeace.adapter import Adapter, Kept, Part, build_adapter, some
from unisono.models.onepeace.bias import RelativeBias
from unisono.models.onepeace.config import OnePeaceConfig
from unisono.models.onepeace.encoder import Branch, Encoded, Encoder, EncoderShape
from unisono.models.onepeace.losses import MAX_LOGIT_SCALE


@dataclass
class OnePeaceOutput(ModelOutput):
    """What `OnePeaceModel` gives; every field is a dict by modality.

    Attributes:
        last_hidden_states: [B, T, D] behind the modality's final LayerNorm.
        pooled: [B, D], the same at [CLS].
        embeddings: [B, D], projected and L2-normalised; None from a model without projections.
        hidden_states: what entered the first layer and every layer's output, [B, T, D] each;
            None unless asked for.
    """

    last_hidden_states: dict[str, Tensor] | None = None
    pooled: dict[str, Tensor] | None = None
    embeddings: dict[str, Tensor] | None = None
    hidden_states: dict[str, tuple[Tensor, ...]] | None = None


class OnePeacePreTrainedModel(StrictlyLoadedModel):
    """Initialisation, loading and checkpointing that all ONE-PEACE models share."""

    config_class = OnePeaceConfig
    config: OnePeaceConfig
    base_model_prefix = "onepeace"
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _no_split_modules = ("EncoderLayer",)
    input_modalities: tuple[str, ...] = ("text", "image", "audio")

    def _init_weights(self, module: nn.Module) -> None:
        std = self.config.initializer_range
        if isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Embedding):
            nn.init.trunc_normal_(module.weight, std=std)
            bias = getattr(module, "bias", None)
            if bias is not None:
                nn.init.zeros_(bias)
        elif isinstance(module, nn.LayerNorm) and module.elementwise_affine:
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
        elif isinstance(module, Branch) and module.gamma is not None:
            nn.init.constant_(module.gamma, self.config.layer_scale_init)
        elif isinstance(module, RelativeBias):
            for table in module:
                nn.init.zeros_(table)
        elif isinstance(module, OnePeaceModel) and module.logit_scale is not None:
            nn.init.constant_(module.logit_scale, math.log(self.config.logit_scale_init))
        else:
            self._init_vectors(module)

    def _init_vectors(self, module: nn.Module) -> None:
        """Positions, [CLS], type and mask vectors are small random numbers."""
        listed = isinstance(module, nn.ParameterList | nn.ParameterDict)
        for name, vector in module.named_parameters(recurse=False):
            if listed or name in VECTORS:
                nn.init.trunc_normal_(vector, std=self.config.initializer_range)


VECTORS = frozenset({"cls_embedding", "cls_position", "position_embedding", "query"})
"""Parameters that are no module's weight; those in lists and dicts are known by that."""


class OnePeaceModel(OnePeacePreTrainedModel):
    """The encoder with its adapters and the projections into the common space."""

    # It may be loaded from what has more on top.
    _keys_to_ignore_on_load_unexpected = (r"^decoder\.", r"^head\.")

    def __init__(self, config: OnePeaceConfig, *, with_projections: bool = True) -> None:
        super().__init__(config)
        self.adapters = nn.ModuleDict({m: build_adapter(m, config) for m in config.modalities})
        self.encoder = Encoder(EncoderShape.of(config))
        width, projected = config.hidden_size, config.modalities if with_projections else ()
        self.projections = nn.ModuleDict({m: nn.Linear(width, width) for m in projected})
        scale = nn.Parameter(torch.tensor(math.log(config.logit_scale_init)))
        self.logit_scale = scale if with_projections else None
        self.post_init()

    def forward(
        self,
        *,
        joint: bool = False,
        present: Mapping[str, Tensor] | None = None,
        output_hidden_states: bool | None = None,
        **inputs: Tensor | None,
    ) -> OnePeaceOutput:
        """Encode whatever is given.

        Args:
            joint: all modalities as one sequence that attends to itself; otherwise each alone,
                and their batches need not be equally long.
            present: modality -> [B] bool, which samples of a joint batch have it; the others'
                values are ignored. Modalities that are not named are there in all samples.
            output_hidden_states: keep every layer's output.
            **inputs: by the names of the adapters' inputs: input_ids [B, T - 1] and
                attention_mask (1 at real tokens); pixel_values [B, 3, H, W]; audio_values [B, S]
                and audio_mask [B, F + 1].

        Raises:
            UnsupportedModalityError: nothing is given, or something no adapter takes.
        """
        parts = self.embed(inputs)
        keep = bool(output_hidden_states or self.config.output_hidden_states)
        if joint:
            encoded = self.encode(absent_masked(parts, present or {}), keep_hidden=keep)
            return self._output([encoded])
        return self._output([self.encode([part], keep_hidden=keep) for part in parts])

    def embed(
        self,
        inputs: Mapping[str, Tensor | None],
        kept: Mapping[str, Kept] | None = None,
        *,
        second: bool = False,
    ) -> list[Part]:
        """What every adapter makes of its inputs, in the order of a joint sequence.

        Args:
            inputs: see `forward`.
            kept: modality -> the tokens that go on.
            second: the image is the second of a pair.
        """
        self._check(inputs)
        parts = []
        for modality in self.adapters:
            adapter = self.adapter(modality)
            given = [inputs.get(name) for name in adapter.INPUTS]
            if given[0] is not None:
                chosen = (kept or {}).get(modality)
                parts.append(adapter(*given, kept=chosen, second=second))
        return parts

    def adapter(self, modality: str) -> Adapter:
        """The adapter of a modality."""
        return cast(Adapter, self.adapters[modality])

    def encode(self, parts: list[Part], *, keep_hidden: bool = False) -> Encoded:
        """Encode parts jointly."""
        per_layer = self.config.bias_per_layer
        return self.encoder(parts, bias_per_layer=per_layer, keep_hidden=keep_hidden)

    def project(self, modality: str, pooled: Tensor) -> Tensor:
        """[B, D] at [CLS] -> [B, D] embedding, not yet normalised."""
        return self.projections[modality](pooled)

    def scale(self) -> Tensor:
        """The factor of cosine similarities; its logarithm is clamped to [0, ln 100] in place."""
        if self.logit_scale is None:
            raise UnsupportedModalityError("a model without projections has no logit scale")
        with torch.no_grad():
            self.logit_scale.clamp_(0, math.log(MAX_LOGIT_SCALE))
        return self.logit_scale.exp()

    def reset_scale(self) -> None:
        """Put the logit scale back to its start, as at the beginning of stage 2."""
        if self.logit_scale is not None:
            nn.init.constant_(self.logit_scale, math.log(self.config.logit_scale_init))

    def begin_as(self, modality: str, other: str) -> None:
        """Take over what the encoder's layers and norms have learned for another modality.

        Raises:
            UnsupportedModalityError: the model lacks one of the two.
        """
        if missing := {modality, other} - set(self.adapters):
            raise UnsupportedModalityError(
                f"the model has {sorted(self.adapters)}, but not {sorted(missing)}"
            )
        parameters = dict(self.encoder.named_parameters())
        with torch.no_grad():
            for name, parameter in parameters.items():
                steps = name.split(".")
                if modality in steps:
                    source = ".".join(other if step == modality else step for step in steps)
                    parameter.copy_(parameters[source])

    def _check(self, inputs: Mapping[str, Tensor | None]) -> None:
        names = [self.adapter(m).INPUTS for m in self.adapters]
        known = {name for own in names for name in own}
        given = {name for name, value in inputs.items() if value is not None}
        if given - known:
            raise UnsupportedModalityError(
                f"the model takes {sorted(known)}, but was given {sorted(given - known)}"
            )
        media = sorted(own[0] for own in names)
        if not given.intersection(media):
            raise UnsupportedModalityError(f"one of {media} must be given")

    def _output(self, encoded: list[Encoded]) -> OnePeaceOutput:
        sequences = {m: x for e in encoded for m, x in e.sequences.items()}
        pooled = {m: x[:, 0] for m, x in sequences.items()}
        projected = {m: self.project(m, x) for m, x in pooled.items() if m in self.projections}
        unit = {m: functional.normalize(x, dim=-1, eps=1e-12) for m, x in projected.items()}
        hidden = {m: x for e in encoded for m, x in e.hidden.items()}
        return OnePeaceOutput(
            last_hidden_states=sequences,
            pooled=pooled,
            embeddings=unit or None,
            hidden_states=hidden or None,
        )


def absent_masked(parts: list[Part], present: Mapping[str, Tensor]) -> list[Part]:
    """Hide a modality, [CLS] included, in the samples that do not have it."""
    return [_hidden(part, present.get(part.modality)) for part in parts]


def _hidden(part: Part, present: Tensor | None) -> Part:
    if present is None:
        return part
    absent = ~present.bool()[:, None].expand(part.tokens.shape[:2])
    padding = absent if part.padding is None else absent | part.padding
    return replace(part, padding=some(padding))
