"""Heads and the models that carry them: classification, grounding, ranking.

Shapes: B batch, T tokens with [CLS], D width, H heads, d width of a head.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.utils import ModelOutput

from unisono.errors import ModelConfigError
from unisono.models.onepeace.config import OnePeaceConfig, OnePeaceHeadConfig
from unisono.models.onepeace.encoder import Encoded
from unisono.models.onepeace.losses import box_loss
from unisono.models.onepeace.model import OnePeaceModel, OnePeacePreTrainedModel


class AttentionPooling(nn.Module):
    """One learned query a head over all tokens but [CLS]; scores are not scaled."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.query = nn.Parameter(torch.zeros(1, 1, heads, width // heads))
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, tokens: Tensor, padding: Tensor | None) -> Tensor:
        """[B, T, D], padding [B, T] -> [B, D]."""
        tokens = tokens[:, 1:]
        shape = (-1, self.query.shape[-1])
        k, v = (p(tokens).unflatten(-1, shape).transpose(1, 2) for p in (self.k_proj, self.v_proj))
        q = self.query.transpose(1, 2).expand(len(tokens), -1, -1, -1)
        real = None if padding is None else ~padding[:, None, None, 1:]
        pooled = functional.scaled_dot_product_attention(q, k, v, attn_mask=real, scale=1.0)
        return self.out_proj(pooled.flatten(1))


class Head(nn.Module):
    """Pool a modality's tokens, of one image or of two, and classify."""

    def __init__(self, config: OnePeaceConfig, labels: int) -> None:
        super().__init__()
        head: OnePeaceHeadConfig = config.head_config
        width, eps = config.hidden_size, config.layer_norm_eps
        attends = head.attention_pooling
        self.pooling = AttentionPooling(width, config.num_attention_heads) if attends else None
        self.norm = nn.LayerNorm(width, eps=eps) if attends else None
        self.pooler = nn.Linear(width, width) if head.pooler else None
        inner = width * head.hidden_ratio
        self.classifier = nn.Sequential(
            nn.Linear(width * head.images, inner),
            nn.LayerNorm(inner, eps=eps),
            nn.GELU(),
            nn.Linear(inner, labels),
        )

    def forward(self, tokens: list[Tensor], padding: Tensor | None) -> Tensor:
        """One [B, T, D] an image, padding [B, T] -> [B, labels]."""
        return self.classifier(torch.cat([self.pool(x, padding) for x in tokens], dim=1))

    def pool(self, tokens: Tensor, padding: Tensor | None) -> Tensor:
        """[B, T, D] -> [B, D]."""
        pooled = tokens[:, 0] if self.pooling is None else self.pooling(tokens, padding)
        pooled = pooled if self.norm is None else self.norm(pooled)
        return pooled if self.pooler is None else torch.tanh(self.pooler(pooled))


