"""A picture as a package has it, with what it is known to show."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

_ARTICLE = re.compile(r"^(an?|the|some|a pair of|a set of)\s+", re.IGNORECASE)
_SPACES = re.compile(r"\s+")

LANGUAGES = ("es", "fr", "ca", "ru", "ro", "bg", "be", "de", "it", "pt", "nl")
"""Captions are kept in English and these: those with recordings by people come first."""


@dataclass(frozen=True)
class Found:
    """A picture of a package.

    Attributes:
        name: becomes a file name; unique within its hand.
        concept: what it shows; see `plain`.
        hand: whose drawing it is.
        group: what kind of thing.
        picture: bytes of a PNG or SVG file.
        captions: in `LANGUAGES`.
        keywords: more English words.
        photograph: not drawn.
    """

    name: str
    concept: str
    hand: str
    group: str
    picture: bytes
    captions: Mapping[str, str] = field(default_factory=dict)
    keywords: tuple[str, ...] = ()
    photograph: bool = False


def plain(text: str) -> str:
    """A caption as a concept: lower case, without article and full stop: "A dog." -> "dog"."""
    text = _SPACES.sub(" ", text.strip().rstrip(".!").strip())
    return _ARTICLE.sub("", text).lower()


def slug(text: str) -> str:
    """A text as part of a file name."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
