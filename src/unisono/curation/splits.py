"""Which clips train, and which are kept to validate and test: never clips of one video in two.

Videos that share a near-duplicate are one, and so are those of their other clips. The lot is drawn
by hash: it does not change for a video when others are added.
"""

import hashlib
from collections.abc import Iterable, Mapping

from unisono.errors import DataError

SHARES: Mapping[str, float] = {"train": 0.9, "validation": 0.05, "test": 0.05}


def assign(
    sources: Iterable[str],
    linked: Iterable[tuple[str, str]],
    shares: Mapping[str, float] = SHARES,
    seed: int = 0,
) -> dict[str, str]:
    """Video -> name of its split.

    Args:
        sources: hashes of videos.
        linked: pairs of videos that may not be parted.
        shares: of videos, by the name of the split; they sum to 1.
        seed: another one draws other lots.

    Raises:
        DataError: the shares are not.
    """
    if not shares or min(shares.values()) < 0 or abs(sum(shares.values()) - 1) > 1e-6:
        raise DataError(f"shares of splits must sum to 1, but are {dict(shares)}")
    above: dict[str, str] = {}
    for pair in linked:
        first, second = sorted(_root(above, one) for one in pair)
        if first != second:
            above[second] = first
    return {source: _drawn(_root(above, source), shares, seed) for source in sorted(sources)}


def _root(above: Mapping[str, str], source: str) -> str:
    while source in above:
        source = above[source]
    return source


def _drawn(source: str, shares: Mapping[str, float], seed: int) -> str:
    digest = hashlib.sha256(f"{seed}\0{source}".encode()).digest()
    lot, reached = int.from_bytes(digest[:8]) / 2**64, 0.0
    for name, share in shares.items():
        reached += share
        if lot < reached:
            return name
    return next(reversed(list(shares)))
