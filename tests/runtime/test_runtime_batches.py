"""Every item is in one batch, and no batch is larger than it may be."""

from hypothesis import given
from hypothesis import strategies as st

from unisono.runtime.batches import token_batches


@given(st.lists(st.integers(1, 400)), st.integers(1, 20), st.integers(1, 1000))
def test_batches(lengths: list[int], batch_size: int, most_tokens: int) -> None:
    batches = list(token_batches(lengths, batch_size, most_tokens))
    assert sorted(place for batch in batches for place in batch) == list(range(len(lengths)))
    for batch in batches:
        longest = max(lengths[place] for place in batch)
        assert 1 <= len(batch) <= batch_size
        assert len(batch) == 1 or len(batch) * longest <= most_tokens
    ends = [max(lengths[place] for place in batch) for batch in batches]
    assert ends == sorted(ends), "items of about one length are together"


def test_batches_are_filled() -> None:
    assert [len(batch) for batch in token_batches([10] * 7, 3, 1000)] == [3, 3, 1]
    assert [len(batch) for batch in token_batches([10] * 7, 16, 40)] == [4, 3]
