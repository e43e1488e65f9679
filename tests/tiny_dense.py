"""Tiny dense models and pictures for tests: made in milliseconds."""

from typing import Any

import torch
from tiny_onepeace import randomised, tiny_config
from torch import Tensor

from unisono.models.onepeace import OnePeaceModel
from unisono.models.onepeace.branch_config import OnePeaceVisionConfig
from unisono.models.onepeace.dense import OnePeaceForSegmentation, OnePeaceSegmentationConfig

LABELS = 5
ADAPTER = {"stem_width": 4, "heads": 2, "points": 2}
MASK_HEAD = {
    "width": 32,
    "heads": 2,
    "queries": 6,
    "encoder_layers": 1,
    "encoder_ffn_width": 16,
    "decoder_layers": 2,
    "decoder_ffn_width": 16,
    "groups": 8,
    "train_points": 64,
}


def tiny_vision(**changes: Any) -> OnePeaceVisionConfig:
    """Four layers, as a ViT-Adapter needs."""
    config = tiny_config(num_hidden_layers=4, **changes)
    return OnePeaceVisionConfig.of(config)


def tiny_whole(**changes: Any) -> OnePeaceModel:
    """A ONE-PEACE model with random weights, four layers deep."""
    model: OnePeaceModel = randomised(OnePeaceModel(tiny_config(num_hidden_layers=4, **changes)))
    return model


def segmentation_config(**changes: Any) -> OnePeaceSegmentationConfig:
    """Of every pyramid and head; windows of 64 px that move by 32."""
    fields: dict[str, Any] = {
        "vision_config": tiny_vision(),
        "adapter_config": ADAPTER,
        "mask_config": MASK_HEAD,
        "pyramid_width": 16,
        "upernet_width": 16,
        "upernet_pool_scales": [1, 2],
        "num_labels": LABELS,
        "crop_px": 64,
        "stride_px": 32,
    }
    return OnePeaceSegmentationConfig(**{**fields, **changes})


def tiny_segmenter(seed: int = 0, **changes: Any) -> OnePeaceForSegmentation:
    """In eval mode, its weights as they are initialised."""
    torch.manual_seed(seed)
    return OnePeaceForSegmentation(segmentation_config(**changes)).eval()


def noise(*shape: int, seed: int = 0) -> Tensor:
    """Pixels."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
