"""Several labels a sample, and answers of several people.

Shapes: N samples, K classes.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from unisono.evaluation.metrics.matching import normalise_answer
from unisono.evaluation.score import Score


def mean_average_precision(
    relevant: ArrayLike, scores: ArrayLike, *, names: Sequence[str] | None = None
) -> Score:
    """mAP over classes: of each the average precision of the N samples by their scores for it.

    Not interpolated; equal scores are one rank. Classes that no sample has are left out.

    Args:
        relevant: [N, K], 1 where the sample has the class.
        scores: [N, K], higher for likelier.
        names: of the samples.

    Raises:
        ValueError: the shapes differ, or a score is no number.
    """
    values = np.asarray(scores, dtype=np.float64)
    if np.isnan(values).any():
        raise ValueError("scores must be numbers, but some are nan")
    truth = np.asarray(relevant, dtype=bool)
    return Score.of(values, weights=truth, names=names, aggregate="class_precision")


def answer_share(answers: Sequence[str], answer: str) -> float:
    """How right an answer is by those of several people, of whom three must agree.

    The mean of min(1, others who said so / 3) over all choices of all people but one
    (visualqa.org/evaluation.html); of ten people, 0.3, 0.6, 0.9 and 1 for one to four.
    """
    said = Counter(map(normalise_answer, answers))[normalise_answer(answer)]
    people = len(answers)
    if people < 2:
        return float(said > 0)
    without = said * min(1.0, (said - 1) / 3) + (people - said) * min(1.0, said / 3)
    return without / people


def vqa_accuracy(
    references: Sequence[Sequence[str]],
    answers: Sequence[str | None],
    *,
    names: Sequence[str] | None = None,
) -> Score:
    """VQAv2's accuracy: the mean of `answer_share` over N questions; None is wrong."""
    shares = [
        0.0 if answer is None else answer_share(people, answer)
        for people, answer in zip(references, answers, strict=True)
    ]
    return Score.of(shares, names=names)
