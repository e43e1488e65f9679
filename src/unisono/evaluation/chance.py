"""Whether a score is more than luck."""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

_EXCHANGES = 19_999


def binomial_p(successes: float, trials: int, chance: float) -> float:
    """The probability of at least so many successes by chance; a fraction of one is dropped."""
    least = math.floor(successes + 1e-9)
    if least <= 0 or chance >= 1:
        return 1.0
    if chance <= 0:
        return 0.0
    logs = [
        math.lgamma(trials + 1)
        - math.lgamma(k + 1)
        - math.lgamma(trials - k + 1)
        + k * math.log(chance)
        + (trials - k) * math.log1p(-chance)
        for k in range(least, trials + 1)
    ]
    return min(1.0, math.fsum(math.exp(one) for one in logs))


def exchange_p(
    similarities: NDArray[np.floating], right: Sequence[Sequence[int]], *, seed: int = 0
) -> float:
    """The probability that so many queries find a right item first, if it were luck.

    A permutation test: queries with the same right answers keep them together, and the sets of
    right answers change places between these groups. So ten cuts of one recording, or twenty
    recordings of one thing, count as the one case they are, and a favourite of all queries gains
    nothing.

    Args:
        similarities: [Q, G] of queries and items.
        right: for each query the places of its right items.
        seed: of the permutations.

    Returns:
        At least 1 / 20,000, and 1 where there is one group.
    """
    groups = sorted({tuple(places) for places in right})
    place = {group: index for index, group in enumerate(groups)}
    is_right = np.zeros((len(groups), similarities.shape[1]))
    for index, group in enumerate(groups):
        is_right[index, list(group)] = 1
    hits = np.zeros((len(groups), len(groups)))  # of each group's queries, by each one's answers
    for row, places in zip(similarities, right, strict=True):
        hits[place[tuple(places)]] += is_right[:, int(np.argmax(row))]
    own = np.arange(len(groups))
    found = hits.trace()
    random = np.random.default_rng(seed)
    as_good = sum(hits[own, random.permutation(own)].sum() >= found for _ in range(_EXCHANGES))
    return (1 + int(as_good)) / (1 + _EXCHANGES)
