"""How an answer is generated: its length, its randomness, and where it ends."""

from dataclasses import dataclass
from typing import Any

from unisono.errors import ConversationError


@dataclass(frozen=True, kw_only=True)
class GenerationSettings:
    """Settings of one answer; the defaults are greedy decoding.

    Attributes:
        max_new_tokens: the longest answer.
        temperature: 0 takes the likeliest token; higher is more varied.
        top_k: sample among the k likeliest tokens; 0 for all.
        top_p: sample among the likeliest tokens that together have this probability.
        min_p: leave out tokens less likely than this share of the likeliest.
        repetition_penalty: above 1, tokens the answer already has become less likely (CTRL,
            arXiv 1909.05858, section 4.1).
        seed: the same seed gives the same sampled answer; None for a new one each time.
        stop: texts that end the answer and are not part of it.
    """

    max_new_tokens: int = 512
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        stop = (self.stop,) if isinstance(self.stop, str) else tuple(self.stop)
        object.__setattr__(self, "stop", stop)
        _must(self.max_new_tokens >= 1, "max_new_tokens", "at least 1", self.max_new_tokens)
        _must(self.temperature >= 0, "temperature", "at least 0", self.temperature)
        _must(self.top_k >= 0, "top_k", "at least 0", self.top_k)
        _must(0 < self.top_p <= 1, "top_p", "above 0 and at most 1", self.top_p)
        _must(0 <= self.min_p < 1, "min_p", "at least 0 and below 1", self.min_p)
        _must(self.repetition_penalty > 0, "repetition_penalty", "above 0", self.repetition_penalty)
        seed_fits = self.seed is None or -(2**63) <= self.seed < 2**64
        _must(seed_fits, "seed", "a whole number of 64 bits", self.seed)
        _must(all(self.stop), "stop", "texts that are not empty", self.stop)


def stop_ids(*configs: Any) -> frozenset[int]:
    """Tokens that end an answer: those of the first config that names any.

    Args:
        *configs: a model's generation config, then its own config; None is passed over.
    """
    named = (getattr(config, "eos_token_id", None) for config in configs)
    ids = next((ids for ids in named if ids is not None), ())
    return frozenset([ids] if isinstance(ids, int) else ids)


def _must(holds: bool, name: str, what: str, value: object) -> None:
    if not holds:
        raise ConversationError(f"{name} must be {what}, but is {value!r} instead")
