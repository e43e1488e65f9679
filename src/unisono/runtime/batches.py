"""Which items are encoded together."""

from collections.abc import Iterator, Sequence

TOKENS_AT_ONCE = 1280
"""On a CPU: more tokens at once are no faster, and their activations leave the caches."""


def token_batches(
    lengths: Sequence[int], batch_size: int, most_tokens: int = TOKENS_AT_ONCE
) -> Iterator[list[int]]:
    """Batches of about equally long items, so that little is padded.

    Args:
        lengths: tokens of each item.
        batch_size: most items of a batch.
        most_tokens: of a batch, padding included; a longer item is a batch of its own.

    Yields:
        Places in `lengths`, each once.
    """
    batch: list[int] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        full = len(batch) == batch_size or (len(batch) + 1) * lengths[place] > most_tokens
        if batch and full:
            yield batch
            batch = []
        batch.append(place)
    if batch:
        yield batch
