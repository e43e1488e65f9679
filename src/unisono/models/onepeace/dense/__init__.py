"""Dense vision: ONE-PEACE's encoder for segmentation, detection, pictures and clips."""

from transformers import PreTrainedConfig, PreTrainedModel

from unisono.models.onepeace.dense.classification import OnePeaceForImageClassification
from unisono.models.onepeace.dense.config import (
    OnePeaceAdapterConfig,
    OnePeaceDetectionConfig,
    OnePeaceImageClassificationConfig,
    OnePeaceMaskHeadConfig,
    OnePeaceSegmentationConfig,
    OnePeaceVideoClassificationConfig,
    OnePeaceWindowedConfig,
)
from unisono.models.onepeace.dense.detection import Detector, OnePeaceForDetection, Things
from unisono.models.onepeace.dense.instances import Instance
from unisono.models.onepeace.dense.segmentation import (
    OnePeaceForSegmentation,
    OnePeaceSegmentationOutput,
)
from unisono.models.onepeace.dense.segmenter import SegmentationMap, Segmenter
from unisono.models.onepeace.dense.video import OnePeaceForVideoClassification
from unisono.models.onepeace.dense.windows import OnePeaceWindowedBackbone

DENSE_MODELS: tuple[tuple[type[PreTrainedConfig], type[PreTrainedModel]], ...] = (
    (OnePeaceDetectionConfig, OnePeaceForDetection),
    (OnePeaceImageClassificationConfig, OnePeaceForImageClassification),
    (OnePeaceSegmentationConfig, OnePeaceForSegmentation),
    (OnePeaceVideoClassificationConfig, OnePeaceForVideoClassification),
    (OnePeaceWindowedConfig, OnePeaceWindowedBackbone),
)
"""Each model and its config, for transformers' Auto classes."""

__all__ = [
    "DENSE_MODELS",
    "Detector",
    "Instance",
    "OnePeaceAdapterConfig",
    "OnePeaceDetectionConfig",
    "OnePeaceForDetection",
    "OnePeaceForImageClassification",
    "OnePeaceForSegmentation",
    "OnePeaceForVideoClassification",
    "OnePeaceImageClassificationConfig",
    "OnePeaceMaskHeadConfig",
    "OnePeaceSegmentationConfig",
    "OnePeaceSegmentationOutput",
    "OnePeaceVideoClassificationConfig",
    "OnePeaceWindowedBackbone",
    "OnePeaceWindowedConfig",
    "SegmentationMap",
    "Segmenter",
    "Things",
]
