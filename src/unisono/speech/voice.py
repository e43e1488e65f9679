"""What a voice is, and what a written answer needs before it is read aloud.

Knows text and PCM; knows nothing of any synthesiser, file or language model.
"""

import re
from collections.abc import Iterator
from typing import Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

Pcm = npt.NDArray[np.float32]
"""Mono sound: float32 [T] in [-1, 1]."""

_LINK = re.compile(r"!?\[([^\[\]]*)\]\([^()\s]*(?:\s+\"[^\"]*\")?\)")
_URL = re.compile(r"<?(?:https?://|ftp://|www\.)(?:www\.)?([^\s/?#<>\"')]*[^\s/?#<>\"').,;:!]\S*)")
_URL_TAIL = re.compile(r"[.,;:!?)>\]\"'”’»*_]+$")
_HTML_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_FENCE = re.compile(r"^[ \t]*(?:```|~~~)[\w+-]*[ \t]*$", re.MULTILINE)
_LINE_MARK = re.compile(
    r"^[ \t]*(?:#{1,6}[ \t]+|>[ \t]?|[-*+•‣◦][ \t]+|[-*_=]{3,}[ \t]*$)+", re.MULTILINE
)
_STARS = re.compile(r"(?<!\s)\*+|\*+(?!\s)|\*{2,}")
_UNDERSCORES = re.compile(r"(?<!\w)_+|_+(?!\w)")
_TABLE_RULE = re.compile(r"^[ \t]*\|?(?:[ \t]*:?-+:?[ \t]*\|)+[ \t:-]*$", re.MULTILINE)
_EMOJI = re.compile(
    "[\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff\ufe0e\ufe0f\u20e3\U000e0020-\U000e007f]"
    "(?:\u200d)?"
)


@runtime_checkable
class Voice(Protocol):
    """Turns text into sound, piece by piece.

    `speak` may be called from a thread other than the one that built the voice. Closing the
    iterator (`close()`, or leaving a `for` loop and dropping it) stops the work.
    """

    @property
    def sample_rate_hz(self) -> int:
        """Samples per second of everything `speak` yields."""
        ...

    @property
    def language(self) -> str:
        """BCP 47 tag of the language spoken, such as "en-US"."""
        ...

    def speak(self, text: str) -> Iterator[Pcm]:
        """Yield float32 mono PCM [T] in [-1, 1], each chunk as soon as it is ready.

        Text with nothing to say ("...", "", emoji only) yields nothing.

        Raises:
            VoiceError: the voice's model fails.
        """
        ...


def is_speakable(text: str) -> bool:
    """Whether there is a letter or digit of any script to say."""
    return any(character.isalnum() for character in text)


def normalise_for_speech(text: str) -> str:
    """Return what a person would read aloud of a written answer: one line, no mark-up.

    Markdown marks, list bullets, HTML tags and emoji go; a link keeps its text, a bare address
    its host name ("https://www.example.com/a" is said "example.com"). Numbers, units and
    punctuation stay: the synthesiser knows how to read them. Idempotent on plain text.
    """
    text = _FENCE.sub("", text)
    text = _TABLE_RULE.sub(" ", text)
    text = _LINE_MARK.sub("", text)
    text = _LINK.sub(r"\1", text)
    text = _URL.sub(_host_name, text)
    text = _HTML_TAG.sub(" ", text)
    text = _EMOJI.sub("", text)
    text = _UNDERSCORES.sub("", _STARS.sub("", text))
    text = text.replace("`", "").replace("|", " ").replace("~~", "")
    return " ".join(text.split())


def _host_name(match: re.Match[str]) -> str:
    """Keep the host, and the punctuation that ends the sentence rather than the address."""
    tail = _URL_TAIL.search(match.group(0))
    host = re.split(r"[/?#]", match.group(1), maxsplit=1)[0]
    return _URL_TAIL.sub("", host) + (tail.group(0).replace(">", "") if tail else "")
