"""Intervals cover what they say they do; differences are found when there are any."""

from statistics import NormalDist

import numpy as np
import pytest

from unisono.evaluation.bootstrap import interval, paired_difference
from unisono.evaluation.score import Score


def ratio(random: np.random.Generator, count: int) -> Score:
    """Skewed: errors of utterances of very different lengths, a tenth of all words wrong."""
    words = random.geometric(0.1, count)
    return Score.of(random.binomial(words, 0.1), weights=words)


def mean(random: np.random.Generator, count: int) -> Score:
    return Score.of(random.random(count) < 0.3)


def perplexity(random: np.random.Generator, count: int) -> Score:
    tokens = random.integers(5, 50, count)
    return Score.of(random.gamma(tokens * 2.0, 0.5), weights=tokens, aggregate="perplexity")


def median(random: np.random.Generator, count: int) -> Score:
    return Score.of(random.exponential(1.0, count), aggregate="median")


@pytest.mark.parametrize(
    ("make", "truth", "method"),
    [
        (ratio, 0.1, "percentile"),
        (ratio, 0.1, "bca"),
        (mean, 0.3, "percentile"),
        (mean, 0.3, "bca"),
        (perplexity, np.e, "percentile"),
        (perplexity, np.e, "bca"),
        (median, np.log(2), "percentile"),
    ],
)
def test_intervals_cover_the_truth_as_often_as_they_say(make, truth, method) -> None:
    random = np.random.default_rng(1)
    repeats, inside = 400, 0
    for seed in range(repeats):
        found = interval(make(random, 100), level=0.9, resamples=300, seed=seed, method=method)
        inside += found.low <= truth <= found.high
    # Four standard errors of 400 draws are 0.06.
    assert 0.84 <= inside / repeats <= 0.96


def test_percentile_interval_of_a_mean_is_the_textbooks() -> None:
    values = np.random.default_rng(0).normal(5.0, 2.0, 2000)
    found = interval(Score.of(values), resamples=4000)
    half = 1.96 * values.std() / np.sqrt(len(values))
    assert found.low == pytest.approx(values.mean() - half, abs=0.01)
    assert found.high == pytest.approx(values.mean() + half, abs=0.01)


def test_bca_is_that_of_the_textbook() -> None:
    """Efron and Tibshirani 1993, eq. 14.10 and 14.15, for a mean: nothing but its own moments."""
    values = np.random.default_rng(0).exponential(1.0, 30)
    found = interval(Score.of(values), resamples=40_000, method="bca")
    draws = np.random.default_rng(7).choice(values, (40_000, 30)).mean(axis=1)
    normal, centred = NormalDist(), values - values.mean()
    skew = (centred**3).sum() / (6 * (centred**2).sum() ** 1.5)
    bias = normal.inv_cdf(np.mean(draws < values.mean()))
    ends = []
    for z in (-1.959964, 1.959964):
        ends.append(np.quantile(draws, normal.cdf(bias + (bias + z) / (1 - skew * (bias + z)))))
    assert found.low == pytest.approx(ends[0], abs=0.02)
    assert found.high == pytest.approx(ends[1], abs=0.03)
    plain = interval(Score.of(values), resamples=40_000)
    assert found.low > plain.low + 0.03
    assert found.high > plain.high + 0.06


def test_an_interval_is_repeatable_and_as_wide_as_its_level() -> None:
    score = ratio(np.random.default_rng(0), 200)
    assert interval(score) == interval(score)
    assert interval(score) != interval(score, seed=1)
    narrow, wide = interval(score, level=0.5), interval(score, level=0.99)
    assert wide.low < narrow.low < score.value < narrow.high < wide.high


def test_chunks_of_resamples_are_all_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    score = mean(np.random.default_rng(0), 50)
    whole = interval(score)
    monkeypatch.setattr("unisono.evaluation.bootstrap._NUMBERS_AT_ONCE", 170)
    cut = interval(score)
    assert cut.low == pytest.approx(whole.low, abs=0.02)
    assert cut.high == pytest.approx(whole.high, abs=0.02)


@pytest.mark.parametrize("values", [[], [1.0], [1.0] * 20])
def test_where_nothing_can_be_said_nothing_is(values: list[float]) -> None:
    assert interval(Score.of(values)) is None


def test_bca_is_refused_for_a_median() -> None:
    with pytest.raises(ValueError, match="percentile"):
        interval(median(np.random.default_rng(0), 9), method="bca")


# --- two models ----------------------------------------------------------------------------


def two_models(seed: int, gain: float, count: int = 120) -> tuple[Score, Score]:
    """Right or wrong, both mostly on the same samples; the second is right `gain` more often."""
    random = np.random.default_rng(seed)
    hard = random.random(count)
    first = hard + random.normal(0, 0.1, count) < 0.5
    second = hard + random.normal(0, 0.1, count) < 0.5 + gain
    return Score.of(first), Score.of(second)


def test_alike_models_are_told_apart_as_seldom_as_the_level_says() -> None:
    found = [paired_difference(*two_models(seed, 0.0), resamples=300) for seed in range(300)]
    false = np.mean([one.p_value < 0.05 for one in found])
    missed = np.mean([not one.interval.low <= 0 <= one.interval.high for one in found])
    assert false < 0.1
    assert missed < 0.1
    assert 0.3 < np.mean([one.p_value < 0.5 for one in found]) < 0.7


def test_a_better_model_is_seen_and_pairing_helps() -> None:
    first, second = two_models(0, 0.12)
    found = paired_difference(first, second)
    assert found.value == pytest.approx(second.value - first.value)
    assert 0 < found.interval.low < found.value < found.interval.high
    assert found.p_value < 0.01
    own = interval(first)
    assert found.interval.high - found.interval.low < own.high - own.low


def test_p_of_a_mean_is_that_of_all_sign_flips() -> None:
    random = np.random.default_rng(3)
    first, second = random.normal(size=10), random.normal(0.6, 1.0, size=10)
    flips = 1 - 2 * (np.arange(2**10)[:, None] >> np.arange(10) & 1)
    differences = (flips * (second - first)).mean(axis=1)
    exact = np.mean(np.abs(differences) >= abs((second - first).mean()) - 1e-12)
    found = paired_difference(Score.of(first), Score.of(second), resamples=20_000)
    assert found.p_value == pytest.approx(exact, abs=0.015)


def test_a_ratio_and_a_median_are_compared_too() -> None:
    random = np.random.default_rng(4)
    words = random.geometric(0.1, 200)
    worse, better = (Score.of(random.binomial(words, p), weights=words) for p in (0.3, 0.1))
    found = paired_difference(worse, better)
    assert found.value < 0
    assert found.interval.high < 0
    assert found.p_value < 0.01
    ranks = random.exponential(10, 200)
    medians = [Score.of(r, aggregate="median") for r in (ranks, ranks * 0.5)]
    assert paired_difference(*medians).p_value < 0.01


def test_equal_models_do_not_differ() -> None:
    score, _ = two_models(0, 0.0)
    found = paired_difference(score, score)
    assert (found.value, found.interval, found.p_value) == (0.0, None, 1.0)


def test_scores_of_other_samples_are_not_compared() -> None:
    one, other = Score.of([0, 1], names=["a", "b"]), Score.of([0, 1], names=["b", "a"])
    with pytest.raises(ValueError, match="same metric and samples"):
        paired_difference(one, other)
    with pytest.raises(ValueError, match="equally many"):
        Score.of([0, 1], names=["a"])
