"""How far apart two tokens are, as a bias on their attention: BEATs' relative positions.

Shapes: T tokens, H heads, B buckets.

Source: arXiv 1910.10683 (T5), section 2.1, for the buckets.
"""

import math
from functools import lru_cache

import torch
from torch import Tensor, nn

from unisono.models.ola.beats_config import BeatsConfig


class RelativeBias(nn.Module):
    """One table [B, H], shared by all layers."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        self.max_distance = config.max_distance
        self.table = nn.Embedding(config.num_buckets, config.num_attention_heads)

    def forward(self, length: int) -> Tensor:
        """The bias between all tokens of a sequence; every layer can use it.

        Args:
            length: T.

        Returns:
            [H, T, T]: query, key.
        """
        weight = self.table.weight
        buckets = distance_buckets(length, len(weight), self.max_distance, weight.device)
        values = self.table(buckets).T  # [H, 2T - 1], by key minus query
        # Each query sees a window of distances: the first one that of 0 to T - 1, the next ones
        # that begin one earlier.
        return values.unfold(-1, length, 1).flip(1)


@lru_cache(maxsize=16)
@torch.inference_mode(False)  # autograd could never use tensors made there
def distance_buckets(
    length: int, num_buckets: int, max_distance: int, device: torch.device
) -> Tensor:
    """Rows of the table for all distances in a sequence, 1 - T to T - 1.

    Half of the buckets are for keys after the query. Of each half, one half is for single
    distances, the other for ranges that grow logarithmically up to `max_distance`.

    Args:
        length: T.
        num_buckets: B.
        max_distance: the last bucket takes all distances from here on.
        device: where the result is to be; it is computed on the CPU, so that all devices agree.

    Returns:
        [2T - 1] int64.
    """
    distances = torch.arange(1 - length, length, device=torch.device("cpu"))
    one_way = num_buckets // 2
    exact = one_way // 2
    far = distances.abs().clamp(min=exact).float() / exact
    ranges = far.log() / math.log(max_distance / exact) * (one_way - exact)
    ranged = (exact + ranges.long()).clamp(max=one_way - 1)
    near = torch.where(distances.abs() < exact, distances.abs(), ranged)
    return (near + (distances > 0) * one_way).to(device)
