"""How a language model is stepped: embeddings in, tokens out."""

from unisono.engines.protocol import Engine, KVCache
from unisono.engines.sampling import Sampler
from unisono.engines.settings import GenerationSettings
from unisono.engines.torch_engine import TorchEngine

__all__ = ["Engine", "GenerationSettings", "KVCache", "Sampler", "TorchEngine"]
