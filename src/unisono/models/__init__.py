"""The model families, known to transformers' Auto classes once this package is imported."""

from transformers import AutoConfig, AutoModelForCausalLM, AutoProcessor

from unisono.models.ola import OlaConfig, OlaForConditionalGeneration, OlaProcessor

AutoConfig.register(OlaConfig.model_type, OlaConfig, exist_ok=True)
AutoModelForCausalLM.register(OlaConfig, OlaForConditionalGeneration, exist_ok=True)
AutoProcessor.register(OlaConfig, OlaProcessor, exist_ok=True)

__all__ = ["OlaConfig", "OlaForConditionalGeneration", "OlaProcessor"]
