"""Relative position biases: which row of a learned table stands between two tokens.

Knows distances, grids and how a table made for one grid serves another. Tokens are counted with
[CLS] first. Shapes: T tokens, H heads, N pairs of a table without the three rows for [CLS].
"""

import math
from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from unisono.errors import ContextLengthError

MAX_POSITIONS = 1024
"""Where the logarithmic buckets end: the official tables know no longer sequence."""

CLS_ROWS = 3
"""Behind the rows of a table: query [CLS], key [CLS], both."""

Grid = tuple[int, int]


class RelativeBias(nn.ParameterList):
    """Learned tables [N + 3, H]: one for all layers, or one a layer."""

    def __init__(self, pairs: int, heads: int, layers: int) -> None:
        tables = (torch.zeros(pairs + CLS_ROWS, heads) for _ in range(layers))
        super().__init__(tables)

    def table(self, layer: int) -> Tensor:
        """[N + 3, H]."""
        table: Tensor = self[layer if len(self) > 1 else 0]
        return table


def look_up(table: Tensor, index: Tensor) -> Tensor:
    """[N + 3, H] at [T, T] -> [1, H, T, T]; at [B, T, T] -> [B, H, T, T]."""
    bias = functional.embedding(index, table).movedim(-1, -3)
    return bias if index.dim() == 3 else bias[None]


def with_cls(pairs: Tensor, rows: int) -> Tensor:
    """Put the [CLS] rows around an index of token pairs [T, T] -> [T + 1, T + 1]."""
    index = functional.pad(pairs, (1, 0, 1, 0))
    index[0, :], index[:, 0], index[0, 0] = rows, rows + 1, rows + 2
    return index


def bucket_index(length: int, buckets: int, device: torch.device | None = None) -> Tensor:
    """[T, T] rows of a 1-D table with 2 * buckets - 1 pairs; T = `length` counts [CLS].

    Distances (query minus key) below buckets / 2 each have a row; farther ones share rows that
    grow logarithmically up to `MAX_POSITIONS`.

    Raises:
        ContextLengthError: longer than `MAX_POSITIONS`.
    """
    if length > MAX_POSITIONS:
        raise ContextLengthError(
            f"a sequence may have at most {MAX_POSITIONS} tokens, but has {length} instead"
        )
    distance = torch.arange(length - 1)[:, None] - torch.arange(length - 1)
    index = with_cls(_bucket(distance, buckets) + buckets - 1, 2 * buckets - 1)
    return index.to(device)


def _bucket(distance: Tensor, buckets: int) -> Tensor:
    near = buckets // 2
    ratio = distance.abs().clamp(min=near) / near
    far = torch.ceil(torch.log(ratio) / math.log((MAX_POSITIONS - 1) / near) * (near - 1)) + near
    return torch.where(distance.abs() <= near, distance, far.long() * distance.sign())


def grid_index(grid: Grid, device: torch.device | None = None) -> Tensor:
    """[T, T] rows of a 2-D table with (2h-1)(2w-1) pairs, T = 1 + h * w in raster order."""
    height, width = grid
    y, x = torch.arange(height * width) // width, torch.arange(height * width) % width
    dy, dx = y[:, None] - y + height - 1, x[:, None] - x + width - 1
    rows = (2 * height - 1) * (2 * width - 1)
    return with_cls(dy * (2 * width - 1) + dx, rows).to(device)


def resized_table(table: Tensor, grid: int, to: Grid) -> Tensor:
    """A 2-D table [(2G-1)^2 + 3, H] made for G x G patches -> the table for h x w patches.

    Distances are resampled along each axis by a cubic spline whose knots lie in a geometric
    progression: near distances keep their rows, far ones are stretched (as in BEiT). The [CLS]
    rows stay. Differentiable in the table.
    """
    if to == (grid, grid):
        return table
    side, heads = 2 * grid - 1, table.shape[1]
    down, across = (_resampler(grid, n).to(table.device, table.dtype) for n in to)
    pairs = table[:-CLS_ROWS].view(side, side, heads)
    pairs = torch.einsum("yi,xj,ijh->yxh", down, across, pairs)
    return torch.cat([pairs.reshape(-1, heads), table[-CLS_ROWS:]])


@lru_cache(maxsize=64)
def _resampler(source: int, target: int) -> Tensor:
    """[2 * target - 1, 2 * source - 1]: resampling of distances as a matrix."""
    if source == target:
        return torch.eye(2 * source - 1)
    knots = _knots(source, target)
    # Targets beyond the last knot are held, not extrapolated: so does the original's spline.
    wanted = np.clip(np.arange(1 - target, target, dtype=np.float64), knots[0], knots[-1])
    return torch.from_numpy(_spline(knots, wanted)).float()


def _knots(source: int, target: int) -> NDArray[np.float64]:
    """Where the source's distances lie on the target's axis: 0, ±1, ±(1+q), ±(1+q+q²) …"""
    low, high, steps = 1.01, 1.5, source - 1
    while high - low > 1e-6:
        q = (low + high) / 2
        if (1 - q**steps) / (1 - q) > target - 1:
            high = q
        else:
            low = q
    right = np.cumsum(q ** np.arange(steps))
    return np.concatenate([-right[::-1], [0.0], right])


def _spline(knots: NDArray[np.float64], wanted: NDArray[np.float64]) -> NDArray[np.float64]:
    """[wanted, knots]: the interpolating cubic spline ("not-a-knot" ends) as a matrix."""
    n = len(knots)
    if n < 4:  # too few knots for a cubic: the polynomial through them
        powers = np.arange(n)
        return wanted[:, None] ** powers @ np.linalg.inv(knots[:, None] ** powers)
    curvature = _curvatures(knots)
    i = np.clip(np.searchsorted(knots, wanted, side="right") - 1, 0, n - 2)
    width = knots[i + 1] - knots[i]
    b = (wanted - knots[i]) / width
    a = 1 - b
    values, unit = np.zeros((len(wanted), n)), np.eye(n)
    values += a[:, None] * unit[i] + b[:, None] * unit[i + 1]
    bends = (a**3 - a)[:, None] * curvature[i] + (b**3 - b)[:, None] * curvature[i + 1]
    return values + bends * (width**2 / 6)[:, None]


def _curvatures(knots: NDArray[np.float64]) -> NDArray[np.float64]:
    """[knots, knots]: second derivatives of that spline at the knots, linear in the values."""
    n, h = len(knots), np.diff(knots)
    left, right = np.zeros((n, n)), np.zeros((n, n))
    for i in range(1, n - 1):  # the first derivative is continuous
        left[i, i - 1 : i + 2] = h[i - 1], 2 * (h[i - 1] + h[i]), h[i]
        right[i, i - 1 : i + 2] = 6 / h[i - 1], -6 / h[i - 1] - 6 / h[i], 6 / h[i]
    left[0, :3] = h[1], -h[0] - h[1], h[0]  # and the third, at the second and last but one knot
    left[-1, -3:] = h[-1], -h[-1] - h[-2], h[-2]
    solved: NDArray[np.float64] = np.linalg.solve(left, right).astype(np.float64)
    return solved
