"""Which pieces a search may find, as a condition in SQL.

Whatever a user says becomes a number, a word of a fixed list or a quoted text: nothing of it is
read as SQL. Knows the names of the table's columns, and nothing else of it.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime, time

from unisono.errors import DataError

MODALITIES = ("text", "image", "audio", "video", "page")
_NS_PER_US = 1000
_MOST = 2**63 - 1


@dataclass(frozen=True)
class Filter:
    """Conditions that all hold of what is found; None of them by default.

    Attributes:
        modalities: of pieces: some of "text", "image", "audio", "video", "page".
        path_glob: of files, or of a folder they are below, at any depth. `*` and `?` stand for
            anything but "/", `**` for that too, `[ab]` and `[!ab]` for one character. A pattern
            that begins with "/" begins at the root, another one at any folder.
        after: files modified then or later; a time without a zone is local, a date its midnight.
        before: files modified earlier.
        larger_than, smaller_than: bytes a file has more or fewer of.

    Raises:
        DataError: there is no such modality, or the pattern or a number says nothing.
    """

    modalities: tuple[str, ...] = ()
    path_glob: str | None = None
    after: date | None = None
    before: date | None = None
    larger_than: int | None = None
    smaller_than: int | None = None

    def __post_init__(self) -> None:
        for modality in self.modalities:
            if modality not in MODALITIES:
                raise DataError(
                    f"a modality must be one of {', '.join(MODALITIES)}, "
                    f"but is {modality!r} instead"
                )
        if self.path_glob is not None and not self.path_glob.strip("/"):
            raise DataError("a pattern for paths must name something, but is empty")
        if self.path_glob is not None:
            glob_pattern(self.path_glob)  # so that what is wrong with it is said now
        for size in (self.larger_than, self.smaller_than):
            if size is not None and size < 0:
                raise DataError(f"a size must be at least 0 bytes, but is {size} instead")

    def where(self) -> str | None:
        """The condition in SQL; None if there is none."""
        return " AND ".join(self._conditions()) or None

    def _conditions(self) -> Iterator[str]:
        if self.modalities:
            yield f"modality IN ({', '.join(map(quoted, self.modalities))})"
        if self.path_glob is not None:
            yield f"regexp_like(path, {quoted(glob_pattern(self.path_glob))})"
        if self.after is not None:
            yield f"modified_ns >= {_nanoseconds(self.after)}"
        if self.before is not None:
            yield f"modified_ns < {_nanoseconds(self.before)}"
        if self.larger_than is not None:
            yield f"size_bytes > {_within(self.larger_than)}"
        if self.smaller_than is not None:
            yield f"size_bytes < {_within(self.smaller_than)}"


def quoted(text: str) -> str:
    """A text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def glob_pattern(glob: str) -> str:
    """The regular expression that `Filter.path_glob` stands for, of whole paths.

    Raises:
        DataError: a range of characters is empty.
    """
    start = "/" if glob.startswith("/") else "(?:.*/)?"
    body = "".join(_pattern(token) for token in _GLOB_TOKENS.findall(glob.strip("/")))
    return f"(?s)^{start}{body}(?:/.*)?$"


# `**/` may stand for no folder at all; a "[" that nothing closes is only a bracket.
_GLOB_TOKENS = re.compile(r"\*\*/|\*\*|\*|\?|\[!?[^\]]+\]|.", re.DOTALL)
_SET_TOKENS = re.compile(r"(.)-(.)|(.)", re.DOTALL)
_WILD = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}


def _pattern(token: str) -> str:
    if token in _WILD:
        return _WILD[token]
    if len(token) == 1:
        return _literal(token)
    inverted = token.startswith("[!") and token != "[!]"
    inside = token[2 if inverted else 1 : -1]
    body = "".join(_of_set(*found) for found in _SET_TOKENS.findall(inside))
    return f"[^/{body}]" if inverted else f"[{body}]"


def _of_set(first: str, last: str, single: str) -> str:
    """One character, or all from one to another."""
    if single:
        return _literal(single)
    if first > last:
        raise DataError(f"a pattern for paths has the range [{first}-{last}], which is empty")
    return f"{_literal(first)}-{_literal(last)}"


def _literal(character: str) -> str:
    """Escaped for the engines of Python and of Rust alike."""
    return re.escape(character) if character.isascii() else character


def _nanoseconds(moment: date) -> int:
    """Since 1970; moments that no file can have become the last, or first, that one can."""
    if not isinstance(moment, datetime):
        moment = datetime.combine(moment, time())
    try:
        microseconds = round(moment.timestamp() * 1e6)
    except (OverflowError, ValueError):  # a local time in the year 1 or 9999
        microseconds = -_MOST if moment.year < 1970 else _MOST
    return _within(microseconds * _NS_PER_US)


def _within(number: int) -> int:
    """As near as a 64-bit integer comes."""
    return max(-_MOST, min(number, _MOST))
