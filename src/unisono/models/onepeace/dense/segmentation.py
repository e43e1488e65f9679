"""Semantic segmentation and instances: ONE-PEACE's encoder, a pyramid, a head.

Shapes: B batch, H, W sides in pixels, h, w the same at stride 4, K classes, Q queries.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional
from transformers.models.upernet.modeling_upernet import UperNetHead
from transformers.utils import ModelOutput

from unisono.errors import ModelConfigError
from unisono.models.onepeace.backbone import OnePeaceBackbone
from unisono.models.onepeace.branch_config import OnePeaceVisionConfig
from unisono.models.onepeace.dense.base import OnePeaceDenseModel, padded
from unisono.models.onepeace.dense.config import OnePeaceSegmentationConfig
from unisono.models.onepeace.dense.mask_head import MaskHead, Segments, class_scores
from unisono.models.onepeace.dense.simple_pyramid import PlainPyramid
from unisono.models.onepeace.dense.vit_adapter import ViTAdapter


@dataclass
class OnePeaceSegmentationOutput(ModelOutput):
    """What a segmentation model gives.

    Attributes:
        loss: scalar; None without labels.
        scores: [B, K, H, W], how much of each class is at each pixel: logits of the UPerNet head;
            of the Mask2Former head a sum over queries that is no probability.
        class_logits: [B, Q, K + 1], the last class meaning nothing (Mask2Former only).
        mask_logits: [B, Q, h, w], of the image padded to multiples of 32 px (Mask2Former only).
    """

    loss: Tensor | None = None
    scores: Tensor | None = None
    class_logits: Tensor | None = None
    mask_logits: Tensor | None = None


class OnePeaceForSegmentation(OnePeaceDenseModel):
    """Gives every pixel a class; with the Mask2Former head, finds instances too."""

    config_class = OnePeaceSegmentationConfig
    config: OnePeaceSegmentationConfig

    def __init__(self, config: OnePeaceSegmentationConfig) -> None:
        super().__init__(config)
        vision: OnePeaceVisionConfig = config.vision_config
        self.backbone = OnePeaceBackbone(vision)
        self.pyramid: ViTAdapter | PlainPyramid
        if config.pyramid == "adapter":
            self.pyramid = ViTAdapter(vision, config.adapter_config)
        else:
            self.pyramid = PlainPyramid(vision.hidden_size, config.pyramid_width)
        self.head: MaskHead | UperNetHead
        if config.head == "mask2former":
            self.head = MaskHead(config.mask_config, config.map_widths, config.num_labels)
        else:
            self.head = UperNetHead(config.as_upernet(), in_channels=list(config.map_widths))
        self.post_init()

    def forward(
        self,
        pixel_values: Tensor,
        *,
        labels: Tensor | None = None,
        masks: list[Tensor] | None = None,
        classes: list[Tensor] | None = None,
    ) -> OnePeaceSegmentationOutput:
        """Segment.

        Args:
            pixel_values: [B, C, H, W], normalised, of any size: at the right and at the bottom
                zeros are added up to a multiple of 32 px.
            labels: [B, H, W], the class of every pixel or `ignore_label`.
            masks: in place of them for the Mask2Former head, [segments, H, W] of each image,
                0 and 1; they may overlap.
            classes: [segments] of each image.

        Raises:
            ModelConfigError: the head cannot be trained on what is given.
        """
        size = pixel_values.shape[-2:]
        maps = self.pyramid(self.backbone, padded(pixel_values))
        if isinstance(self.head, MaskHead):
            found = self.head(maps)
            output = _of_segments(found, size)
            targets = self._targets(labels, masks, classes)
            output.loss = None if targets is None else self.head.loss(found, *targets)
            return output
        if masks is not None:
            raise ModelConfigError("a UPerNet head learns from labels of pixels, not from masks")
        scores = at_pixels(self.head(maps), size)
        loss = None if labels is None else self._loss_of_pixels(scores, labels)
        return OnePeaceSegmentationOutput(loss=loss, scores=scores)

    def _loss_of_pixels(self, scores: Tensor, labels: Tensor) -> Tensor:
        return functional.cross_entropy(
            scores.float(), labels.long(), ignore_index=self.config.ignore_label
        )

    def _targets(
        self, labels: Tensor | None, masks: list[Tensor] | None, classes: list[Tensor] | None
    ) -> tuple[list[Tensor], list[Tensor]] | None:
        """Masks, padded as the image is, and classes of each image."""
        if labels is not None:
            cut = [segments_of(one, self.config.ignore_label) for one in labels]
            masks, classes = [m for m, _ in cut], [c for _, c in cut]
        if masks is None and classes is None:
            return None
        if masks is None or classes is None or len(masks) != len(classes):
            raise ModelConfigError("masks and classes must be given together, of every image")
        return [padded(m[None])[0].float() for m in masks], classes


def _of_segments(found: Segments, size: torch.Size) -> OnePeaceSegmentationOutput:
    """The last layer's predictions."""
    classes, masks = found.class_logits[-1], found.mask_logits[-1]
    return OnePeaceSegmentationOutput(
        scores=at_pixels(class_scores(classes, masks), size),
        class_logits=classes,
        mask_logits=masks,
    )


def at_pixels(scores: Tensor, size: torch.Size) -> Tensor:
    """[B, K, h, w] at stride 4 of a padded image -> [B, K, H, W], the padding cut off."""
    height, width = size
    whole = functional.interpolate(scores, scale_factor=4, mode="bilinear", align_corners=False)
    return whole[..., :height, :width]


def segments_of(labels: Tensor, ignored: int) -> tuple[Tensor, Tensor]:
    """Labels [H, W] -> a mask [segments, H, W] of each class in them, and the classes."""
    classes: Tensor = torch.unique(labels)
    classes = classes[classes != ignored]
    return (labels == classes[:, None, None]).float(), classes.long()
