"""Token ids -> text, piece by piece, ending at a stop text."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_UNFINISHED = "\ufffd"
"""What a tokenizer decodes half a character to."""


class TextStream:
    """The text of one answer as its tokens come.

    A token may hold half a character, and a decoder may treat the first token of a text
    differently; so each step decodes a short window of tokens and gives what is new in it.
    Text that may be the beginning of a stop text is held back until that is decided.
    """

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", stop: tuple[str, ...] = ()) -> None:
        self._tokenizer = tokenizer
        self._stop = stop
        self._ids: list[int] = []
        self._window_start = 0
        self._read = 0
        self._held = ""
        self.stopped = False

    def push(self, token: int) -> str:
        """The text that this token completes; "" while there is none."""
        self._ids.append(token)
        before = self._decode(self._window_start, self._read)
        now = self._decode(self._window_start, len(self._ids))
        if now.endswith(_UNFINISHED) or len(now) <= len(before):
            return ""
        self._window_start, self._read = self._read, len(self._ids)
        return self._release(now[len(before) :])

    def flush(self) -> str:
        """What is left at the end of the answer."""
        if self.stopped:
            return ""
        before = self._decode(self._window_start, self._read)
        rest = self._decode(self._window_start, len(self._ids))[len(before) :]
        text = self._release(rest) + ("" if self.stopped else self._held)
        self._held = ""
        return text

    def _decode(self, start: int, end: int) -> str:
        ids = self._ids[start:end]
        return str(self._tokenizer.decode(ids, skip_special_tokens=True)) if ids else ""

    def _release(self, new: str) -> str:
        text = self._held + new
        # The stop text that is complete first ends the answer, however the tokens cut the text.
        found = [
            (text.find(stop) + len(stop), text.find(stop)) for stop in self._stop if stop in text
        ]
        if found:
            self.stopped, self._held = True, ""
            _, start = min(found)
            return text[:start]
        held = max((_overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of `text` that begins `stop`."""
    longest = min(len(text), len(stop) - 1)
    return next((n for n in range(longest, 0, -1) if stop.startswith(text[-n:])), 0)
