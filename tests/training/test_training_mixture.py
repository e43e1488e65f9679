"""What is drawn: in the proportions promised, every row once an epoch, the same when resumed."""

from collections import Counter
from itertools import islice

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from streams import Listed, Streamed

from unisono.errors import CheckpointError, DataError, RecipeError
from unisono.training import mixture
from unisono.training.mixture import Mixture, permuted

WEIGHTS = {"a": 5.0, "b": 3.0, "c": 1.5, "d": 0.5}


def p_value(chi_square: float, freedom: int) -> float:
    """Of Pearson's test: the upper tail of the chi-square distribution."""
    return float(torch.special.gammaincc(torch.tensor(freedom / 2), torch.tensor(chi_square / 2)))


def chi_square(counts: dict[str, int], weights: dict[str, float]) -> float:
    drawn, total = sum(counts.values()), sum(weights.values())
    expected = {name: drawn * weight / total for name, weight in weights.items()}
    return sum((counts[n] - expected[n]) ** 2 / expected[n] for n in weights)


def test_sources_are_drawn_by_weight() -> None:
    sources = {name: Listed(name, 50) for name in WEIGHTS}
    for rank in range(3):
        drawn = Mixture(sources, WEIGHTS, seed=1, rank=rank, world=3)
        counts = Counter(draw.source for draw in islice(drawn, 4000))
        assert p_value(chi_square(counts, WEIGHTS), 3) > 1e-3
        # The test would see other weights.
        assert p_value(chi_square(counts, {**WEIGHTS, "b": 3.6}), 3) < 1e-3


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 400), key=st.integers(0, 2**64 - 1))
def test_the_shuffled_order_has_every_place_once(count: int, key: int) -> None:
    assert sorted(permuted(i, count, key) for i in range(count)) == list(range(count))


def test_orders_look_shuffled() -> None:
    orders = [[permuted(i, 1000, key) for i in range(1000)] for key in (1, 2)]
    assert orders[0] != orders[1]
    for order in orders:
        ranks = torch.tensor([order, list(range(1000))], dtype=torch.float64)
        assert abs(torch.corrcoef(ranks)[0, 1]) < 0.1


@pytest.mark.parametrize("kind", [Listed, Streamed])
@pytest.mark.parametrize("world", [1, 2, 3])
def test_ranks_share_an_epoch_without_overlap(
    kind: type, world: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mixture, "BLOCK_ROWS", 8)
    count = 24
    epochs: list[list[str]] = [[], []]
    for rank in range(world):
        drawn = Mixture({"a": kind("a", count)}, {"a": 1.0}, seed=0, rank=rank, world=world)
        for epoch in epochs:
            epoch += [draw.read().name for draw in islice(drawn, count // world)]
    assert all(sorted(epoch) == sorted(f"a:{i}" for i in range(count)) for epoch in epochs)
    assert epochs[0] != epochs[1]


@settings(max_examples=40, deadline=None)
@given(taken=st.integers(0, 90), rank=st.integers(0, 1), streamed=st.booleans())
def test_a_restored_mixture_goes_on(taken: int, rank: int, streamed: bool) -> None:
    sources = {"a": Listed("a", 13), "b": (Streamed if streamed else Listed)("b", 600)}

    def new() -> Mixture:
        return Mixture(sources, {"a": 1.0, "b": 4.0}, seed=3, rank=rank, world=2)

    whole, first = new(), new()
    expected = [draw.read().name for draw in islice(whole, 120)]
    assert [draw.read().name for draw in islice(first, taken)] == expected[:taken]
    again = new()
    again.restore(first.state())
    assert [draw.read().name for draw in islice(again, 120 - taken)] == expected[taken:]


def test_a_resumed_stream_is_not_read_from_its_beginning() -> None:
    stream = Streamed("a", 2000)
    drawn = Mixture({"a": stream}, {"a": 1.0}, seed=0)
    list(islice(drawn, 1000))
    again = Mixture({"a": stream}, {"a": 1.0}, seed=0)
    again.restore(drawn.state())
    next(again)
    assert stream.started[-1] == 768


def test_every_one_of_many_ranks_reads_its_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mixture, "BLOCK_ROWS", 4)
    found = []
    for rank in range(6):
        drawn = Mixture({"a": Streamed("a", 12)}, {"a": 1.0}, seed=0, rank=rank, world=6)
        found += [draw.read().name for draw in islice(drawn, 2)]
    assert sorted(found) == sorted(f"a:{i}" for i in range(12))
    with pytest.raises(DataError, match="each of 6 ranks"):
        next(Mixture({"a": Streamed("a", 5)}, {"a": 1.0}, seed=0, rank=5, world=6))


def test_other_data_or_ranks_are_refused() -> None:
    state = Mixture({"a": Listed("a", 9)}, {"a": 1.0}, seed=0).state()
    with pytest.raises(CheckpointError, match="data have changed"):
        Mixture({"a": Listed("a", 10)}, {"a": 1.0}, seed=0).restore(state)
    with pytest.raises(CheckpointError, match="of 1 ranks, but there are 2"):
        Mixture({"a": Listed("a", 9)}, {"a": 1.0}, seed=0, world=2).restore(state)


def test_what_has_changed_is_named() -> None:
    def new(b: int, weights: dict[str, float]) -> Mixture:
        return Mixture({"a": Listed("a", 9), "b": Listed("b", b)}, weights, seed=0)

    state = new(9, {"a": 1.0, "b": 2.0}).state()
    with pytest.raises(CheckpointError, match="since the checkpoint: b "):
        new(8, {"a": 1.0, "b": 2.0}).restore(state)
    with pytest.raises(CheckpointError, match="since the checkpoint: b "):
        new(9, {"a": 1.0}).restore(state)
    with pytest.raises(CheckpointError, match="weights of the mixture"):
        new(9, {"a": 1.0, "b": 3.0}).restore(state)


def test_wrong_weights_and_too_few_rows() -> None:
    for weights in ({}, {"a": 0.0}, {"a": -1.0}, {"b": 1.0}):
        with pytest.raises(RecipeError, match="weights must be positive"):
            Mixture({"a": Listed("a", 9)}, weights, seed=0)
    with pytest.raises(DataError, match="no rows"):
        next(Mixture({"a": Streamed("a", 0)}, {"a": 1.0}, seed=0))
