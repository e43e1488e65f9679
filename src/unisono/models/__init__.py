"""The model families, known to transformers' Auto classes once this package is imported."""

from transformers import AutoConfig, AutoModel, AutoModelForCausalLM, AutoProcessor

from unisono.models.ola import OlaConfig, OlaForConditionalGeneration, OlaProcessor
from unisono.models.ola.vision import OryxVisionConfig, OryxVisionModel

AutoConfig.register(OryxVisionConfig.model_type, OryxVisionConfig, exist_ok=True)
AutoModel.register(OryxVisionConfig, OryxVisionModel, exist_ok=True)
AutoConfig.register(OlaConfig.model_type, OlaConfig, exist_ok=True)
AutoModelForCausalLM.register(OlaConfig, OlaForConditionalGeneration, exist_ok=True)
AutoProcessor.register(OlaConfig, OlaProcessor, exist_ok=True)

__all__ = ["OlaConfig", "OlaForConditionalGeneration", "OlaProcessor"]
