"""Mask2Former (arXiv 2112.01527): queries that each find a mask and a class.

Its parts are transformers'; their numbers are those of the official head (tests/parity).
Shapes: B batch, Q queries, K classes, h, w rows and columns at stride 4.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import (
    Mask2FormerLoss,
    Mask2FormerPixelDecoder,
    Mask2FormerPreTrainedModel,
    Mask2FormerTransformerModule,
)
from transformers.utils import is_scipy_available

from unisono.errors import MissingExtraError
from unisono.models.onepeace.dense.config import OnePeaceMaskHeadConfig
from unisono.models.onepeace.dense.initialisation import Initialised


@dataclass(frozen=True)
class Segments:
    """What the queries found: before the first layer of their transformer and behind each.

    Attributes:
        class_logits: [B, Q, K + 1] each, the last class meaning nothing.
        mask_logits: [B, Q, h, w] each.
    """

    class_logits: tuple[Tensor, ...]
    mask_logits: tuple[Tensor, ...]


class MaskHead(Initialised, Mask2FormerPreTrainedModel):
    """Pixel decoder, transformer of the queries, and what they predict."""

    config_class = Mask2FormerConfig

    def __init__(self, config: OnePeaceMaskHeadConfig, widths: Sequence[int], labels: int) -> None:
        """`widths`: channels of the four maps that it reads."""
        shape = config.as_mask2former(labels)
        super().__init__(shape)
        self.pixel_decoder = Mask2FormerPixelDecoder(shape, feature_channels=list(widths))
        for module in self.pixel_decoder.modules():
            if isinstance(module, nn.GroupNorm):
                module.num_groups = config.groups
        self.decoder = Mask2FormerTransformerModule(in_features=config.width, config=shape)
        self.classifier = nn.Linear(config.width, labels + 1)
        self.post_init()

    def forward(self, maps: Sequence[Tensor]) -> Segments:
        """Find segments in maps at strides 4, 8, 16 and 32."""
        pixels = self.pixel_decoder(list(maps))
        decoded = self.decoder(
            multi_scale_features=pixels.multi_scale_features, mask_features=pixels.mask_features
        )
        queries = decoded.intermediate_hidden_states
        return Segments(
            class_logits=tuple(self.classifier(x.transpose(0, 1)) for x in queries),
            mask_logits=tuple(decoded.masks_queries_logits),
        )

    def loss(self, found: Segments, masks: list[Tensor], classes: list[Tensor]) -> Tensor:
        """Match queries to segments, at every layer, and compare class and mask.

        Args:
            found: the predictions.
            masks: [segments, H, W] of each image, 0 and 1.
            classes: [segments] of each image.

        Raises:
            MissingExtraError: scipy, which matches, is not installed.
        """
        if not is_scipy_available():
            raise MissingExtraError("scipy", "dense")
        c = self.config
        weights = {
            "loss_cross_entropy": c.class_weight,
            "loss_mask": c.mask_weight,
            "loss_dice": c.dice_weight,
        }
        criterion = Mask2FormerLoss(c, weights).to(found.class_logits[0].device)
        *inner, last = zip(found.class_logits, found.mask_logits, strict=True)
        others = [{"class_queries_logits": k, "masks_queries_logits": m} for k, m in inner]
        parts = criterion(last[1], last[0], masks, classes, others)
        weighted = [weights[_kind(name)] * value for name, value in parts.items()]
        return torch.stack(weighted).sum()


def _kind(name: str) -> str:
    """The loss's name without the number of its layer."""
    return name.rstrip("0123456789").rstrip("_")


def class_scores(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    """How much of every class is at every pixel, over all queries: [B, K, h, w].

    Not normalised: the sum over queries of the class's probability times the mask's.

    Args:
        class_logits: [B, Q, K + 1].
        mask_logits: [B, Q, h, w].
    """
    classes = class_logits.softmax(-1)[..., :-1]
    return torch.einsum("bqk,bqhw->bkhw", classes, mask_logits.sigmoid())
