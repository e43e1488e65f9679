"""Luck has a number."""

import numpy as np
import pytest

from unisono.evaluation import binomial_p, exchange_p


def test_binomial_p_is_the_upper_tail() -> None:
    assert binomial_p(3, 3, 0.5) == pytest.approx(1 / 8)
    assert binomial_p(2, 3, 0.5) == pytest.approx(4 / 8)
    assert binomial_p(2.9, 3, 0.5) == pytest.approx(4 / 8)
    assert binomial_p(0, 3, 0.5) == 1.0
    assert binomial_p(1, 600, 1 / 600) == pytest.approx(1 - (599 / 600) ** 600)
    assert binomial_p(30, 600, 1 / 600) < 1e-20
    assert binomial_p(1, 3, 0.0) == 0.0
    assert binomial_p(1, 3, 1.0) == 1.0


def test_exchange_p_of_few_groups_is_the_share_of_orders() -> None:
    """Four groups, each finding its own: one order of 24 is as good."""
    right = [[place] for place in range(4)]
    assert exchange_p(np.eye(4), right) == pytest.approx(1 / 24, rel=0.15)
    # Cuts of one recording are no further evidence.
    assert exchange_p(np.eye(4).repeat(10, axis=0), np.repeat(right, 10, axis=0).tolist()) == (
        exchange_p(np.eye(4), right)
    )


def test_a_favourite_of_all_queries_is_luck() -> None:
    similarities = np.zeros((30, 10))
    similarities[:, 3] = 1
    assert exchange_p(similarities, [[query % 10] for query in range(30)]) == 1.0


def test_exchange_p_is_uniform_under_luck() -> None:
    random = np.random.default_rng(0)
    right = [[query % 12] for query in range(60)]
    found = [exchange_p(random.normal(size=(60, 12)), right, seed=turn) for turn in range(12)]
    assert 0.2 < np.mean(found) < 0.8
    assert np.mean(np.asarray(found) < 0.05) < 0.3
