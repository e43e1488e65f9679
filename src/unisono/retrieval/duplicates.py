"""Groups of things that are nearly the same, by their vectors alone.

Never all N x N similarities in memory, and nothing approximate: every pair is compared once.

Shapes: N vectors, D width, B rows of a block.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unisono.errors import DataError

BLOCK = 1024
"""Rows compared at a time: 4 MB of similarities."""


@dataclass(frozen=True)
class Group:
    """Things that are linked, each to at least one other, by a similarity above the threshold.

    Attributes:
        members: their places, ascending; at least two.
        similarity: the lowest of the links that were found.
    """

    members: tuple[int, ...]
    similarity: float


def near_duplicates(
    vectors: NDArray[np.float32],
    threshold: float,
    *,
    owners: Sequence[str] | None = None,
    block: int = BLOCK,
    progress: Callable[[int, int], None] | None = None,
) -> list[Group]:
    """Connected groups of vectors whose cosine similarity is at least a threshold.

    Being linked is passed on: a and c may be in a group for b's sake.

    Args:
        vectors: [N, D], rows of length 1; may be a memory map.
        threshold: in (0, 1].
        owners: [N], the files the pieces are of, say; pieces of one owner are not compared with
            each other.
        block: B; changes the memory needed, not the groups.
        progress: is told how many of how many rows are compared.

    Returns:
        Groups, the largest first, equally large ones by their first member.

    Raises:
        DataError: the threshold is out of range.
    """
    if not 0 < threshold <= 1:
        raise DataError(f"a threshold must be above 0 and at most 1, but is {threshold:g} instead")
    numbers = _numbered(owners, len(vectors))
    forest = _Forest(len(vectors))
    for start in range(0, len(vectors), block):
        for first, second, similarity in _linked(vectors, numbers, start, (threshold, block)):
            forest.join(first, second, similarity)
        if progress is not None:
            progress(min(start + block, len(vectors)), len(vectors))
    return forest.groups()


def _numbered(owners: Sequence[str] | None, count: int) -> NDArray[np.int64]:
    """[N] a number for each owner; without owners, everyone is their own."""
    if owners is None:
        return np.arange(count)
    if len(owners) != count:
        raise ValueError(f"owners must be {count}, as the vectors, but are {len(owners)} instead")
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(owner, len(numbers)) for owner in owners], dtype=np.int64)


def _linked(
    vectors: NDArray[np.float32], owners: NDArray[np.int64], start: int, how: tuple[float, int]
) -> Iterator[tuple[int, int, float]]:
    """Pairs of a row of the block that starts there and a later row of all."""
    threshold, block = how
    rows = np.asarray(vectors[start : start + block])
    # float32 products of equal vectors come out a little below 1.
    least = threshold - 1e-6
    for other in range(start, len(vectors), block):
        similarities = rows @ np.asarray(vectors[other : other + block]).T  # [B, B]
        first, second = np.nonzero(similarities >= least)
        found = similarities[first, second]
        first, second = first + start, second + other
        kept = (first < second) & (owners[first] != owners[second])
        yield from zip(
            first[kept].tolist(), second[kept].tolist(), found[kept].tolist(), strict=True
        )


class _Forest:
    """Disjoint sets with path halving (Tarjan and van Leeuwen 1984)."""

    def __init__(self, count: int) -> None:
        self._parent = list(range(count))
        self._lowest: dict[int, float] = {}

    def join(self, first: int, second: int, similarity: float) -> None:
        """Link two; the smaller place becomes the root, so that order does not matter."""
        root, other = sorted((self._root(first), self._root(second)))
        self._parent[other] = root
        known = (self._lowest.pop(other, 1.0), self._lowest.get(root, 1.0))
        self._lowest[root] = min(similarity, *known)

    def _root(self, place: int) -> int:
        parent = self._parent
        while parent[place] != place:
            parent[place] = parent[parent[place]]
            place = parent[place]
        return place

    def groups(self) -> list[Group]:
        """All sets of two or more."""
        members: dict[int, list[int]] = {root: [] for root in self._lowest}
        for place in range(len(self._parent)):
            root = self._root(place)
            if root in members:
                members[root].append(place)
        found = [Group(tuple(those), self._lowest[root]) for root, those in members.items()]
        return sorted(found, key=lambda group: (-len(group.members), group.members))
