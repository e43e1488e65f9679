"""Which pictures may train: by committed lists, made once, before any training.

Held out are whole concepts, in every source, and the drawings of two hands. Whatever names a
held-out concept among other words trains nothing either. See splits_drawing.py for how the lists
were made.
"""

import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path

from unisono.picturebook.drawing import Split
from unisono.picturebook.found import Found

LISTS = Path(__file__).parent / "splits"
UNSEEN_HANDS = frozenset({"fxemoji", "emojione"})
_WORD = re.compile(r"[^\W_]+")
Words = tuple[str, ...]


def words_of(text: str) -> Words:
    """A text's words in lower case and, roughly, the singular: ("red", "apple")."""
    return tuple(_singular(word) for word in _WORD.findall(text.lower()))


def _singular(word: str) -> str:
    """As good as telling "dog" and "dogs" for one needs; "glass" and "bus" may lose an s."""
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    return word.rstrip("s") if len(word) > 3 else word


def unseen_concepts() -> Mapping[str, frozenset[str]]:
    """Concepts out of training in every source, by the list they are on: "stamps", "emoji"."""
    return {name: _listed(name) for name in ("stamps", "emoji")}


@cache
def _listed(name: str) -> frozenset[str]:
    return frozenset((LISTS / f"unseen_{name}.txt").read_text(encoding="utf-8").splitlines())


@cache
def _unseen_words() -> frozenset[Words]:
    return frozenset(words_of(one) for listed in unseen_concepts().values() for one in listed)


def split_of(found: Found) -> Split | None:
    """Where a picture may be used; None for nowhere.

    A drawing of a test hand whose concept no other hand draws is told by the caller.
    """
    return assigned(found, _unseen_words())


def assigned(found: Found, unseen: frozenset[Words]) -> Split | None:
    """See `split_of`; `unseen` are the held-out concepts' words."""
    if words_of(found.concept) in unseen:
        return "unseen_concept"
    if names_unseen(found.concept, unseen) or any(
        words_of(word) in unseen for word in found.keywords
    ):
        return None
    return "unseen_drawing" if found.hand in UNSEEN_HANDS else "train"


def names_unseen(text: str, unseen: frozenset[Words] | None = None) -> bool:
    """Whether a text has a held-out concept's words in it, one after the other."""
    unseen = _unseen_words() if unseen is None else unseen
    words = words_of(text)
    spans = ((i, j) for i in range(len(words)) for j in range(i + 1, len(words) + 1))
    return any(words[i:j] in unseen for i, j in spans)
