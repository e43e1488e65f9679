"""Cuts text that is still being written into pieces a voice can start on.

Knows sentence marks of many scripts, abbreviations, numbers and addresses; knows nothing of
tokens or sound. The text is read one character at a time and a cut is decided by what has been
read so far only, so the pieces do not depend on how the text was chopped on its way here.
"""

import re
from collections import deque

from unisono.speech.abbreviations import (
    AFTER_ORDINAL,
    BEFORE_NUMBER,
    MAY_END,
    NEVER_END,
    SENTENCE_STARTERS,
)

_MARKS = ".!?…。！？．｡؟।॥"
_WIDE_MARKS = "。！？．｡"  # a cut may follow these without a space
_CLAUSE_MARKS = ",;:—–،؛"
_WIDE_CLAUSE_MARKS = "，、；：﹐､"
_CLOSERS = "\"'”’“»›)]}）」』】〉》*_`~"
_WIDE_CLOSERS = "\"'”’)]}）」』】〉》*_`~"  # Chinese opens with “
_LATE_CLOSERS = "»›"  # French sets a space before them
_CLAUSE_WORDS = 4  # a first clause shorter than this is not worth a breath
_CLAUSE_CHARACTERS = 20

# Runs are skipped by regular expressions: a model stuck on "....." must not cost a second.
_MARK_RUN = re.compile(f"[{re.escape(_MARKS)}]*")
_CLOSER_RUN = re.compile(f"[{re.escape(_CLOSERS)}]*")
_WIDE_CLOSER_RUN = re.compile(f"[{re.escape(_WIDE_CLOSERS)}]*")

_WAIT = -1
"""Undecided: the characters that tell are still to come."""
_NO = 0
"""Not a place to cut."""


class SentenceSplitter:
    """Splits a stream of text into speakable pieces; joined, they are the text again.

    A piece is a sentence with the space after it. A piece is handed out as soon as the first
    character after it has arrived (one token later, in a language model's stream), because
    that character tells "3. May" from "3. Then". A paragraph's end ends a sentence too.

    Args:
        first_clause: let the first piece end early, at a clause mark (, ; : —) once it has four
            words or 20 characters, so that sound starts soon. "Well," alone is never a piece.
        max_characters: a sentence longer than this is cut at its last clause mark, else space.

    Raises:
        ValueError: `max_characters` is less than 40.
    """

    def __init__(self, first_clause: bool = True, max_characters: int = 300) -> None:
        if max_characters < 40:
            raise ValueError(f"max_characters must be at least 40, but is {max_characters} instead")
        self._first_clause = first_clause
        self._max_characters = max_characters
        self._text = ""
        self._scanned = 0  # no cut is possible before this index
        self._is_first = True

    def push(self, delta: str) -> list[str]:
        """Take the next characters; return the pieces that are now complete, often none."""
        pieces: list[str] = []
        waiting = deque(delta)
        while waiting:
            self._text += waiting.popleft()
            cut = self._find_cut(final=False) or self._find_overlong_cut()
            if cut:
                pieces.append(self._take(cut))
                waiting.extendleft(reversed(self._text))
                self._text = ""
        return pieces

    def flush(self) -> list[str]:
        """End the text: return what is left, and be ready for another text."""
        pieces: list[str] = []
        while cut := self._find_cut(final=True):
            pieces.append(self._take(cut))
        if self._text:
            pieces.append(self._take(len(self._text)))
        self._is_first = True
        return pieces

    def _take(self, cut: int) -> str:
        piece, self._text = self._text[:cut], self._text[cut:]
        self._scanned = 0
        self._is_first = False
        return piece

    def _find_cut(self, *, final: bool) -> int:
        text = self._text
        while self._scanned < len(text):
            index = self._scanned
            verdict = self._judge(text, index, final)
            if verdict == _WAIT:
                return 0
            if verdict != _NO and _has_word(text[:verdict]):
                return verdict
            self._scanned = _end_of_run(text, index)
        return 0

    def _judge(self, text: str, index: int, final: bool) -> int:
        character = text[index]
        if character in _MARKS:
            return _judge_mark(text, index, final)
        if character == "\n":
            return _judge_line_end(text, index)
        if self._first_clause and self._is_first:
            return _judge_clause(text, index)
        return _NO

    def _find_overlong_cut(self) -> int:
        text = self._text
        if len(text) <= self._max_characters:
            return 0
        if len(text) > self._max_characters + 1:  # one endless word: wait for its end
            return len(text) - 1 if _is_break(text, len(text) - 1) else 0
        breaks = [i for i in range(1, len(text)) if _is_break(text, i)]
        clauses = [i for i in breaks if _follows_clause_mark(text, i) and 3 * i >= len(text)]
        return (clauses or breaks or [0])[-1]


def _has_word(text: str) -> bool:
    return any(character.isalnum() for character in text)


def _end_of_run(text: str, index: int) -> int:
    """Skip "...", "?!" and the like as one mark."""
    return max(index + 1, _skip(text, index, _MARK_RUN))


def _skip(text: str, start: int, run: re.Pattern[str]) -> int:
    match = run.match(text, start)
    return match.end() if match else start


def _skip_space(text: str, start: int) -> int:
    return len(text) - len(text[start:].lstrip())


