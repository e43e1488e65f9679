"""Groups are those of a plain search over all pairs, whatever the block."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unisono.errors import DataError
from unisono.retrieval.duplicates import near_duplicates


def unit(rows: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return (rows / np.maximum(lengths, 1e-9)).astype(np.float32)


def naive(vectors: np.ndarray, threshold: float, owners: list[str]) -> set[tuple[int, ...]]:
    """Flood from each vector, over all pairs."""
    count, seen, groups = len(vectors), set(), set()
    similarities = vectors.astype(np.float64) @ vectors.astype(np.float64).T
    for start in range(count):
        if start in seen:
            continue
        group, waiting = {start}, [start]
        while waiting:
            here = waiting.pop()
            for other in range(count):
                linked = similarities[here, other] >= threshold and owners[here] != owners[other]
                if linked and other not in group:
                    group.add(other)
                    waiting.append(other)
        seen |= group
        if len(group) > 1:
            groups.add(tuple(sorted(group)))
    return groups


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    count=st.integers(0, 40),
    block=st.integers(1, 50),
    threshold=st.sampled_from([0.5, 0.8, 0.95]),
    owned=st.booleans(),
)
def test_groups_are_those_of_all_pairs(
    seed: int, count: int, block: int, threshold: float, owned: bool
) -> None:
    generator = np.random.default_rng(seed)
    vectors = unit(generator.standard_normal((count, 4)))
    owners = [str(generator.integers(0, 5) if owned else i) for i in range(count)]
    given_owners = owners if owned else None
    found = near_duplicates(vectors, threshold, owners=given_owners, block=block)
    assert {group.members for group in found} == naive(vectors, threshold, owners)
    assert found == sorted(found, key=lambda group: (-len(group.members), group.members))
    whole = near_duplicates(vectors, threshold, owners=given_owners)
    assert [group.members for group in whole] == [group.members for group in found]
    assert np.allclose([g.similarity for g in whole], [g.similarity for g in found], atol=1e-6)


def test_equal_vectors_are_found_at_one() -> None:
    vectors = unit(np.random.default_rng(0).standard_normal((300, 192)))
    vectors[200], vectors[299] = vectors[7], vectors[7]
    (group,) = near_duplicates(vectors, 1.0, block=64)
    assert group.members == (7, 200, 299)
    assert group.similarity == pytest.approx(1.0)


def test_links_are_passed_on_and_the_weakest_is_told() -> None:
    angles = np.radians([0, 20, 40, 180])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    (group,) = near_duplicates(vectors, 0.9)
    assert group.members == (0, 1, 2)
    assert group.similarity == pytest.approx(np.cos(np.radians(20)), abs=1e-6)


def test_progress_and_memory_are_those_of_blocks() -> None:
    vectors = unit(np.random.default_rng(0).standard_normal((25, 8)))
    told: list[tuple[int, int]] = []
    near_duplicates(vectors, 0.9, block=10, progress=lambda done, total: told.append((done, total)))
    assert told == [(10, 25), (20, 25), (25, 25)]


@pytest.mark.parametrize("threshold", [0.0, -1.0, 1.1, float("nan")])
def test_a_threshold_out_of_range(threshold: float) -> None:
    with pytest.raises(DataError, match="above 0 and at most 1"):
        near_duplicates(np.zeros((2, 2), np.float32), threshold)
