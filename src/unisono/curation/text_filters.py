"""Filters of what is said: loops, other languages, text that is none.

Clips in which nobody speaks pass all of them.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from unisono.curation.records import Case, Nothing, Outcome, present
from unisono.curation.stage import Model
from unisono.curation.store import Store

REPEATED, OTHER_LANGUAGE, UNSURE_LANGUAGE = "repeats itself", "other language", "unclear language"
UNLIKELY = "unlikely text"
_GRAM = 3


class Likelihood(Protocol):
    """A language model that says how likely a text is."""

    def nll(self, text: str) -> tuple[float, int]:
        """Negative log-likelihood in nats, and of how many tokens it is the sum."""


@dataclass(frozen=True)
class Repetition:
    """Loops: many of the runs of three words were there before (cf. Rae et al. 2021, A.1.1).

    Attributes:
        most: share of such runs that is too much.
        least_words: shorter texts pass.
    """

    most: float = 0.35
    least_words: int = 8

    name: ClassVar[str] = "repetition"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("heard",)
    gives: ClassVar[str] = ""
    record: ClassVar[type] = Nothing

    def run(self, case: Case, store: Store) -> Outcome:
        """Of the words as they were heard: cleaning hides stammering."""
        words = [word.text.lower().strip(".,!?") for word in present(case.heard).words]
        if len(words) < self.least_words:
            return Outcome(Nothing())
        repeated = repetition(words)
        metrics = {"repeated": round(repeated, 4)}
        if repeated > self.most:
            return Outcome(None, REPEATED, f"{repeated:.0%} of the runs of three words", metrics)
        return Outcome(Nothing(), metrics=metrics)


def repetition(words: Sequence[str]) -> float:
    """Share of runs of three words that were there before."""
    grams = [tuple(words[i : i + _GRAM]) for i in range(len(words) - _GRAM + 1)]
    return 1 - len(set(grams)) / len(grams) if grams else 0.0


@dataclass(frozen=True)
class Language:
    """Only some languages.

    Attributes:
        wanted: ISO 639-1 codes; none for any.
        least_probability: that it is this language.
    """

    wanted: Sequence[str] = ()
    least_probability: float = 0.4

    name: ClassVar[str] = "language"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("heard", "subtitles")
    gives: ClassVar[str] = ""
    record: ClassVar[type] = Nothing

    def run(self, case: Case, store: Store) -> Outcome:
        """Of what the listener found."""
        heard = present(case.heard)
        if not present(case.subtitles).sentences:
            return Outcome(Nothing())
        sure = heard.language_probability
        metrics, said = {"probability": sure}, f"{heard.language or '?'} {sure:.0%}"
        if self.wanted and heard.language not in self.wanted:
            return Outcome(None, OTHER_LANGUAGE, said, metrics)
        if sure < self.least_probability:
            return Outcome(None, UNSURE_LANGUAGE, said, metrics)
        return Outcome(Nothing(), metrics=metrics)


@dataclass(frozen=True)
class Perplexity:
    """Text that a small language model finds unlikely is none, or another language.

    Attributes:
        model: says how likely.
        most: perplexity of a token that is too much.
        least_words: shorter texts pass.
    """

    model: Model[Likelihood]
    most: float = 1500.0
    least_words: int = 4

    name: ClassVar[str] = "perplexity"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("subtitles",)
    gives: ClassVar[str] = ""
    record: ClassVar[type] = Nothing

    def run(self, case: Case, store: Store) -> Outcome:
        """Of the whole text."""
        text = present(case.subtitles).text
        if len(text.split()) < self.least_words:
            return Outcome(Nothing())
        nats, tokens = self.model.get().nll(text)
        perplexity = math.exp(min(50.0, nats / max(1, tokens)))
        metrics = {"perplexity": float(f"{perplexity:.3g}")}
        if perplexity > self.most:
            return Outcome(None, UNLIKELY, f"perplexity {perplexity:.0f}", metrics)
        return Outcome(Nothing(), metrics=metrics)
