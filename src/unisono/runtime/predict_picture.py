"""Predictors over the dense models: segmentation, detection, pictures and clips as a whole."""

from collections.abc import Sequence
from typing import Any

import torch
from PIL import Image

from unisono.media import load_image, load_video
from unisono.models.onepeace.dense import (
    OnePeaceForImageClassification,
    OnePeaceForVideoClassification,
)
from unisono.models.onepeace.dense.detection import Detector
from unisono.models.onepeace.dense.pictures import centre_pixels, frame_pixels
from unisono.models.onepeace.dense.segmenter import Segmenter
from unisono.runtime.predictor import Answer, Item, Predictor


class SegmentPredictor(Predictor):
    """The class of every pixel."""

    task = "segment"

    def __init__(self, segmenter: Segmenter, *, name: str = "") -> None:
        self.segmenter, self.name = segmenter, name

    def open(self, item: Item) -> Image.Image:
        """The picture."""
        return load_image(item["image"]).convert("RGB")

    def answer(self, opened: Sequence[Image.Image]) -> list[Answer]:
        """A map each."""
        return [Answer(segmentation=one) for one in self.segmenter.segment(opened)]


class DetectPredictor(Predictor):
    """Things with boxes, and masks where the model makes any."""

    task = "detect"

    def __init__(
        self, finder: Detector | Segmenter, *, threshold: float = 0.5, name: str = ""
    ) -> None:
        self.finder, self.threshold, self.name = finder, threshold, name

    def open(self, item: Item) -> Image.Image:
        """The picture."""
        return load_image(item["image"]).convert("RGB")

    def answer(self, opened: Sequence[Image.Image]) -> list[Answer]:
        """The things in each."""
        if not opened:
            return []
        find = self.finder.detect if isinstance(self.finder, Detector) else self.finder.instances
        found = find(opened, threshold=self.threshold)
        return [Answer(things=tuple(things)) for things in found]


class WholePredictor(Predictor):
    """A class of a picture, or of a clip, by the models of `dense`."""

    task = "classify"

    def __init__(
        self,
        model: OnePeaceForImageClassification | OnePeaceForVideoClassification,
        *,
        name: str = "",
    ) -> None:
        """Wrap a model, which is put into eval mode."""
        self.model, self.name = model.eval(), name
        self.frames = getattr(model.config, "frames", 0)
        self.inputs = ("video",) if self.frames else ("image",)

    def open(self, item: Item) -> torch.Tensor:
        """Pixels [3, S, S], or of a clip [3, F, S, S]; a short one repeats its last frame.

        Raises:
            MediaError: it cannot be opened.
        """
        side = self.model.config.image_px
        if not self.frames:
            return centre_pixels(load_image(item["image"]).convert("RGB"), side)
        video = load_video(item["video"], frames=self.frames, with_audio=False)
        frames = [Image.fromarray(frame) for frame in video.frames]
        frames += [frames[-1]] * (self.frames - len(frames))
        return frame_pixels(frames, side)

    @torch.inference_mode()
    def answer(self, opened: Sequence[torch.Tensor]) -> list[Answer]:
        """Softmax over the classes."""
        if not opened:
            return []
        model: Any = self.model
        logits = model(torch.stack(list(opened)).to(model.device, model.dtype)).logits
        names = model.config.id2label
        return [
            Answer({names[int(i)]: float(row[i]) for i in row.argsort(descending=True)})
            for row in logits.float().softmax(dim=-1).cpu()
        ]
