"""How far one gets without looking: the answers that a guesser learns from the questions alone."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from unisono.picturebook.scene_questions import Question

Key = Callable[[Question], object]


def blind_scores(
    learnt: Iterable[Question], asked: Sequence[Question]
) -> Mapping[str, Mapping[str, float]]:
    """Exact match of guessers that never see a picture, for each kind of question.

    "form" gives the commonest answer to that form of question in training, "words" the commonest
    to that form with the same things, colours and places in it (and, where those were never
    asked about, what "form" gives). A fair test leaves both near chance.

    Args:
        learnt: the questions of training.
        asked: those of a test.

    Returns:
        Kind -> guesser -> share of right answers.
    """
    pool = list(learnt)
    by_form, by_words = _commonest(pool, _form), _commonest(pool, _words)
    right: dict[str, list[tuple[bool, bool]]] = defaultdict(list)
    for question in asked:
        plain = by_form.get(_form(question), "")
        guesses = (plain, by_words.get(_words(question), plain))
        form_right, words_right = (guess in question.answers for guess in guesses)
        right[question.kind].append((form_right, words_right))
    return {kind: _shares(both) for kind, both in sorted(right.items())}


def _form(question: Question) -> object:
    return question.form


def _words(question: Question) -> object:
    return question.form, tuple(sorted(question.slots.items()))


def _commonest(pool: Sequence[Question], key: Key) -> dict[object, str]:
    answers: dict[object, Counter[str]] = defaultdict(Counter)
    for question in pool:
        answers[key(question)][question.answers[0]] += 1
    return {what: counts.most_common(1)[0][0] for what, counts in answers.items()}


def _shares(right: Sequence[tuple[bool, bool]]) -> Mapping[str, float]:
    form, words = (sum(column) / len(right) for column in zip(*right, strict=True))
    return {"form": round(form, 3), "words": round(words, 3)}
