"""Attention over conversations that are packed into one row, each computed for itself.

transformers gives `scaled_dot_product_attention` a mask of the whole row, so that the work grows
with the row's length squared though nearly all of it is masked: a row of thirty conversations
costs thirty times their own attention. Here each is a causal attention of its own, which needs no
mask and takes the fast kernels. flash-attention, where it is installed, does alike by itself.

Shapes: H heads, T tokens of the row, d width of a head.
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import sdpa_mask

PACKED_SDPA = "packed_sdpa"
"""The name by which transformers knows it; without segments it is "sdpa"."""


def segment_arguments(
    model: Any, position_ids: Tensor | None, attention_mask: Tensor | None
) -> dict[str, Any]:
    """What a language model is given besides, so that the segments of a row are computed apart.

    Args:
        model: the language model; changed to this attention if it has "sdpa".
        position_ids: [1, T], beginning anew at 0 where a segment does.
        attention_mask: None, or there is padding and so no packing.

    Returns:
        `segment_lengths`, and a mask that keeps transformers from making its own; nothing where
        the row is not packed, or the model's attention is of another kind.
    """
    if position_ids is None or attention_mask is not None or len(position_ids) != 1:
        return {}
    config = model.config
    if config._attn_implementation not in ("sdpa", PACKED_SDPA) or _sees_less(config):
        return {}
    starts = (position_ids[0] == 0).nonzero().flatten().tolist()
    if len(starts) < 2 or starts[0] != 0:
        return {}
    if config._attn_implementation == "sdpa":
        model.set_attn_implementation(PACKED_SDPA)
    ends = [*starts[1:], position_ids.shape[1]]
    lengths = [end - start for start, end in zip(starts, ends, strict=True)]
    unused = torch.empty(1, 1, 0, 0, device=position_ids.device)
    return {"segment_lengths": lengths, "attention_mask": unused}


def packed_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    segment_lengths: list[int] | None = None,
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """An attention as transformers calls it: [1, H, T, d] each -> [1, T, H, d]."""
    if segment_lengths is None:
        found: tuple[Tensor, None] = sdpa_attention_forward(
            module, query, key, value, attention_mask, **kwargs
        )
        return found
    parts = (torch.split(x, segment_lengths, dim=2) for x in (query, key, value))
    mixed = [
        scaled_dot_product_attention(
            q,
            k,
            v,
            dropout_p=kwargs.get("dropout", 0.0),
            is_causal=True,
            scale=kwargs.get("scaling"),
            enable_gqa=query.shape[1] != key.shape[1],
        )
        for q, k, v in zip(*parts, strict=True)
    ]
    return torch.cat(mixed, dim=2).transpose(1, 2).contiguous(), None


def _sees_less(config: PreTrainedConfig) -> bool:
    """Whether some layer sees a window only, or in another way than causally."""
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    return kinds != {"full_attention"} or getattr(config, "attention_chunk_size", None) is not None


AttentionInterface.register(PACKED_SDPA, packed_attention)
AttentionMaskInterface.register(PACKED_SDPA, sdpa_mask)
