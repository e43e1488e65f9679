"""Pictures in, segmentation maps or instances out.

Shapes: B batch, K classes, H, W sides of a picture in pixels.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self, cast

import torch
from PIL import Image
from torch import Tensor

from unisono.errors import ModelConfigError
from unisono.models.onepeace.dense.base import padded
from unisono.models.onepeace.dense.config import OnePeaceSegmentationConfig
from unisono.models.onepeace.dense.instances import Instance, instances_of_masks, sized_masks
from unisono.models.onepeace.dense.pictures import (
    Size,
    filled_up,
    pixels_of,
    resized,
    size_by_shorter_side,
)
from unisono.models.onepeace.dense.segmentation import (
    OnePeaceForSegmentation,
    OnePeaceSegmentationOutput,
)
from unisono.models.onepeace.dense.sliding import mean_probabilities, sliding_scores


@dataclass(frozen=True)
class SegmentationMap:
    """The class of every pixel of a picture.

    Attributes:
        classes: int64 [H, W].
        probabilities: float32 [K, H, W]; None unless asked for.
        names: of the classes.
    """

    classes: Tensor
    probabilities: Tensor | None
    names: Mapping[int, str]

    def shares(self) -> dict[str, float]:
        """Name -> its share of the picture, the largest first, of classes that have pixels.

        Classes that bear one name are counted together.
        """
        found: dict[str, float] = {}
        labels, counts = torch.unique(self.classes, return_counts=True)
        for label, count in zip(labels.tolist(), counts.tolist(), strict=True):
            name = self.names.get(label, str(label))
            found[name] = found.get(name, 0.0) + count / self.classes.numel()
        return dict(sorted(found.items(), key=lambda item: -item[1]))


class Segmenter:
    """A segmentation model with what has to be done before and behind it.

    A picture's shorter side becomes the model's `crop_px`; what is longer is looked at through a
    window of that size. With several `scales`, or `mirrored`, the probabilities of all views are
    averaged (the published test has `sliding.OFFICIAL_SCALES` and both).
    """

    def __init__(
        self,
        model: OnePeaceForSegmentation,
        *,
        scales: Sequence[float] = (1.0,),
        mirrored: bool = False,
    ) -> None:
        """Wrap a model, which is put into eval mode.

        Raises:
            ModelConfigError: there is no scale, or one that is not positive.
        """
        if not scales or min(scales) <= 0:
            raise ModelConfigError(f"scales must be positive numbers, but are {list(scales)}")
        self.model = model.eval()
        self.scales = tuple(scales)
        self.mirrored = mirrored

    @classmethod
    def from_pretrained(
        cls,
        folder: str | os.PathLike[str],
        *,
        scales: Sequence[float] = (1.0,),
        mirrored: bool = False,
    ) -> Self:
        """Load a model's folder.

        Raises:
            ModelConfigError: the weights are not those of a segmentation model.
            OSError: there is no such folder.
        """
        model = cast(OnePeaceForSegmentation, OnePeaceForSegmentation.from_pretrained(folder))
        return cls(model, scales=scales, mirrored=mirrored)

    @property
    def names(self) -> dict[int, str]:
        """Class -> its name."""
        return {int(i): name for i, name in self.model.config.id2label.items()}

    @torch.inference_mode()
    def segment(
        self, pictures: Sequence[Image.Image], *, keep_probabilities: bool = False
    ) -> list[SegmentationMap]:
        """Semantic segmentation.

        Args:
            pictures: of any sizes.
            keep_probabilities: return all classes' probabilities too: 4 * K bytes a pixel.
        """
        found = []
        for picture in pictures:
            probabilities = self._probabilities(picture)
            kept = probabilities.cpu() if keep_probabilities else None
            found.append(SegmentationMap(probabilities.argmax(0).cpu(), kept, self.names))
        return found

    @torch.inference_mode()
    def instances(
        self, pictures: Sequence[Image.Image], *, threshold: float = 0.5, limit: int = 100
    ) -> list[list[Instance]]:
        """Instance segmentation, of each picture as a whole: windows would cut things in two.

        Args:
            pictures: of any sizes.
            threshold: instances below this score are left out.
            limit: the most instances of a picture.

        Raises:
            ModelConfigError: the model's head finds no instances.
        """
        if self.model.config.head != "mask2former":
            raise ModelConfigError(
                f"a {self.model.config.head!r} head gives pixels a class and finds no instances; "
                "they need a model with the head 'mask2former'"
            )
        return [self._instances(one, threshold, limit) for one in pictures]

    def _instances(self, picture: Image.Image, threshold: float, limit: int) -> list[Instance]:
        pixels, size = self._view(picture, 1.0), (picture.height, picture.width)
        output = self._run(pixels)
        if output.class_logits is None or output.mask_logits is None:
            raise ModelConfigError("the model's head finds no instances")
        looked_at, view = _size(padded(pixels)), _size(pixels)
        masks = sized_masks(output.mask_logits[0].float(), looked_at, view, size)
        return instances_of_masks(
            output.class_logits[0].float().cpu(),
            masks.cpu(),
            self.names,
            threshold=threshold,
            limit=limit,
        )

    def _probabilities(self, picture: Image.Image) -> Tensor:
        """[K, H, W]."""
        views = [(self._view(picture, scale), False) for scale in self.scales]
        if self.mirrored:
            views += [(pixels.flip(-1), True) for pixels, _ in views]
        return mean_probabilities(self._scores, views, (picture.height, picture.width))[0]

    def _view(self, picture: Image.Image, scale: float) -> Tensor:
        """[1, 3, h, w]."""
        config: OnePeaceSegmentationConfig = self.model.config
        size = size_by_shorter_side(picture, config.crop_px * scale)
        return pixels_of(resized(picture, size), config.pixel_mean, config.pixel_std)[None]

    def _scores(self, pixels: Tensor) -> Tensor:
        """Through the window, and without what fills it up."""
        config: OnePeaceSegmentationConfig = self.model.config
        window, step = (config.crop_px,) * 2, (config.stride_px,) * 2
        whole = filled_up(pixels, window, config.pixel_mean, config.pixel_std)
        found = sliding_scores(self._window_scores, whole, crop=window, stride=step)
        return found[..., : pixels.shape[-2], : pixels.shape[-1]]

    def _window_scores(self, pixels: Tensor) -> Tensor:
        scores = self._run(pixels).scores
        if scores is None:
            raise ModelConfigError("the model gives no scores")
        return scores.float()

    def _run(self, pixels: Tensor) -> OnePeaceSegmentationOutput:
        given = pixels.to(self.model.device, self.model.dtype)
        output: OnePeaceSegmentationOutput = self.model(given)
        return output


def _size(pixels: Tensor) -> Size:
    return pixels.shape[-2], pixels.shape[-1]
