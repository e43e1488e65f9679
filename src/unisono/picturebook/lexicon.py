"""The thousand words that ola-nano's own ear learns, by theme.

Everything said in training through the speech connector is made of them, and what it is scored on
too; other words come through the listener.
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

LEXICON = Path(__file__).parent / "lexicon.txt"

_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
_DIGIT = re.compile(r"(?<![\w.])\d(?![\w.]*\d)")
_PREFIX = re.compile(r"\bre-(?=[a-z])")
_WORD = re.compile(r"[a-z]+(?:'[a-z]+)*")
_NOT_SAID = re.compile(r"[^a-z'\s.,;:!?\"()-]")

SOUND_LIKE_ANOTHER = frozenset(
    (
        *("to", "too", "for", "their", "know", "write", "hear", "weak", "sea", "i", "would", "by"),
        *("our", "it's", "you're", "read", "knows", "meat", "plane", "wear", "sent", "you", "or"),
        *("an", "a", "oh", "bee", "piece", "not", "than", "whale", "wait", "are", "its", "hour"),
    )
)
"""Words that nobody can tell from another one of the lexicon, or hardly, when they stand alone."""


@cache
def themes() -> Mapping[str, tuple[str, ...]]:
    """Theme -> its words, as they stand in the file; a word has one theme."""
    found: dict[str, tuple[str, ...]] = {}
    theme = ""
    for line in LEXICON.read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            theme = line.strip("[]")
            found[theme] = ()
        elif not line.startswith("#"):
            found[theme] = (*found.get(theme, ()), *line.split())
    return {name: words for name, words in found.items() if words}


@cache
def lexicon() -> tuple[str, ...]:
    """All words, in the file's order."""
    return tuple(word for words in themes().values() for word in words)


@cache
def _lexicon() -> frozenset[str]:
    return frozenset(lexicon())


def spoken_words(text: str) -> tuple[str, ...]:
    """The words a person says who reads a text: lower case, single digits as words.

    Nothing if the text has marks or numbers of which it is not plain how they are read.
    """
    text = text.lower().replace("’", "'").replace("`", "'")
    text = _PREFIX.sub("re", _DIGIT.sub(lambda digit: _DIGITS[int(digit[0])], text))
    if _NOT_SAID.search(text):
        return ()
    return tuple(_WORD.findall(text.replace("-", " ")))


def is_of_lexicon(words: tuple[str, ...]) -> bool:
    """Whether there are words, and every one is in the lexicon."""
    return bool(words) and _lexicon().issuperset(words)
