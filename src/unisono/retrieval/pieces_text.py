"""Texts in passages that a text tower can read whole."""

import re
from collections.abc import Iterator

from unisono.errors import MediaDecodeError, MediaEmptyError
from unisono.media.source import open_source
from unisono.retrieval.piece import Piece

_SUFFIXES = """
.csv .htm .html .json .log .md .org .rst .srt .tex .text .toml .tsv .txt .vtt .xml .yaml .yml .py
.js .c .h .cpp .java .rs .go .sh
"""
TEXT_SUFFIXES = frozenset(_SUFFIXES.split())
MOST_WORDS = 50
"""About what fits the 70 tokens that ONE-PEACE reads."""
MOST_CHARACTERS = 300
"""For scripts that do not write spaces."""
_MOST_BYTES = 32 << 20
_SENTENCE = re.compile(r"(?<=[.!?。！？…])\s+|\n+|(?<=[。！？])")


def text_pieces(path: str) -> Iterator[Piece]:
    """The passages of a text in UTF-8, or else in Latin-1.

    Raises:
        MediaEmptyError: it has no words.
        MediaDecodeError: it is no text, or too long a one.
    """
    with open_source(path, "text") as opened:
        data = opened.stream.read(_MOST_BYTES + 1)
    if len(data) > _MOST_BYTES or b"\0" in data:
        reason = "is too long" if len(data) > _MOST_BYTES else "is no text"
        raise MediaDecodeError(f"'{path}' {reason}")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    found = False
    for passage in passages(text):
        found = True
        yield Piece("text", {"text": passage}, text=passage)
    if not found:
        raise MediaEmptyError(f"'{path}' has no words")


def passages(text: str) -> Iterator[str]:
    """Runs of whole sentences or lines, as many as fit; a longer sentence is cut between words."""
    held: list[str] = []
    for sentence in _fitting(text):
        if held and not _fits(" ".join([*held, sentence])):
            yield " ".join(held)
            held = []
        held.append(sentence)
    if held:
        yield " ".join(held)


def _fits(text: str) -> bool:
    return len(text.split()) <= MOST_WORDS and len(text) <= MOST_CHARACTERS


def _fitting(text: str) -> Iterator[str]:
    for sentence in filter(None, map(str.strip, _SENTENCE.split(text))):
        words = sentence.split()
        for start in range(0, len(words), MOST_WORDS):
            part = " ".join(words[start : start + MOST_WORDS])
            yield from (
                part[at : at + MOST_CHARACTERS] for at in range(0, len(part), MOST_CHARACTERS)
            )
