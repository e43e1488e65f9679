"""Logits -> the next token.

Shapes: V vocabulary.
"""

import torch
from torch import Tensor

from unisono.engines.settings import GenerationSettings

_LEAST_TEMPERATURE = 1e-30
"""That float32 can divide by."""

_SORTED_FIRST = 1024
"""Tokens that are nearly always enough for top_p."""


class Sampler:
    """Picks one answer's tokens; knows the tokens it picked so far."""

    def __init__(self, settings: GenerationSettings) -> None:
        self.settings = settings
        self.picked: list[int] = []
        self._random = torch.Generator()
        if settings.seed is None:
            self._random.seed()
        else:
            self._random.manual_seed(settings.seed)

    def pick(self, logits: Tensor) -> int:
        """Pick from logits [V] (any dtype, any device)."""
        settings = self.settings
        if settings.repetition_penalty != 1.0 and self.picked:
            logits = penalise(logits, self.picked, settings.repetition_penalty)
        if settings.temperature == 0:
            token = int(logits.argmax())
        else:
            probabilities = filtered_probabilities(logits.float().cpu(), settings)
            token = int(torch.multinomial(probabilities, 1, generator=self._random))
        self.picked.append(token)
        return token


def penalise(logits: Tensor, seen: list[int], penalty: float) -> Tensor:
    """Divide positive and multiply negative logits of the tokens in `seen`."""
    ids = torch.tensor(sorted(set(seen)), device=logits.device)
    chosen = logits[ids]
    return logits.index_put((ids,), torch.where(chosen > 0, chosen / penalty, chosen * penalty))


def filtered_probabilities(logits: Tensor, settings: GenerationSettings) -> Tensor:
    """[V] -> [V]: the softmax at the temperature, unlikely tokens set to 0; sums to 1.

    In the order of transformers: top_k, top_p of what top_k left, min_p.
    """
    # The largest becomes 0 first: a temperature near 0 makes others -inf, and never inf - inf.
    scaled = (logits - logits.max()) / max(settings.temperature, _LEAST_TEMPERATURE)
    probabilities = torch.softmax(scaled, dim=-1)
    if settings.top_k or settings.top_p < 1:
        probabilities = _top(probabilities, settings)
    if settings.min_p:
        unlikely = probabilities < settings.min_p * probabilities.max()
        probabilities = probabilities.masked_fill(unlikely, 0)
    return probabilities / probabilities.sum()


def _top(probabilities: Tensor, settings: GenerationSettings) -> Tensor:
    """[V] -> [V]: the likeliest by top_k and top_p; to sort them all takes milliseconds."""
    size = len(probabilities)
    count = min(settings.top_k or _SORTED_FIRST, size)
    ordered, ids = probabilities.topk(count)
    if not settings.top_k and float(ordered.sum()) < settings.top_p:
        ordered, ids = probabilities.sort(descending=True)
    if settings.top_k:
        ordered = ordered / ordered.sum()
    if settings.top_p < 1:
        # A token stays while those before it do not reach top_p: the first one always does.
        ordered = ordered.masked_fill(ordered.cumsum(-1) - ordered >= settings.top_p, 0)
    return torch.zeros_like(probabilities).scatter(-1, ids, ordered)
