"""Features of pictures -> embeddings in the language model's space (`ola_mlp`).

Knows how rows, pictures and frames are marked for the language model; `token_count` tells
the processor how many embeddings that makes, without making them.

Shapes: P patches of all pictures, W encoder width, D width of the language model, K cells
(windows of patches) of all pictures, s patches of a cell (pool * pool).

Source: arXiv 2502.04328, section 3.1.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from unisono.errors import ModelConfigError
from unisono.models.ola.vision import Grid, checked_grids

POOLS = (1, 2, 4)


class VisionConnector(nn.Module):
    """Linear -> local-global attention pooling -> GELU -> Linear, with learned marks.

    A picture's tokens are its cells, row by row, each row followed by [newline]. An image is
    [begin] low-resolution rows [separator] high-resolution rows [end]; a video is [begin], each
    frame's rows followed by [separator], [end].
    """

    MARKS = ("begin", "newline", "separator", "end")
    begin: nn.Parameter
    newline: nn.Parameter
    separator: nn.Parameter
    end: nn.Parameter

    def __init__(self, width: int, out_width: int, pool: int = 2) -> None:
        super().__init__()
        if pool not in POOLS:
            raise ModelConfigError(f"vision_pool must be one of {POOLS}, but is {pool} instead")
        self.pool = pool
        self.linear1 = nn.Linear(width, out_width)
        self.pooler = LocalGlobalPooling(out_width)
        self.linear2 = nn.Linear(out_width, out_width)
        for name in self.MARKS:
            self.register_parameter(name, nn.Parameter(torch.randn(out_width) * out_width**-0.5))

    def forward(
        self, features: Tensor, patch_grids: Tensor, picture_counts: Tensor, is_video: Tensor
    ) -> list[Tensor]:
        """Connect the pictures of all media of a batch.

        Args:
            features: [P, W], picture after picture.
            patch_grids: [pictures, 2], rows and columns of each picture.
            picture_counts: [media], the pictures of each medium: an image's resolutions, low
                first, or a video's frames.
            is_video: [media], bool.

        Returns:
            For each medium [tokens, D], `token_count` of them.

        Raises:
            ValueError: the grids do not describe P patches, the counts not all pictures, or a
                grid cannot be divided into cells.
        """
        grids = checked_grids(patch_grids, len(features))
        counts = picture_counts.tolist()
        if sum(counts) != len(grids):
            raise ValueError(f"picture_counts sum to {sum(counts)}, but there are {len(grids)}")
        pictures = self._marked_rows(self.project(features, grids), grids)
        return [
            torch.cat(list(self._medium([next(pictures) for _ in range(count)], moving)))
            for count, moving in zip(counts, is_video.tolist(), strict=True)
        ]

    def project(self, features: Tensor, grids: Sequence[Grid]) -> Tensor:
        """[P, W] -> [K, D], all pictures at once and without the marks."""
        index = _cells(grids, self.pool).to(features.device)  # [K, s]
        cells = features.index_select(0, index.flatten()).view(*index.shape, -1)
        return self.linear2(gelu(self.pooler(self.linear1(cells))))

    def _marked_rows(self, tokens: Tensor, grids: Sequence[Grid]) -> Iterator[Tensor]:
        """[K, D] -> for each picture its rows, ended by newlines: [rows * (columns + 1), D]."""
        cell_grids = [_cell_grid(grid, self.pool) for grid in grids]
        parts = torch.split(tokens, [rows * columns for rows, columns in cell_grids])
        for part, grid in zip(parts, cell_grids, strict=True):
            newlines = self.newline.expand(grid[0], 1, -1)
            yield torch.cat([part.view(*grid, -1), newlines], dim=1).flatten(0, 1)

    def _medium(self, pictures: list[Tensor], is_video: bool) -> Iterator[Tensor]:
        """A medium's pictures and the marks around them."""
        yield self.begin[None]
        # No token, but a gradient: sharded ranks must have those of the same parameters.
        yield self.separator[None][:0]
        for number, picture in enumerate(pictures):
            if number and not is_video:
                yield self.separator[None]
            yield picture
            if is_video:
                yield self.separator[None]
        yield self.end[None]


class LocalGlobalPooling(nn.Module):
    """The patches of a cell, weighted channel by channel.

    A patch's weights are scored from the patch (local) and the cell's mean (global) and go
    through a softmax over the cell.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Sequential(nn.Linear(2 * width, width), nn.GELU(), nn.Linear(width, width))

    def forward(self, cells: Tensor) -> Tensor:
        """[K, s, D] -> [K, D]."""
        mean = cells.mean(dim=1, keepdim=True).expand_as(cells)
        weights = self.score(torch.cat([cells, mean], dim=-1)).softmax(dim=1)  # [K, s, D]
        return (weights * cells).sum(dim=1)


def token_count(grids: Iterable[Grid], *, is_video: bool, pool: int) -> int:
    """How many embeddings `VisionConnector.forward` makes of one medium.

    Args:
        grids: rows and columns of patches of each of its pictures.
        is_video: whether they are frames.
        pool: side of a cell in patches.

    Raises:
        ValueError: a grid cannot be divided into cells.
    """
    cell_grids = [_cell_grid(grid, pool) for grid in grids]
    rows_with_newlines = sum(rows * (columns + 1) for rows, columns in cell_grids)
    separators = len(cell_grids) if is_video else max(0, len(cell_grids) - 1)
    return rows_with_newlines + separators + 2


def _cell_grid(grid: Grid, pool: int) -> Grid:
    rows, columns = grid
    if rows % pool or columns % pool:
        raise ValueError(
            f"a picture of {rows} x {columns} patches cannot be divided into cells of "
            f"{pool} x {pool}"
        )
    return rows // pool, columns // pool


def _cells(grids: Sequence[Grid], pool: int) -> Tensor:
    """[K, s]: the patches of each cell, cells in reading order."""
    parts, start = [], 0
    for grid, run in groupby(grids):
        rows, columns = _cell_grid(grid, pool)
        patches = torch.arange(grid[0] * grid[1]).view(rows, pool, columns, pool)
        cells = patches.transpose(1, 2).reshape(rows * columns, pool * pool)
        starts = start + torch.arange(len(list(run))) * patches.numel()
        parts.append((starts[:, None, None] + cells).flatten(0, 1))
        start += len(starts) * patches.numel()
    return torch.cat(parts)
