"""The model families, known to transformers' Auto classes once this package is imported."""

from transformers import AutoBackbone, AutoConfig, AutoModel, AutoModelForCausalLM, AutoProcessor

from unisono.models.ola import OlaConfig, OlaForConditionalGeneration, OlaProcessor
from unisono.models.ola.beats import BeatsConfig, BeatsModel
from unisono.models.ola.vision import OryxVisionConfig, OryxVisionModel
from unisono.models.onepeace import OnePeaceBackbone, OnePeaceConfig, OnePeaceModel
from unisono.models.onepeace.branch import OnePeaceSoundModel, OnePeaceVisionModel
from unisono.models.onepeace.branch_config import OnePeaceSoundConfig, OnePeaceVisionConfig
from unisono.models.onepeace.dense import DENSE_MODELS
from unisono.models.onepeace.processor import OnePeaceProcessor

for _config, _model in (
    (OryxVisionConfig, OryxVisionModel),
    (BeatsConfig, BeatsModel),
    (OnePeaceConfig, OnePeaceModel),
    (OnePeaceVisionConfig, OnePeaceVisionModel),
    (OnePeaceSoundConfig, OnePeaceSoundModel),
):
    AutoConfig.register(_config.model_type, _config, exist_ok=True)
    AutoModel.register(_config, _model, exist_ok=True)
for _dense_config, _dense_model in DENSE_MODELS:
    AutoConfig.register(_dense_config.model_type, _dense_config, exist_ok=True)
    AutoModel.register(_dense_config, _dense_model, exist_ok=True)
AutoConfig.register(OlaConfig.model_type, OlaConfig, exist_ok=True)
AutoModelForCausalLM.register(OlaConfig, OlaForConditionalGeneration, exist_ok=True)
AutoProcessor.register(OlaConfig, OlaProcessor, exist_ok=True)
AutoBackbone.register(OnePeaceConfig, OnePeaceBackbone, exist_ok=True)
AutoProcessor.register(OnePeaceConfig, OnePeaceProcessor, exist_ok=True)

__all__ = [
    "OlaConfig",
    "OlaForConditionalGeneration",
    "OlaProcessor",
    "OnePeaceConfig",
    "OnePeaceModel",
    "OnePeaceProcessor",
]
