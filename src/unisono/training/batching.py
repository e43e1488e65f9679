"""Which examples go together: like lengths and kinds, within a budget of tokens."""

import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Size:
    """What a batch may have.

    Attributes:
        tokens: at most, padding included (none, where examples are packed); None for no limit.
        samples: at most, or where `exact` in every batch.
        packed: examples follow each other in one row.
        exact: every batch has `samples`; what is left over is in none.
        group: like goes with like; otherwise batches are filled in the order given.
    """

    tokens: int | None
    samples: int | None
    packed: bool = False
    exact: bool = False
    group: bool = True


Described = tuple[str, int]
"""An example's kind and length."""


def make_batches(examples: Sequence[Described], size: Size, seed: int) -> list[list[int]]:
    """Places of the examples in each batch; every place is in one batch.

    An example longer than the budget is a batch of its own. The order of the batches is random,
    so that lengths do not come sorted.

    Args:
        examples: kind and length of each.
        size: of the batches.
        seed: of the order.
    """
    draws = random.Random(seed)
    order = list(range(len(examples)))
    if size.group:
        # Equal lengths in random order: else they would stay together in every epoch.
        order.sort(key=lambda place: (*examples[place], draws.random()))
    if size.exact:
        batches = _of_samples(order, size.samples or 1)
    elif size.packed and size.group:
        batches = _filled(sorted(order, key=lambda p: -examples[p][1]), examples, size)
    else:
        batches = _in_order(order, examples, size)
    if size.group:
        draws.shuffle(batches)
    return batches


def fitting(examples: Sequence[Described], size: Size, batches: int) -> int:
    """How many of the first examples so many packed batches hold; at least one.

    Found by bisection: packing is not quite monotone, but what is returned does fit.
    """
    fits, over = 1, len(examples) + 1
    while over - fits > 1:
        middle = (fits + over) // 2
        if len(make_batches(examples[:middle], size, 0)) <= batches:
            fits = middle
        else:
            over = middle
    return fits


def _of_samples(order: Sequence[int], samples: int) -> list[list[int]]:
    starts = range(0, len(order) - samples + 1, samples)
    return [list(order[start : start + samples]) for start in starts]


def _in_order(order: Sequence[int], examples: Sequence[Described], size: Size) -> list[list[int]]:
    batches: list[list[int]] = []
    used, longest = 0, 0
    for place in order:
        kind, length = examples[place]
        longest_now, used_now = max(longest, length), used + length
        count = len(batches[-1]) + 1 if batches else 1
        cost = used_now if size.packed else longest_now * count
        another = size.group and not size.packed and batches and examples[batches[-1][0]][0] != kind
        if not batches or another or _over(cost, count, size):
            batches.append([])
            used_now, longest_now = length, length
        batches[-1].append(place)
        used, longest = used_now, longest_now
    return batches


def _filled(order: Sequence[int], examples: Sequence[Described], size: Size) -> list[list[int]]:
    """First fit, longest first (at most 11/9 of the fewest bins; Johnson 1973)."""
    batches: list[list[int]] = []
    used: list[int] = []
    for place in order:
        length = examples[place][1]
        fits = (
            i
            for i, batch in enumerate(batches)
            if not _over(used[i] + length, len(batch) + 1, size)
        )
        at = next(fits, None)
        if at is None:
            batches.append([place])
            used.append(length)
        else:
            batches[at].append(place)
            used[at] += length
    return batches


def _over(tokens: int, samples: int, size: Size) -> bool:
    too_long = size.tokens is not None and tokens > size.tokens
    return too_long or (size.samples is not None and samples > size.samples)
