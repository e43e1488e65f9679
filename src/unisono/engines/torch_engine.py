"""Any causal language model of transformers, on any device torch knows."""

from collections.abc import Sequence

import torch
from torch import Tensor
from transformers import DynamicCache, GenerationConfig, PreTrainedModel

from unisono.engines.protocol import Engine, KVCache
from unisono.engines.settings import stop_ids


class TorchCache:
    """The KV cache of transformers, and how long it is."""

    def __init__(self, model: PreTrainedModel) -> None:
        self.values = DynamicCache(config=model.config)

    @property
    def length(self) -> int:
        """Positions held."""
        return int(self.values.get_seq_length())

    def truncate(self, length: int) -> None:
        """Forget everything from position `length` on."""
        if length < self.length:
            self.values.crop(length - self.length)  # a negative number: positions to remove


class TorchEngine(Engine):
    """Steps a transformers model. Shapes: T tokens, D width, V vocabulary."""

    def __init__(
        self, model: PreTrainedModel, *, generation_config: GenerationConfig | None = None
    ) -> None:
        """Step a model.

        Args:
            model: the language model alone.
            generation_config: what says where an answer ends; the model's own if it does not.
        """
        self.model = model.eval()
        self.name = f"torch {str(model.dtype).removeprefix('torch.')} on {model.device.type}"
        config = model.config
        self.width = config.hidden_size
        self.context_length = config.max_position_embeddings
        self.stop_ids = stop_ids(generation_config, model.generation_config, config)

    @torch.inference_mode()
    def embed(self, ids: Sequence[int]) -> Tensor:
        """[T, D]: the token embeddings of `ids`."""
        table = self.model.get_input_embeddings()
        embedded: Tensor = table(torch.tensor(list(ids), device=self.model.device))
        return embedded

    def new_cache(self) -> TorchCache:
        """An empty cache."""
        return TorchCache(self.model)

    @torch.inference_mode()
    def read(self, embeddings: Tensor, cache: KVCache) -> Tensor:
        """Read embeddings [T, D]; the logits [V] after the last."""
        if not isinstance(cache, TorchCache):
            raise TypeError(f"the cache must be a TorchCache, but is {type(cache).__name__}")
        output = self.model(
            inputs_embeds=embeddings[None].to(self.model.device, self.model.dtype),
            past_key_values=cache.values,
            use_cache=True,
            logits_to_keep=1,
        )
        logits: Tensor = output.logits[0, -1]
        return logits

    def step(self, token: int, cache: KVCache) -> Tensor:
        """Read one token; the logits [V] after it."""
        return self.read(self.embed([token]), cache)
