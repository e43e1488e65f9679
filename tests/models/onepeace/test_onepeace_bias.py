"""Relative tables: their rows, and how they serve other grids."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from unisono.errors import ContextLengthError
from unisono.models.onepeace.bias import MAX_POSITIONS, bucket_index, grid_index, resized_table

GRIDS = st.integers(1, 9)


@settings(deadline=None)
@given(length=st.integers(2, 300), buckets=st.integers(2, 64).map(lambda n: 2 * n))
def test_a_row_depends_on_distance_alone_and_grows_with_it(length: int, buckets: int) -> None:
    index = bucket_index(length, buckets)
    pairs = index[1:, 1:]
    assert torch.equal(pairs[1:, 1:], pairs[:-1, :-1])
    assert (pairs[:, 0].diff() >= 0).all()
    assert (pairs + pairs.T == 2 * (buckets - 1)).all()
    assert 0 <= int(pairs.min()) <= int(pairs.max()) < 2 * buckets - 1
    assert index[0, 0] == 2 * buckets + 1
    assert (index[0, 1:] == 2 * buckets - 1).all()
    assert (index[1:, 0] == 2 * buckets).all()


def test_no_sequence_is_longer_than_the_tables() -> None:
    assert bucket_index(MAX_POSITIONS, 8).shape == (MAX_POSITIONS, MAX_POSITIONS)
    with pytest.raises(ContextLengthError, match="1025"):
        bucket_index(MAX_POSITIONS + 1, 8)


@settings(deadline=None)
@given(GRIDS, GRIDS)
def test_every_row_of_a_grid_is_used_and_none_beyond(height: int, width: int) -> None:
    index = grid_index((height, width))
    rows = (2 * height - 1) * (2 * width - 1)
    assert set(index.flatten().tolist()) == set(range(rows + 3))


@settings(deadline=None, max_examples=40)
@given(source=GRIDS, height=GRIDS, width=GRIDS)
def test_resizing_keeps_constants_cls_rows_and_symmetry(
    source: int, height: int, width: int
) -> None:
    rows = (2 * source - 1) ** 2
    table = torch.full((rows + 3, 2), 1.5)
    table[-3:] = torch.tensor([[7.0, 8.0], [9.0, 10.0], [11.0, 12.0]])
    resized = resized_table(table, source, (height, width))
    assert resized.shape == ((2 * height - 1) * (2 * width - 1) + 3, 2)
    torch.testing.assert_close(resized[:-3], torch.full_like(resized[:-3], 1.5))
    assert torch.equal(resized[-3:], table[-3:])
    noise = torch.randn(rows + 3, 2, generator=torch.Generator().manual_seed(source))
    flipped = torch.cat([noise[:-3].flip(0), noise[-3:]])
    back = resized_table(flipped, source, (height, width))[:-3].flip(0)
    expected = resized_table(noise, source, (height, width))[:-3]
    torch.testing.assert_close(back, expected, atol=1e-4, rtol=1e-4)


def test_the_nearest_neighbours_keep_their_rows() -> None:
    table = torch.randn(9 * 9 + 3, 1, generator=torch.Generator().manual_seed(0))
    resized = resized_table(table, 5, (8, 8))[:-3].view(15, 15)
    own = table[:-3].view(9, 9)
    torch.testing.assert_close(resized[6:9, 6:9], own[3:6, 3:6])


def test_a_resized_table_passes_gradients() -> None:
    table = torch.zeros(7 * 7 + 3, 2, requires_grad=True)
    resized_table(table, 4, (6, 5)).sum().backward()
    assert table.grad is not None
    assert float(table.grad.sum()) == pytest.approx((11 * 9 + 3) * 2, rel=1e-4)
