"""The Open Clip Art Library: drawings whose names begin with what they show.

The name of a file is a title, often followed by the artist's name, cut at some length, and a
number: "lightbulb_lit_benji_park_.png". Whoever stands behind many different titles is an artist.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import PurePosixPath

from unisono.picturebook.found import Found, slug
from unisono.picturebook.packages import members

PACKAGE = "openclipart-png"
FOLDER = "usr/share/openclipart/png/"
GROUPS = (
    *("animals", "buildings", "containers", "education", "electronics", "food", "office"),
    *("people", "plants", "recreation", "science", "tools", "transportation"),
)
"""Folders with pictures of things; not those of shapes, icons, signs and maps."""

_LARGEST_BYTES = 2 * 2**20
_TITLES_OF_AN_ARTIST = 5
_LONGEST_CONCEPT = 4  # words
_NO_WORDS = re.compile(r"[^a-z]+")


def clipart() -> Iterator[Found]:
    """Every drawing of a thing whose title can be told from its artist.

    Raises:
        HubError: the package cannot be had.
    """
    found = dict(members(PACKAGE, _is_wanted, largest_bytes=_LARGEST_BYTES))
    words = {path: _words(path) for path in found}
    artists = _artists(list(words.values()))
    for path in sorted(found):
        concept = " ".join(_title(words[path], artists))
        if len(concept) > 2 and len(concept.split()) <= _LONGEST_CONCEPT:
            group = path.removeprefix(FOLDER).partition("/")[0]
            name = f"openclipart-{slug(path.removeprefix(FOLDER).removesuffix('.png'))}"
            yield Found(name, concept, "openclipart", group, found[path])


def _is_wanted(path: str) -> bool:
    return path.endswith(".png") and path.removeprefix(FOLDER).partition("/")[0] in GROUPS


def _words(path: str) -> tuple[str, ...]:
    stem = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", PurePosixPath(path).stem).lower()
    return tuple(word for word in _NO_WORDS.split(stem) if len(word) > 1)


def _artists(names: Sequence[tuple[str, ...]]) -> set[tuple[str, ...]]:
    """Endings of two words or more that stand behind many different titles."""
    titles: dict[tuple[str, ...], set[tuple[str, ...]]] = defaultdict(set)
    for name in names:
        for length in (2, 3):
            if len(name) > length:
                titles[name[-length:]].add(name[:-length])
    return {end for end, before in titles.items() if len(before) >= _TITLES_OF_AN_ARTIST}


def _title(name: tuple[str, ...], artists: set[tuple[str, ...]]) -> tuple[str, ...]:
    """What stands before an artist, who may be cut short."""
    for at in range(1, len(name)):
        rest = name[at:]
        if any(artist[: len(rest)] == rest or _is_cut(rest, artist) for artist in artists):
            return name[:at]
    return name


def _is_cut(rest: tuple[str, ...], artist: tuple[str, ...]) -> bool:
    """Whether a name ends within the artist's: "dan gerhar" for "dan gerhards"."""
    whole, last = rest[:-1], rest[-1]
    at = len(whole)
    if at == 0 or at >= len(artist):
        return False
    return artist[:at] == whole and artist[at].startswith(last)
