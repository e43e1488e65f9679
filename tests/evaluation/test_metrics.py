"""Metrics agree with what can be counted by hand, with jiwer, and with slower ways."""

import jiwer
import numpy as np
import pytest
import tiny
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from one_thread import one_thread  # noqa: F401 -- a fixture

from unisono.evaluation.metrics import (
    accuracy,
    character_error_rate,
    contains,
    exact_match,
    label_nll,
    mean_rank,
    median_rank,
    normalise_answer,
    perplexity,
    rank,
    rank_vectors,
    recall_at,
    word_error_rate,
)

WORDS = st.lists(st.sampled_from(["ape", "bird", "cat", "dog", "eel"]), max_size=6).map(" ".join)


@given(st.lists(st.tuples(WORDS.filter(bool), WORDS), min_size=1, max_size=6))
@settings(max_examples=50, deadline=None)
def test_wer_of_a_corpus_is_that_of_jiwer(pairs: list[tuple[str, str]]) -> None:
    said, heard = map(list, zip(*pairs, strict=True))
    assert word_error_rate(said, heard).value == pytest.approx(jiwer.wer(said, heard))
    assert character_error_rate(said, heard).value == pytest.approx(jiwer.cer(said, heard))


def test_wer_sample_by_sample() -> None:
    found = word_error_rate(
        ["The colour is gray.", "I'm twenty one!", "so"], ["the color is grey", "I am 22", ""]
    )
    assert found.amounts.tolist() == [0, 1, 1]  # normalised: spellings, contractions, numbers
    assert found.weights.tolist() == [4, 3, 1]
    assert found.value == pytest.approx(2 / 8)
    assert not found.higher_is_better


def test_what_was_heard_in_silence_is_an_error() -> None:
    found = word_error_rate(["", "good day"], ["thank you", "good day"])
    assert found.value == pytest.approx(2 / 2)
    assert np.isnan(word_error_rate([""], [""]).value)


def test_another_language_keeps_its_words() -> None:
    assert word_error_rate(["Él está aquí."], ["el esta aqui"], language="es").value == 1.0
    assert word_error_rate(["Él está aquí."], ["él está aquí"], language="es").value == 0.0


@pytest.mark.parametrize(
    ("said", "normal"),
    [
        ("The Dog.", "dog"),
        ("  a\n cat,\tan ape ", "cat ape"),
        ("Two thousand: 2,000.50!", "2 thousand: 2000.50"),
        ("black-and-white", "black and white"),
        ("Don't", "dont"),
        ("None", "0"),
        ("3.5 m.", "3.5 m"),
        ("theatre", "theatre"),
        ("", ""),
    ],
)
def test_answers_are_normalised(said: str, normal: str) -> None:
    assert normalise_answer(said) == normal
    assert normalise_answer(normal) == normal


def test_exact_match_and_contains() -> None:
    references = [["blue"], ["seven", "7"], ["ape"], ["a cat"], ["x"]]
    answers = ["It is blue.", "Seven!", "grapes", "The CAT", None]
    assert exact_match(references, answers).amounts.tolist() == [0, 1, 0, 1, 0]
    assert contains(references, answers).amounts.tolist() == [1, 1, 0, 1, 0]
    assert exact_match([[""], [""], [""]], ["", "the", None]).amounts.tolist() == [1, 1, 0]
    assert contains([[""], [""], [""]], ["", "cat", None]).amounts.tolist() == [1, 0, 0]


def test_accuracy() -> None:
    assert accuracy(["a", "b", "c"], ["a", "c", "c"]).value == pytest.approx(2 / 3)


# --- ranking -------------------------------------------------------------------------------

SIMILARITIES = np.array([[0.9, 0.5, 0.1, 0.0], [0.2, 0.3, 0.4, 0.1], [0.0, 0.1, 0.2, 0.3]])
RIGHT = [[0], [0, 1], [0]]


