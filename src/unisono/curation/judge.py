"""Whether an answer is right. Knows texts only."""

import re
from collections import Counter

from unisono.curation.records import Question
from unisono.evaluation.metrics import contains, normalise_answer

_LEAST_F1 = 0.6
_LETTER = re.compile(r"^\W*(?:[Tt]he answer is\W*|[Aa]nswer\W*)?([A-H])\s*(?:[.):,]|$)")


def is_right(said: str, question: Question) -> bool:
    """Whether a model's words give the question's answer.

    Of choices, the right one must be named and no other. An open answer must be in the words, or
    share most of its words with them (F1 of words at least 0.6, counted as SQuAD does).
    """
    if question.choices and question.answer[1:3] == ". ":
        return _letter(said, question) == question.answer[0]
    if question.choices:
        return [one for one in question.choices if _names(said, one)] == [question.answer]
    given, wanted = (normalise_answer(one).split() for one in (said, question.answer))
    return _names(said, question.answer) or _f1(given, wanted) >= _LEAST_F1


def _letter(said: str, question: Question) -> str:
    """Of the choice that is meant; "" when it is not clear."""
    found = _LETTER.match(said)
    if found:
        return found[1]
    named = [one[0] for one in question.choices if _names(said, one[3:])]
    return named[0] if len(named) == 1 else ""


def _names(said: str, phrase: str) -> bool:
    return bool(normalise_answer(phrase)) and contains([[phrase]], [said]).value == 1


def _f1(given: list[str], wanted: list[str]) -> float:
    common = sum((Counter(given) & Counter(wanted)).values())
    return 2 * common / (len(given) + len(wanted)) if common else 0.0
