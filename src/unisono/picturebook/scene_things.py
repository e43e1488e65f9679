"""The vocabulary of the scenes: which concepts are drawn in them and what they are called."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

_LIST = Path(__file__).parent / "splits" / "scene_things.toml"
_ES_ENDINGS = ("s", "x", "z", "ch", "sh")
_VOWELS = "aeiou"


@dataclass(frozen=True)
class Vocabulary:
    """Names of things.

    Attributes:
        names: concept -> what it is called.
        plurals: name -> its plural, where that is irregular.
        uncounted: names without plural.
        confusable: name -> names that its picture might also be called.
    """

    names: Mapping[str, str]
    plurals: Mapping[str, str]
    uncounted: frozenset[str]
    confusable: Mapping[str, frozenset[str]]

    def plural(self, name: str) -> str:
        """ "dog" -> "dogs", "mouse" -> "mice"."""
        if name in self.plurals:
            return self.plurals[name]
        if name.endswith(_ES_ENDINGS):
            return f"{name}es"
        if name.endswith("y") and name[-2] not in _VOWELS:
            return f"{name[:-1]}ies"
        return f"{name}s"

    def with_article(self, name: str) -> str:
        """ "dog" -> "a dog", "apple" -> "an apple", "bread" -> "bread", "sun" -> "the sun"."""
        if name in UNIQUE:
            return f"the {name}"
        if name in self.uncounted:
            return name
        vowel = (name[0] in _VOWELS) != (name in _SOUNDS_OTHERWISE)
        return f"an {name}" if vowel else f"a {name}"

    def mistakable(self, name: str, others: tuple[str, ...]) -> bool:
        """Whether a name is, or may be used for, one of others."""
        return any(name == other or other in self.confusable.get(name, ()) for other in others)


UNIQUE = frozenset({"sun", "moon"})
"""Names with "the": nobody asks whether there is one."""

_SOUNDS_OTHERWISE = frozenset({"unicorn", "ufo", "hourglass"})


@cache
def vocabulary() -> Vocabulary:
    """The committed list."""
    read = tomllib.loads(_LIST.read_text(encoding="utf-8"))
    families = read["confusable"].values()
    return Vocabulary(
        names={concept: name for name, concepts in read["things"].items() for concept in concepts},
        plurals=read["plurals"],
        uncounted=frozenset(read["uncounted"]["names"]),
        confusable={
            name: frozenset(other for family in families if name in family for other in family)
            - {name}
            for name in read["things"]
        },
    )
