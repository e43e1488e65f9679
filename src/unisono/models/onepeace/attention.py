"""Self-attention over one modality or several, with a relative bias and padding.

Shapes: B batch, T tokens, D width, H heads, d width of a head.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

Spans = tuple[tuple[str, int], ...]
"""The modalities of a sequence in their order, and how many tokens each has."""

SHARED = "shared"
"""The key of weights that all modalities use."""

_MASKED, _UNMASK = -1e4, 8.0
"""A logit nothing real comes near to; its factors, so that both fit into float16."""


@dataclass(frozen=True)
class Surroundings:
    """What the tokens of a sequence are to each other; the same in every layer.

    Attributes:
        spans: which modality is where.
        padding: [B, T], True at padding; None when there is none.
    """

    spans: Spans
    padding: Tensor | None

    def of(self, samples: Tensor | None) -> "Surroundings":
        """Of some samples of the batch only; None for all."""
        if samples is None or self.padding is None:
            return self
        return replace(self, padding=self.padding[samples])

    def real(self, *, whole: bool) -> tuple[Tensor | None, ...]:
        """Where tokens are no padding, in each span or in the `whole` sequence, flattened.

        None stands for everywhere.
        """
        return (self._real_in_all,) if whole else self._real_in_spans

    @cached_property
    def _real_in_spans(self) -> tuple[Tensor | None, ...]:
        if self.padding is None:
            return (None,) * len(self.spans)
        padded = torch.split(self.padding, [length for _, length in self.spans], dim=1)
        return tuple(_places(one) for one in padded)

    @cached_property
    def _real_in_all(self) -> Tensor | None:
        return None if self.padding is None else _places(self.padding)


def _places(padding: Tensor) -> Tensor | None:
    """Flat places of [B, T] that are no padding; None where there is none."""
    places = (~padding).flatten().nonzero().flatten()
    return None if len(places) == padding.numel() else places


def by_modality(
    weights: nn.ModuleDict, x: Tensor, spans: Spans, call: Callable[[Any, Tensor], Tensor]
) -> Tensor:
    """Apply each modality's own weights to its span of [B, T, D], or the shared ones to all."""
    if SHARED in weights:
        return call(weights[SHARED], x)
    if len(spans) == 1:
        return call(weights[spans[0][0]], x)
    parts = torch.split(x, [length for _, length in spans], dim=1)
    done = [call(weights[name], part) for (name, _), part in zip(spans, parts, strict=True)]
    return torch.cat(done, dim=1)


class AttentionWeights(nn.Module):
    """Projections of one attention; the key's has no bias, the heads pass a LayerNorm (Magneto)."""

    def __init__(self, width: int, eps: float) -> None:
        super().__init__()
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width, bias=False)
        self.v_proj = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width, eps=eps)
        self.out_proj = nn.Linear(width, width)

    def output(self, heads: Tensor) -> Tensor:
        """[B, T, D] heads side by side -> [B, T, D]."""
        return self.out_proj(self.norm(heads))


class SelfAttention(nn.ModuleDict):
    """One attention over the whole sequence; its weights are shared or each modality's own."""

    def __init__(self, owners: tuple[str, ...], width: int, heads: int, eps: float) -> None:
        super().__init__({owner: AttentionWeights(width, eps) for owner in owners})
        self.heads = heads

    def forward(self, x: Tensor, around: Surroundings, bias: Tensor | None) -> Tensor:
        """[B, T, D] -> [B, T, D]; bias [1 or B, H, T, T] or None."""
        q, k, v = (
            self._projected(x, around.spans, name) for name in ("q_proj", "k_proj", "v_proj")
        )
        mixed = attend(q, k, v, bias=bias, padding=around.padding)
        heads = mixed.transpose(1, 2).flatten(2)
        return by_modality(self, heads, around.spans, lambda weights, part: weights.output(part))

    def _projected(self, x: Tensor, spans: Spans, name: str) -> Tensor:
        """[B, T, D] -> [B, H, T, d]."""
        flat = by_modality(self, x, spans, lambda weights, part: getattr(weights, name)(part))
        return flat.view(*flat.shape[:2], self.heads, -1).transpose(1, 2)


def attend(
    q: Tensor, k: Tensor, v: Tensor, *, bias: Tensor | None, padding: Tensor | None
) -> Tensor:
    """Scaled dot-product attention [B, H, T, d] with a bias that the batch may share.

    Padding goes into one more channel of queries and keys instead of into the bias: a bias of
    [1, H, T, T] then stays that small, where bias + padding would be [B, H, T, T].
    """
    scale, width = q.shape[-1] ** -0.5, q.shape[-1]
    if bias is not None:
        bias = bias.to(q.dtype)
    if padding is None:
        return scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)
    if bias is None:
        real = ~padding[:, None, None]
        return scaled_dot_product_attention(q, k, v, attn_mask=real, scale=scale)
    k_mask = padding[:, None, :, None] * (_MASKED / _UNMASK)
    q, k = _widened(q, q.new_full((), _UNMASK / scale)), _widened(k, k_mask)
    v = _widened(v, v.new_zeros(()))
    return scaled_dot_product_attention(q, k, v, attn_mask=bias, scale=scale)[..., :width]


def _widened(x: Tensor, channel: Tensor) -> Tensor:
    """Append a channel to [B, H, T, d]; on CUDA also zeros, as its kernels want multiples of 8."""
    rows = x.shape[:-1]
    spare = x.new_zeros(()).expand(*rows, 7 if x.is_cuda else 0)
    return torch.cat([x, channel.to(x.dtype).expand(*rows, 1), spare], dim=-1)
