"""ONE-PEACE: one encoder for text, images, sound and more; embeddings in one space."""

from unisono.models.onepeace.adapter import Adapter, register_adapter
from unisono.models.onepeace.backbone import OnePeaceBackbone
from unisono.models.onepeace.config import OnePeaceConfig
from unisono.models.onepeace.heads import (
    OnePeaceForClassification,
    OnePeaceForGrounding,
    OnePeaceForRanking,
)
from unisono.models.onepeace.losses import AUDIO_LANGUAGE, AUDIO_VISION, VISION_LANGUAGE, Stage
from unisono.models.onepeace.model import OnePeaceModel, OnePeaceOutput
from unisono.models.onepeace.pretraining import Masked, OnePeaceForPretraining

__all__ = [
    "AUDIO_LANGUAGE",
    "AUDIO_VISION",
    "VISION_LANGUAGE",
    "Adapter",
    "Masked",
    "OnePeaceBackbone",
    "OnePeaceConfig",
    "OnePeaceForClassification",
    "OnePeaceForGrounding",
    "OnePeaceForPretraining",
    "OnePeaceForRanking",
    "OnePeaceModel",
    "OnePeaceOutput",
    "Stage",
    "register_adapter",
]
