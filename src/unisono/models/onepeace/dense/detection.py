"""Object detection with instance masks: ONE-PEACE's encoder of detection under RF-DETR's head.

The official detector is a Cascade Mask R-CNN of another framework; transformers has none, and its
one detector with boxes and masks is RF-DETR (arXiv 2511.09554). The encoder is the official one.
Shapes: B batch, Q queries, K classes, H, W sides in pixels.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self, cast

import torch
from PIL import Image
from torch import Tensor
from transformers import (
    RfDetrConfig,
    RfDetrForInstanceSegmentation,
    RfDetrForObjectDetection,
    RfDetrModel,
)
from transformers.utils import ModelOutput, is_scipy_available

from unisono.errors import MissingExtraError
from unisono.models.onepeace.branch import Source
from unisono.models.onepeace.dense.base import OnePeaceDenseModel
from unisono.models.onepeace.dense.config import OnePeaceDetectionConfig
from unisono.models.onepeace.dense.initialisation import Initialised
from unisono.models.onepeace.dense.instances import Found, Instance, instances_of_boxes
from unisono.models.onepeace.dense.pictures import Size, filled_up, pixels_of, resized
from unisono.models.onepeace.dense.windows import OnePeaceWindowedBackbone
from unisono.models.onepeace.model import OnePeaceModel


@dataclass
class OnePeaceDetectionOutput(ModelOutput):
    """What a detector gives.

    Attributes:
        loss: scalar; None without labels.
        logits: [B, Q, K], each class with a probability of its own.
        boxes: [B, Q, 4], centre x and y, width and height as fractions of the image.
        mask_logits: [B, Q, H / 4, W / 4].
    """

    loss: Tensor | None = None
    logits: Tensor | None = None
    boxes: Tensor | None = None
    mask_logits: Tensor | None = None


@dataclass(frozen=True)
class Things:
    """What is in one image, to learn from.

    Attributes:
        classes: [things].
        boxes: [things, 4], centre x and y, width and height as fractions of the image.
        masks: [things, H, W], 0 and 1.
    """

    classes: Tensor
    boxes: Tensor
    masks: Tensor


# transformers renames weights of its own classes when it saves and loads them, even within another
# model, where the new names are wrong; those of subclasses it leaves alone.


class _Queries(Initialised, RfDetrModel):
    def __init__(self, config: RfDetrConfig, encoder: OnePeaceWindowedBackbone) -> None:
        super().__init__(config)
        self.backbone.backbone = encoder


class _Boxes(Initialised, RfDetrForObjectDetection):
    def __init__(self, config: RfDetrConfig, encoder: OnePeaceWindowedBackbone) -> None:
        super().__init__(config)
        self.model = _Queries(config, encoder)


class _Masks(Initialised, RfDetrForInstanceSegmentation):
    def __init__(self, config: RfDetrConfig, encoder: OnePeaceWindowedBackbone) -> None:
        super().__init__(config)
        self.model = _Boxes(config, encoder)
        self.loss_type = RfDetrForInstanceSegmentation.__name__


class OnePeaceForDetection(OnePeaceDenseModel):
    """Finds things: class, box and mask."""

    config_class = OnePeaceDetectionConfig
    config: OnePeaceDetectionConfig

    def __init__(self, config: OnePeaceDetectionConfig) -> None:
        super().__init__(config)
        config.vision_config.pyramid_width = None
        encoder = OnePeaceWindowedBackbone(config.vision_config)
        self.detector = _Masks(config.as_rf_detr(), encoder)
        self.post_init()

    @property
    def backbone(self) -> OnePeaceWindowedBackbone:
        """The encoder."""
        return cast(OnePeaceWindowedBackbone, self.detector.model.model.backbone.backbone)

    @classmethod
    def from_onepeace(cls, source: Source, **fields: Any) -> Self:
        """A new head on the encoder of a ONE-PEACE model, to be trained.

        Args:
            source: the model, or a folder or hub name.
            **fields: of the config: `num_labels` or `id2label`, `image_px`, `queries`, …; fields
                of `vision_config` that differ, as `window`.

        Raises:
            ModelConfigError: the model does not see.
            OSError: there is no such model.
        """
        patches = OnePeaceDetectionConfig(**fields).image_px // 16
        given = {"pyramid_width": None, **fields.pop("vision_config", {})}
        encoder = OnePeaceWindowedBackbone.from_onepeace(source, grid=patches, **given)
        model = cls(OnePeaceDetectionConfig(vision_config=encoder.config, **fields))
        model.backbone.load_state_dict(encoder.state_dict())
        return model

    def take_over(self, whole: OnePeaceModel) -> None:
        """Give the encoder the weights of a ONE-PEACE model, positions resampled to its grid.

        Raises:
            RuntimeError: weights are of another shape.
        """
        self.backbone.take_over(whole)

    def forward(
        self,
        pixel_values: Tensor,
        pixel_mask: Tensor | None = None,
        *,
        things: Sequence[Things] | None = None,
    ) -> OnePeaceDetectionOutput:
        """Detect.

        Args:
            pixel_values: [B, C, H, W], normalised; sides are multiples of 16 px.
            pixel_mask: [B, H, W], 0 where an image was filled up; None for nowhere.
            things: what is in each image.

        Raises:
            ModelConfigError: the sides are no multiples of 16.
            MissingExtraError: scipy, which matches, is not installed.
        """
        if things is not None and not is_scipy_available():
            raise MissingExtraError("scipy", "dense")
        labels = None if things is None else [_as_labels(one) for one in things]
        mask = None if pixel_mask is None else pixel_mask.long()
        found = self.detector(pixel_values, pixel_mask=mask, labels=labels)
        return OnePeaceDetectionOutput(
            loss=found.loss,
            logits=found.logits,
            boxes=found.pred_boxes,
            mask_logits=found.pred_masks,
        )


def _as_labels(things: Things) -> dict[str, Tensor]:
    return {
        "class_labels": things.classes.long(),
        "boxes": things.boxes.float(),
        "masks": things.masks.float(),
    }


class Detector:
    """A detection model with what has to be done before and behind it.

    A picture's longer side becomes the model's `image_px`; the rest of the square is filled up.
    """

    def __init__(self, model: OnePeaceForDetection) -> None:
        """Wrap a model, which is put into eval mode."""
        self.model = model.eval()

    @classmethod
    def from_pretrained(cls, folder: str | os.PathLike[str]) -> Self:
        """Load a model's folder.

        Raises:
            ModelConfigError: the weights are not those of a detector.
            OSError: there is no such folder.
        """
        return cls(cast(OnePeaceForDetection, OnePeaceForDetection.from_pretrained(folder)))

    @property
    def names(self) -> dict[int, str]:
        """Class -> its name."""
        return {int(i): name for i, name in self.model.config.id2label.items()}

    @torch.inference_mode()
    def detect(
        self, pictures: Sequence[Image.Image], *, threshold: float = 0.5, limit: int = 100
    ) -> list[list[Instance]]:
        """Find things.

        Args:
            pictures: of any sizes.
            threshold: things below this score are left out.
            limit: the most things of a picture.
        """
        return [self._detect(one, threshold, limit) for one in pictures]

    def _detect(self, picture: Image.Image, threshold: float, limit: int) -> list[Instance]:
        config: OnePeaceDetectionConfig = self.model.config
        side = config.image_px
        view = size_by_longer_side(picture, side)
        mean, std = config.pixel_mean, config.pixel_std
        pixels = filled_up(
            pixels_of(resized(picture, view), mean, std)[None], (side, side), mean, std
        )
        real = torch.zeros(1, side, side)
        real[:, : view[0], : view[1]] = 1
        device = self.model.device
        output = self.model(pixels.to(device, self.model.dtype), real.to(device))
        found = Found(
            logits=output.logits[0].float().cpu(),
            boxes=output.boxes[0].float().cpu(),
            masks=output.mask_logits[0].float().cpu(),
            looked_at=(side, side),
            view=view,
        )
        size = (picture.height, picture.width)
        return instances_of_boxes(found, self.names, size=size, threshold=threshold, limit=limit)


def size_by_longer_side(picture: Image.Image, longer_px: int) -> Size:
    """The size whose longer side is so long."""
    factor = longer_px / max(picture.width, picture.height)
    height, width = (max(int(s * factor + 0.5), 1) for s in (picture.height, picture.width))
    return height, width
