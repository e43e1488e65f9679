"""Whether an answer is right: equal to a reference, or containing it, after normalisation."""

import re
from collections.abc import Sequence

from unisono.evaluation.score import Score

_NUMBERS = {
    word: str(number)
    for number, word in enumerate(
        ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    )
} | {"none": "0"}
_ARTICLES = frozenset({"a", "an", "the"})
_THOUSANDS = re.compile(r"(?<=\d),(?=\d)")
_FULL_STOP = re.compile(r"(?<!\d)\.|\.(?!\d)")
_APOSTROPHES = re.compile(r"['’]")
_PUNCTUATION = re.compile(r"[^\w\s.:%$&*°€£]|_")


def normalise_answer(text: str) -> str:
    """Lower case, digits for number words to ten, no articles and no punctuation.

    These are the rules of the VQA evaluation (Antol et al. 2015, arXiv 1505.00468, and
    visualqa.org/evaluation.html), with two differences: apostrophes are removed from both sides
    where VQA has a table that puts forgotten ones back, and a hyphen or comma inside a text
    always separates words (VQA joins them if another one in the text stands beside a space).
    """
    text = _APOSTROPHES.sub("", _THOUSANDS.sub("", text.lower()))
    text = _PUNCTUATION.sub(" ", _FULL_STOP.sub(" ", text))
    words = (_NUMBERS.get(word, word) for word in text.split())
    return " ".join(word for word in words if word not in _ARTICLES)


def exact_match(
    references: Sequence[Sequence[str]],
    answers: Sequence[str | None],
    *,
    names: Sequence[str] | None = None,
) -> Score:
    """Share of the N answers that equal one of their references, normalised; None never does."""
    right = [
        answer is not None
        and normalise_answer(answer) in {normalise_answer(one) for one in accepted}
        for accepted, answer in zip(references, answers, strict=True)
    ]
    return Score.of(right, names=names)


def contains(
    references: Sequence[Sequence[str]],
    answers: Sequence[str | None],
    *,
    names: Sequence[str] | None = None,
) -> Score:
    """Share of the N answers that have one of their references in them, as whole words.

    Kinder than `exact_match` to models that answer in sentences, and to those that name every
    possible answer.
    """
    right = [
        answer is not None
        and any(_has(normalise_answer(answer), normalise_answer(one)) for one in accepted)
        for accepted, answer in zip(references, answers, strict=True)
    ]
    return Score.of(right, names=names)


def accuracy(
    labels: Sequence[object], predicted: Sequence[object], *, names: Sequence[str] | None = None
) -> Score:
    """Share of the N predictions that equal their labels."""
    right = [one == other for one, other in zip(labels, predicted, strict=True)]
    return Score.of(right, names=names)


def _has(answer: str, reference: str) -> bool:
    """An empty reference is in an empty answer only."""
    said, right = normalise_answer(answer), normalise_answer(reference)
    return f" {right} " in f" {said} " if right else not said
