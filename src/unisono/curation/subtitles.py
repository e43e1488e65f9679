"""Stage "subtitles": words heard -> clean sentences; what nobody can have said is left out.

A recogniser invents words where there are none: on silence and noise, and in loops. Such words
have no sound behind them, come faster than anyone speaks, or are phrases its training's subtitles
end with.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import ClassVar

from unisono.curation.loudness import STEP_S
from unisono.curation.records import Case, Labels, Outcome, Sentence, Subtitles, present
from unisono.curation.store import Store
from unisono.speech import Word

ON_SILENCE = "words on silence"
TOO_FAST = "words faster than speech"
NOTHING = "neither words nor a known sound"

_NOTES = re.compile(r"\[[^\]]*\]|\([^)]*\)|[♪♫*]+")
_END = re.compile(r"[.!?。！？…]$")
_PHRASES = re.compile(
    r"(thank(s| you)( so much| very much)? for (watching|listening|viewing)"
    r"|(please )?(like and )?subscribe( to .*)?"
    r"|see you (next time|in the next (video|one))"
    r"|(subtitles|captions|transcri(bed|ption)|translated?) (by|and) .*"
    r"|www\..*)",
    re.IGNORECASE,
)
_PAUSE_S = 1.0
_MOST_ALIKE = 2
"""A word said more often in a row is said so often."""


@dataclass(frozen=True)
class Clean:
    """Make sentences of words.

    Attributes:
        below_loudest_db: words whose loudest moment lies so far below the clip's are on silence.
        least_db: or below this level.
        most_silent: share of words on silence above which all of them are doubted.
        most_words_per_s: that a person says; counted where there is sound.
        least_probability: a word the recogniser is less sure of is left out.
        least_sound: probability of the best label that makes a clip of use without words.
        ambient: labels that say nothing of use.
    """

    below_loudest_db: float = 35.0
    least_db: float = -50.0
    most_silent: float = 0.4
    most_words_per_s: float = 7.0
    least_probability: float = 0.1
    least_sound: float = 0.3
    ambient: Sequence[str] = ("silence", "speech")

    name: ClassVar[str] = "subtitles"
    version: ClassVar[int] = 1
    needs: ClassVar[tuple[str, ...]] = ("loudness", "heard", "labels")
    gives: ClassVar[str] = "subtitles"
    record: ClassVar[type] = Subtitles

    def run(self, case: Case, store: Store) -> Outcome:
        """A `Subtitles`."""
        heard, levels = present(case.heard), present(case.loudness).levels_db
        words = list(heard.words)
        least_db = max(self.least_db, max(levels) - self.below_loudest_db)
        sounding = [word for word in words if loudest(levels, word) >= least_db]
        metrics: dict[str, float] = {}
        if words:
            metrics["words on silence"] = round(1 - len(sounding) / len(words), 4)
            loud_s = STEP_S * sum(level >= least_db for level in levels)
            metrics["words per s"] = round(len(words) / max(loud_s, STEP_S), 3)
            if metrics["words on silence"] > self.most_silent:
                share = f"{metrics['words on silence']:.0%} of {len(words)} words"
                return Outcome(None, ON_SILENCE, share, metrics)
            if metrics["words per s"] > self.most_words_per_s:
                return Outcome(None, TOO_FAST, f"{metrics['words per s']:.1f} words/s", metrics)
        sure = [word for word in sounding if word.probability >= self.least_probability]
        sentences = tuple(cleaned(sure))
        if not sentences and not self._has_sound(present(case.labels)):
            return Outcome(None, NOTHING, "", metrics)
        return Outcome(Subtitles(sentences, heard.language), metrics=metrics)

    def _has_sound(self, labels: Labels) -> bool:
        known = (label for label in labels.sounds if label.text not in self.ambient)
        return any(label.probability >= self.least_sound for label in known)


def loudest(levels_db: Sequence[float], word: Word) -> float:
    """The highest level while a word is said."""
    first, last = int(word.start_s / STEP_S), int(word.end_s / STEP_S) + 1
    return max(levels_db[first:last], default=levels_db[-1])


def cleaned(words: Sequence[Word]) -> Iterator[Sentence]:
    """Sentences, without notes, stammered words and a recogniser's own phrases."""
    for run in _runs(words):
        text = re.sub(r"\s+", " ", _NOTES.sub(" ", " ".join(_unrepeated(run)))).strip()
        if not re.search(r"\w", text) or _PHRASES.fullmatch(text.strip(" .!?")):
            continue
        yield Sentence(text, round(run[0].start_s, 3), round(run[-1].end_s, 3))


def _runs(words: Sequence[Word]) -> Iterator[list[Word]]:
    """Words of a sentence each: up to a full stop or a long pause."""
    run = list(words[:1])
    for before, word in pairwise(words):
        if _END.search(before.text) or word.start_s - before.end_s > _PAUSE_S:
            yield run
            run = []
        run.append(word)
    if run:
        yield run


def _unrepeated(words: Iterable[Word]) -> Iterator[str]:
    before, count = "", 0
    for word in words:
        same = word.text.strip(".,!?").lower()
        count = count + 1 if same == before else 1
        before = same
        if count <= _MOST_ALIKE:
            yield word.text
