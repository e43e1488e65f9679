"""Pretraining: encoder and light decoder under cross-modal and denoising contrast.

Shapes: B batch, T tokens with [CLS], K kept tokens, D width.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional
from transformers.utils import ModelOutput

from unisono.errors import ModelConfigError
from unisono.models.onepeace.adapter import Kept, Layout
from unisono.models.onepeace.config import OnePeaceConfig
from unisono.models.onepeace.decoder import Decoder
from unisono.models.onepeace.encoder import Encoded
from unisono.models.onepeace.losses import (
    DENOISING,
    JOINT,
    VISION_LANGUAGE,
    Stage,
    cross_modal_contrast,
    masked_pairs,
)
from unisono.models.onepeace.model import OnePeaceModel, OnePeacePreTrainedModel

Inputs = Mapping[str, Tensor | None]


class Masked(NamedTuple):
    """Which tokens of a batch are masked, as the samplers of `masking` say it.

    Attributes:
        preserve_ids: [B, K] positions of the visible tokens, [CLS] = 0 first, filled up by -1.
        mask_indices: [B, T], True where masked; never [CLS], eos or padding.
    """

    preserve_ids: Tensor
    mask_indices: Tensor


@dataclass
class OnePeacePretrainingOutput(ModelOutput):
    """What a pretraining step gives.

    Attributes:
        loss: scalar, the weighted sum.
        losses: each term, not weighted: "contrast", modality, "joint_" + modality.
        correct: how many pairs of this rank the contrast told right, by modality asked from.
        logit_scale: the factor used, detached.
    """

    loss: Tensor | None = None
    losses: dict[str, Tensor] | None = None
    correct: dict[str, Tensor] | None = None
    logit_scale: Tensor | None = None


@dataclass(frozen=True)
class Decoded:
    """A masked pass.

    Attributes:
        visible: modality -> [B, K, D], the encoder's output at the kept tokens.
        decoded: modality -> [B, T, d], the decoder's at all tokens, before its head.
    """

    visible: dict[str, Tensor]
    decoded: dict[str, Tensor]


class OnePeaceForPretraining(OnePeacePreTrainedModel):
    """The encoder with the decoder and mask tokens that only pretraining needs."""

    def __init__(self, config: OnePeaceConfig) -> None:
        super().__init__(config)
        self.onepeace = OnePeaceModel(config)
        self.decoder = Decoder(config)
        self.post_init()

    def forward(
        self,
        *,
        masks: Mapping[str, Masked | tuple[Tensor, Tensor]],
        stage: Stage = VISION_LANGUAGE,
        full_gradients: bool = False,
        **inputs: Tensor | None,
    ) -> OnePeacePretrainingOutput:
        """The losses of one batch of pairs.

        Args:
            masks: modality, or "joint_" + modality -> its mask; those of terms whose weight is
                zero may be missing.
            stage: the terms and their weights.
            full_gradients: see `losses.gather`.
            **inputs: of both modalities, see `OnePeaceModel.forward`.

        Raises:
            ModelConfigError: a mask is missing.
        """
        chosen = {name: Masked(*mask) for name, mask in masks.items()}
        with torch.set_grad_enabled(torch.is_grad_enabled() and stage.contrast > 0):
            alone = {m: self._encode({m}, inputs) for m in self._alone(stage)}
        losses: dict[str, Tensor] = {}
        correct: dict[str, Tensor] = {}
        scale = self.onepeace.scale()
        if stage.contrast:
            first, second = (self._embedding(m, alone[m]) for m in stage.pair)
            found = cross_modal_contrast(first, second, scale, full_gradients=full_gradients)
            losses["contrast"] = found.loss
            correct = dict(zip(stage.pair, found.correct, strict=True))
        losses.update(self._denoising(stage, chosen, alone, inputs))
        return OnePeacePretrainingOutput(
            loss=torch.stack([stage.weight(name) * x for name, x in losses.items()]).sum(),
            losses=losses,
            correct=correct or None,
            logit_scale=scale.detach(),
        )

    def set_trainable(self, stage: Stage) -> None:
        """Freeze what a stage leaves alone; the decoder trains entirely in every stage."""
        self.requires_grad_(True)
        if stage.trained is None:
            return
        own = {f"adapters.{stage.trained}", f"projections.{stage.trained}", "logit_scale"}
        for name, parameter in self.onepeace.named_parameters():
            of_encoder = name.startswith("encoder.") and stage.trained in name.split(".")
            parameter.requires_grad_(of_encoder or any(name.startswith(x) for x in own))

    def decode(self, names: set[str], masks: Mapping[str, Masked], inputs: Inputs) -> Decoded:
        """Encode the visible tokens of some modalities, jointly if several, and decode."""
        model, given = self.onepeace, self._only(names, inputs)
        kept = {m: Kept.of(masks[m].preserve_ids) for m in names}
        encoded = model.encode(model.embed(given, kept))
        parts = []
        for m, visible in encoded.sequences.items():
            layout, length = self._layout(m, given), masks[m].mask_indices.shape[1]
            parts.append(self.decoder.part(m, visible, masks[m].preserve_ids, layout, length))
        return Decoded(encoded.sequences, self.decoder(parts))

    def _denoising(
        self,
        stage: Stage,
        masks: Mapping[str, Masked],
        alone: Mapping[str, Encoded],
        inputs: Inputs,
    ) -> Iterator[tuple[str, Tensor]]:
        joint = self._joint_teacher(stage, inputs)
        for m, factor in stage.alone.items():
            if factor:
                decoded = self.decode({m}, self._of(masks, [m]), inputs)
                teacher = joint if m in stage.joint_teacher else alone[m]
                yield m, self._resemblance(m, decoded, teacher, masks[m], inputs)
        wanted = [m for m, factor in stage.joint.items() if factor]
        if wanted:
            own = self._of(masks, list(stage.pair), JOINT)
            decoded = self.decode(set(stage.pair), own, inputs)
            for m in wanted:
                yield JOINT + m, self._resemblance(m, decoded, joint, own[m], inputs)

    def _resemblance(
        self, modality: str, student: Decoded, teacher: Encoded, mask: Masked, inputs: Inputs
    ) -> Tensor:
        """How far masked tokens are from their teachers; only they pass the decoder's head."""
        padding = self._layout(modality, inputs).padding
        students, teachers, targets = masked_pairs(mask.mask_indices, padding)
        decoded = self.decoder.heads[modality](student.decoded[modality][students])
        if not len(targets):
            # Words of one token each leave nothing to mask in both passes; a mean of nothing is
            # not a number. The sum keeps the parameters in the graph, for other ranks to reduce.
            return decoded.sum()
        loss = DENOISING[self.config.denoising]
        return loss(decoded, teacher.sequences[modality].detach()[teachers], targets)

    def _joint_teacher(self, stage: Stage, inputs: Inputs) -> Encoded:
        needed = any(stage.joint.values()) or any(stage.alone.get(m) for m in stage.joint_teacher)
        if not needed:
            return Encoded({}, {}, {})
        with torch.no_grad():
            return self._encode(set(stage.pair), inputs)

    def _alone(self, stage: Stage) -> list[str]:
        """Modalities whose unmasked pass is needed: one pass serves contrast and teacher."""
        taught = {m for m, w in stage.alone.items() if w and m not in stage.joint_teacher}
        return [m for m in stage.pair if stage.contrast or m in taught]

    def _encode(self, names: set[str], inputs: Inputs) -> Encoded:
        return self.onepeace.encode(self.onepeace.embed(self._only(names, inputs)))

    def _embedding(self, modality: str, encoded: Encoded) -> Tensor:
        projected = self.onepeace.project(modality, encoded.sequences[modality][:, 0])
        return functional.normalize(projected, dim=-1, eps=1e-12)

    def _layout(self, modality: str, inputs: Inputs) -> Layout:
        adapter = self.onepeace.adapter(modality)
        return adapter.layout(*(inputs.get(name) for name in adapter.INPUTS))

    def _only(self, names: set[str], inputs: Inputs) -> dict[str, Tensor | None]:
        """The inputs of some modalities."""
        wanted = {name for m in names for name in self.onepeace.adapter(m).INPUTS}
        return {name: value for name, value in inputs.items() if name in wanted}

    def _of(
        self, masks: Mapping[str, Masked], names: list[str], prefix: str = ""
    ) -> dict[str, Masked]:
        missing = [prefix + m for m in names if prefix + m not in masks]
        if missing:
            raise ModelConfigError(f"the stage needs masks for {missing}, but has {sorted(masks)}")
        return {m: masks[prefix + m] for m in names}