def _judge_mark(text: str, index: int, final: bool) -> int:
    """Decide whether the run of sentence marks at `index` ends a sentence, and where."""
    run_end = _end_of_run(text, index)
    wide = text[run_end - 1] in _WIDE_MARKS
    closed = _skip(text, run_end, _WIDE_CLOSER_RUN if wide else _CLOSER_RUN)
    after = _skip_space(text, closed)
    if after < len(text) and text[after] in _LATE_CLOSERS and after > closed:
        if after + 1 == len(text) and not final:
            return _WAIT
        if text[after + 1 : after + 2].isspace():
            closed = after + 1
            after = _skip_space(text, closed)
    if after == len(text):
        return _NO if final else _WAIT
    if after == closed and not wide:
        return _NO  # 3.14, example.com, v2.0.1, "a.m", the middle of "J.R.R."
    if wide:
        return after
    quoted = any(closer in text[run_end:closed] for closer in '"”’“»›」』)')
    return _judge_follower(text, index, after, quoted=quoted, final=final)


def _judge_follower(text: str, index: int, after: int, *, quoted: bool, final: bool) -> int:
    """Decide by what comes after the mark and its space: case, number, abbreviation."""
    follower = text[after]
    if text[index] in "!?" and not quoted:
        return after
    if "\n\n" in text[index:after].replace(" ", ""):
        return after
    if follower.islower():
        return _NO  # '"Help!" he cried.', "etc. and so on", "well... maybe"
    if text[index] != "." or _end_of_run(text, index) > index + 1 or quoted:
        return after
    return _judge_abbreviation(text, index, after, final)


def _judge_abbreviation(text: str, index: int, after: int, final: bool) -> int:
    word = _word_before(text, index)
    lower = word.lower()
    list_number = word.isdigit() and len(word) <= 3 and _begins_line(text, index - len(word))
    number_follows = lower in BEFORE_NUMBER and text[after].isdigit()
    if lower in NEVER_END or list_number or number_follows:
        return _NO
    is_initial = all(len(part) == 1 and part.isalpha() for part in word.split("."))  # J.R.R
    is_ordinal = word.isdigit() and len(word) <= 2
    if is_initial or is_ordinal or lower in MAY_END:
        return _judge_next_word(text, after, is_ordinal=is_ordinal, final=final)
    return after


def _judge_next_word(text: str, after: int, *, is_ordinal: bool, final: bool) -> int:
    """Decide by the word that follows an initial, an ordinal or a doubtful abbreviation."""
    end = after
    while end < len(text) and text[end].isalpha():
        end += 1
    if end == len(text) and not final:
        return _WAIT
    word = text[after:end]
    if is_ordinal:
        return _NO if word.lower() in AFTER_ORDINAL else after
    another_initial = text[end : end + 1] == "."
    starts = word in SENTENCE_STARTERS and not another_initial
    return after if starts or not word else _NO


def _word_before(text: str, index: int) -> str:
    """Return the word that ends at `index`, inner full stops included ("a.m", "J.R.R")."""
    start = index
    while start and (text[start - 1].isalnum() or text[start - 1] in ".ºª"):
        start -= 1
    return text[start:index].lstrip(".")


def _begins_line(text: str, start: int) -> bool:
    line = text[:start].rsplit("\n", 1)[-1]
    return not line.strip(" \t>*_-+")


def _judge_line_end(text: str, index: int) -> int:
    """A line break ends a piece, unless the next line goes on in lower case."""
    after = _skip_space(text, index)
    if after == len(text):
        return _WAIT
    blank_line = text.count("\n", index, after) > 1
    return _NO if text[after].islower() and not blank_line else after


def _judge_clause(text: str, index: int) -> int:
    """Decide whether the first piece may end at the clause mark at `index`."""
    character = text[index]
    wide = character in _WIDE_CLAUSE_MARKS
    if not wide and character not in _CLAUSE_MARKS:
        return _NO
    if not _is_long_enough(text[:index]):
        return _NO
    closed = _skip(text, index + 1, _CLOSER_RUN)
    after = _skip_space(text, closed)
    if after == len(text):
        return _WAIT
    dash = character == "—" and text[after].isalpha()
    return after if wide or dash or after > closed else _NO


def _is_long_enough(text: str) -> bool:
    """Four words, or 20 characters; two CJK characters count as a word."""
    wide = sum(_is_cjk(character) for character in text)
    words = wide // 2 + sum(
        any(character.isalnum() and not _is_cjk(character) for character in word)
        for word in text.split()
    )
    return words >= _CLAUSE_WORDS or len(text.strip()) + wide >= _CLAUSE_CHARACTERS


def _is_cjk(character: str) -> bool:
    """Han, kana without their combining marks: no spaces between words."""
    return (
        "\u4e00" <= character <= "\u9fff"
        or "\u3400" <= character <= "\u4dbf"
        or ("\u3041" <= character <= "\u30ff" and character not in "\u3099\u309a\u30fb\u30fc")
        or "\U00020000" <= character <= "\U0003ffff"
    )


def _is_break(text: str, index: int) -> bool:
    """Whether an overlong sentence may be cut before `index`: never inside a word or number."""
    before, here = text[index - 1], text[index]
    open_place = (
        before.isspace() or before in _WIDE_CLAUSE_MARKS or (_is_cjk(before) and _is_cjk(here))
    )
    return open_place and not here.isspace() and _has_word(text[:index])


def _follows_clause_mark(text: str, index: int) -> bool:
    before = text[:index].rstrip().rstrip(_CLOSERS)
    return before.endswith(tuple(_CLAUSE_MARKS + _WIDE_CLAUSE_MARKS))