@dataclass
class OnePeaceTaskOutput(ModelOutput):
    """What a task model gives.

    Attributes:
        loss: scalar; None without labels.
        logits: [B, labels]; of a ranking [B, candidates].
        boxes: [B, 4], x1, y1, x2, y2 as fractions of the image (grounding only).
        last_hidden_states: modality -> [B, T, D] of the (first) encoding.
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    boxes: Tensor | None = None
    last_hidden_states: dict[str, Tensor] | None = None


class _WithHead(OnePeacePreTrainedModel):
    """An encoder without projections, and a head over its joint encoding."""

    def __init__(self, config: OnePeaceConfig) -> None:
        super().__init__(config)
        if config.head_config.modality not in config.modalities:
            raise ModelConfigError(
                f"head_config.modality must be one of {sorted(config.modalities)}, "
                f"but is {config.head_config.modality!r} instead"
            )
        self.onepeace = OnePeaceModel(config, with_projections=False)
        self.head = Head(config, self._labels(config))
        self.post_init()

    def _labels(self, config: OnePeaceConfig) -> int:
        return int(config.num_labels)

    def _encode(self, inputs: Mapping[str, Tensor | None], *, second: bool = False) -> Encoded:
        return self.onepeace.encode(self.onepeace.embed(inputs, second=second))

    def _classify(self, encoded: list[Encoded]) -> Tensor:
        modality = self.config.head_config.modality
        tokens = [e.sequences[modality] for e in encoded]
        return self.head(tokens, encoded[0].padding[modality])


class OnePeaceForClassification(_WithHead):
    """Picks among fixed labels, or says yes or no to each; over one image or a pair."""

    def forward(
        self,
        *,
        labels: Tensor | None = None,
        pixel_values_2: Tensor | None = None,
        **inputs: Tensor | None,
    ) -> OnePeaceTaskOutput:
        """Classify.

        Args:
            labels: [B] ids, or [B, labels] probabilities when `head_config.multi_label`. The loss
                is summed over labels and averaged over the batch.
            pixel_values_2: the second image of a pair, when `head_config.images` is 2.
            **inputs: see `OnePeaceModel.forward`; encoded jointly.

        Raises:
            ModelConfigError: the number of images is not the head's.
        """
        expected, given = self.config.head_config.images, 1 + (pixel_values_2 is not None)
        if given != expected:
            raise ModelConfigError(f"the head expects {expected} image(s), but got {given} instead")
        encoded = [self._encode(inputs)]
        if pixel_values_2 is not None:
            encoded.append(self._encode({**inputs, "pixel_values": pixel_values_2}, second=True))
        logits = self._classify(encoded)
        return OnePeaceTaskOutput(
            loss=None if labels is None else self._loss(logits, labels),
            logits=logits,
            last_hidden_states=encoded[0].sequences,
        )

    def _loss(self, logits: Tensor, labels: Tensor) -> Tensor:
        if self.config.head_config.multi_label:
            total = functional.binary_cross_entropy_with_logits(
                logits.float(), labels.float(), reduction="sum"
            )
            return total / len(logits)
        return functional.cross_entropy(logits.float(), labels)


class OnePeaceForGrounding(_WithHead):
    """Finds what a phrase means in an image: a box."""

    def _labels(self, config: OnePeaceConfig) -> int:
        return 4

    def forward(
        self, *, boxes: Tensor | None = None, **inputs: Tensor | None
    ) -> OnePeaceTaskOutput:
        """Find a box.

        Args:
            boxes: [B, 4] targets, x1, y1, x2, y2 as fractions of the image.
            **inputs: see `OnePeaceModel.forward`; encoded jointly.
        """
        encoded = self._encode(inputs)
        logits = self._classify([encoded])
        found = logits.sigmoid()
        return OnePeaceTaskOutput(
            loss=None if boxes is None else box_loss(found.float(), boxes.float()),
            logits=logits,
            boxes=found,
            last_hidden_states=encoded.sequences,
        )


class OnePeaceForRanking(_WithHead):
    """Scores candidate texts, answers say, about the same image or sound; the best one wins."""

    def _labels(self, config: OnePeaceConfig) -> int:
        return 1

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        labels: Tensor | None = None,
        **inputs: Tensor | None,
    ) -> OnePeaceTaskOutput:
        """Score candidates.

        Args:
            input_ids: [B, candidates, T - 1].
            attention_mask: [B, candidates, T - 1], 0 at padding.
            labels: [B], the right candidate.
            **inputs: one a sample, see `OnePeaceModel.forward`.
        """
        batch, candidates = input_ids.shape[:2]
        media: dict[str, Tensor | None] = {
            name: None if x is None else x.repeat_interleave(candidates, dim=0)
            for name, x in inputs.items()
        }
        media["input_ids"] = input_ids.flatten(0, 1)
        media["attention_mask"] = None if attention_mask is None else attention_mask.flatten(0, 1)
        encoded = self._encode(media)
        logits = self._classify([encoded]).view(batch, candidates)
        return OnePeaceTaskOutput(
            loss=None if labels is None else functional.cross_entropy(logits.float(), labels),
            logits=logits,
            last_hidden_states=encoded.sequences,
        )
