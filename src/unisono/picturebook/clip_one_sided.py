"""How far one gets by one half of a clip: what a guesser knows who has no picture, or no sound."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence

from unisono.picturebook.clip_planning import Clip
from unisono.picturebook.clip_questions import Question

Asked = tuple[Clip, Question]
_Key = Callable[[Clip], object]

_LEAST_SEEN = 8  # examples before a guesser trusts what it knows of a special case


def _motions(clip: Clip) -> tuple[str, ...]:
    return tuple(actor.motion for actor in clip.actors)


_KNOWN: Mapping[str, tuple[_Key, ...]] = {
    "neither": (),
    "picture": (
        lambda clip: (clip.names, _motions(clip)),
        lambda clip: clip.names,
        _motions,
    ),
    "sound": (
        lambda clip: (clip.heard.name, clip.heard.half),
        lambda clip: (clip.heard.kind, clip.heard.half),
    ),
}
"""Guesser -> what it knows of a clip, the most special first."""


def one_sided_scores(
    learnt: Iterable[Asked], asked: Sequence[Asked]
) -> Mapping[str, Mapping[str, float]]:
    """Exact match of guessers that have the picture alone, the sound alone, or neither.

    Each gives the commonest answer to the form of question among clips that look, or sound, the
    same to it: it has read off all that one side tells.

    Args:
        learnt: questions with their clips, of the test's own making, but not those of the test.
        asked: those of the test.

    Returns:
        Guesser -> form of question, and "all" -> share of right answers.
    """
    pool = list(learnt)
    return {name: _scores(keys, pool, asked) for name, keys in _KNOWN.items()}


def _scores(
    keys: Sequence[_Key], pool: Sequence[Asked], asked: Sequence[Asked]
) -> Mapping[str, float]:
    commonest = _commonest(keys, pool)
    right: dict[str, list[bool]] = defaultdict(list)
    for clip, question in asked:
        known = [case for case in _cases(keys, clip, question) if case in commonest]
        guess = commonest[known[0]] if known else ""
        for form in (question.form, "all"):
            right[form].append(guess in question.answers)
    return {form: round(sum(hits) / len(hits), 3) for form, hits in sorted(right.items())}


def _commonest(keys: Sequence[_Key], pool: Sequence[Asked]) -> Mapping[object, str]:
    answers: dict[object, Counter[str]] = defaultdict(Counter)
    for clip, question in pool:
        for case in _cases(keys, clip, question):
            answers[case][question.answers[0]] += 1
    return {
        case: counts.most_common(1)[0][0]
        for case, counts in answers.items()
        if counts.total() >= _LEAST_SEEN
    }


def _cases(keys: Sequence[_Key], clip: Clip, question: Question) -> list[object]:
    """What a guesser may go by, the most special first."""
    special = [(question.form, number, key(clip)) for number, key in enumerate(keys)]
    return [*special, (question.form, None, None)]