def test_ranks_by_hand() -> None:
    found = rank(SIMILARITIES, RIGHT)
    assert recall_at(found, 1).amounts.tolist() == [1, 0, 0]
    assert recall_at(found, 2).amounts.tolist() == [1, 1, 0]
    assert recall_at(found, 4).value == 1.0
    assert mean_rank(found).value == pytest.approx((1 + 2 + 4) / 3)
    assert median_rank(found).value == 2


def naive_recall(similarities: np.ndarray, right: list[list[int]], k: int) -> list[bool]:
    first = np.argsort(-similarities, axis=1)[:, :k]
    return [bool(set(row) & set(own)) for row, own in zip(first.tolist(), right, strict=True)]


@given(st.integers(1, 40), st.integers(1, 30), st.integers(1, 12), st.integers(0, 2**32))
@settings(max_examples=40, deadline=None)
def test_chunked_is_full_is_naive(queries: int, items: int, chunk: int, seed: int) -> None:
    random = np.random.default_rng(seed)
    one, other = random.normal(size=(queries, 5)), random.normal(size=(items, 5))
    right = [
        random.choice(items, size=random.integers(1, min(4, items + 1)), replace=False).tolist()
        for _ in range(queries)
    ]
    full = rank(one @ other.T, right)
    chunked = rank_vectors(one, other, right, chunk=chunk)
    np.testing.assert_array_equal(chunked.ahead, full.ahead)
    for k in (1, 3, items):
        assert recall_at(chunked, k).amounts.tolist() == naive_recall(one @ other.T, right, k)


def test_a_tie_is_broken_as_by_lot() -> None:
    random = np.random.default_rng(0)
    similarities = random.integers(0, 3, (30, 12)).astype(float)
    right = [random.choice(12, size=3, replace=False).tolist() for _ in range(30)]
    found = rank(similarities, right)
    drawn = [
        rank(similarities + random.uniform(0, 1e-6, similarities.shape), right) for _ in range(1500)
    ]
    for k in (1, 2, 5):
        expected = np.mean([recall_at(one, k).amounts for one in drawn], axis=0)
        np.testing.assert_allclose(recall_at(found, k).amounts, expected, atol=0.04)
    places = np.mean([mean_rank(one).amounts for one in drawn], axis=0)
    np.testing.assert_allclose(mean_rank(found).amounts, places, atol=0.25)


def test_a_model_without_an_opinion_scores_chance() -> None:
    found = rank(np.ones((50, 50)), [[i] for i in range(50)])
    assert recall_at(found, 1).value == pytest.approx(1 / 50)
    assert recall_at(found, 10).value == pytest.approx(10 / 50)
    assert mean_rank(found).value == pytest.approx(25.5)


def test_a_query_without_a_right_answer_is_refused() -> None:
    with pytest.raises(ValueError, match="must have a right answer"):
        rank(SIMILARITIES, [[0], [], [0]])


# --- likelihood ----------------------------------------------------------------------------


def test_perplexity_is_of_the_corpus() -> None:
    assert perplexity([np.log(4), 0.0], [1, 1]).value == pytest.approx(2.0)
    assert perplexity([np.log(4), 0.0], [1, 3]).value == pytest.approx(4**0.25)


def test_nll_is_that_of_the_models_own_loss_and_padding_changes_nothing() -> None:
    model, processor = tiny.ola()
    said = [
        [{"role": "user", "content": q}, {"role": "assistant", "content": a}]
        for q, a in [("Hi", "Hello, you!"), ("What is the sky's colour?", "Blue"), ("x", "y" * 40)]
    ]
    examples = [processor.example(one) for one in said]
    inputs = processor.collate(
        [prompt for prompt, _ in examples],
        labels=[labels for _, labels in examples],
        padding_side="right",
    )
    nll, tokens = label_nll(model, inputs)
    for i, (prompt, labels) in enumerate(examples):
        alone = processor.collate([prompt], labels=[labels], padding_side="right")
        with torch.no_grad():
            loss = model(**alone).loss
        assert tokens[i] == sum(label != -100 for label in labels) == len(said[i][1]["content"]) + 1
        assert float(nll[i] / tokens[i]) == pytest.approx(float(loss), rel=1e-5)
