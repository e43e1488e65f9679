"""Multi-scale deformable attention (arXiv 2010.04159) in pure torch.

Shapes: B batch, Q queries, V values of all levels one after the other, D width, H heads, L levels,
P points.
"""

import math

import torch
from torch import Tensor, nn
from transformers import initialization
from transformers.models.mask2former.modeling_mask2former import multi_scale_deformable_attention

from unisono.models.onepeace.bias import Grid


class DeformableAttention(nn.Module):
    """Each query looks at a few points around its place, on every level.

    Bilinear samples, zeros outside, cells centred at + 0.5 (ViT-Adapter, arXiv 2205.08534).
    """

    def __init__(self, width: int, heads: int, *, levels: int, points: int, ratio: float) -> None:
        """`ratio`: width of the values in model widths."""
        super().__init__()
        inner = int(width * ratio)
        self.heads, self.levels, self.points = heads, levels, points
        self.sampling_offsets = nn.Linear(width, heads * levels * points * 2)
        self.attention_weights = nn.Linear(width, heads * levels * points)
        self.value_proj = nn.Linear(width, inner)
        self.output_proj = nn.Linear(inner, width)

    def forward(self, queries: Tensor, places: Tensor, values: Tensor, grids: list[Grid]) -> Tensor:
        """Attend.

        Args:
            queries: [B, Q, D].
            places: [1, Q, 1, 2], x and y of each query as fractions of the image.
            values: [B, V, D].
            grids: of each level of the values.

        Returns:
            [B, Q, D].
        """
        per_level = (self.heads, self.levels, self.points)
        offsets = self.sampling_offsets(queries).unflatten(-1, (*per_level, 2))
        weights = self.attention_weights(queries).unflatten(-1, (self.heads, -1)).softmax(-1)
        sizes = offsets.new_tensor([(columns, rows) for rows, columns in grids])
        where = places[:, :, None, :, None] + offsets / sizes[:, None]  # [B, Q, H, L, P, 2]
        found = multi_scale_deformable_attention(
            self.value_proj(values).unflatten(-1, (self.heads, -1)),
            grids,
            where,
            weights.unflatten(-1, per_level[1:]),
        )
        return self.output_proj(found)

    def look_around(self) -> None:
        """Initialise: each head looks in a direction of its own, each point one cell farther."""
        angles = torch.arange(self.heads) * (2 * math.pi / self.heads)
        directions = torch.stack([angles.cos(), angles.sin()], -1)
        directions = directions / directions.abs().amax(-1, keepdim=True)
        steps = torch.arange(1, self.points + 1)
        grid = directions[:, None, None] * steps[:, None]  # [H, 1, P, 2]
        nn.init.zeros_(self.sampling_offsets.weight)
        nn.init.zeros_(self.attention_weights.weight)
        nn.init.zeros_(self.attention_weights.bias)
        every_level = grid.expand(-1, self.levels, -1, -1).flatten()
        initialization.copy_(self.sampling_offsets.bias, every_level)
        for projection in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(projection.weight)
            nn.init.zeros_(projection.bias)


def cell_centres(grids: list[Grid], like: Tensor) -> Tensor:
    """[1, Q, 1, 2]: x and y of the cells of some grids, row after row, as fractions."""
    found = []
    for rows, columns in grids:
        y = (torch.arange(rows, device=like.device, dtype=like.dtype) + 0.5) / rows
        x = (torch.arange(columns, device=like.device, dtype=like.dtype) + 0.5) / columns
        found.append(torch.cartesian_prod(y, x).flip(-1).view(-1, 2))
    return torch.cat(found)[None, :, None]
