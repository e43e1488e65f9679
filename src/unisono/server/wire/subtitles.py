"""Words with their times, as subtitles."""

from collections.abc import Iterator, Sequence

from unisono.speech import Word

_MOST_WORDS = 10
_PAUSE_S = 1.0


def srt(words: Sequence[Word]) -> str:
    """SubRip."""
    blocks = [
        f"{number}\n{_times(line, ',')}\n{text_of(line)}\n"
        for number, line in enumerate(lines(words), start=1)
    ]
    return "\n".join(blocks)


def vtt(words: Sequence[Word]) -> str:
    """WebVTT."""
    blocks = [f"{_times(line, '.')}\n{text_of(line)}\n" for line in lines(words)]
    return "\n".join(["WEBVTT\n", *blocks])


def lines(words: Sequence[Word]) -> Iterator[list[Word]]:
    """The words of each line: some, without a long pause between them."""
    held: list[Word] = []
    for word in words:
        if held and (len(held) >= _MOST_WORDS or word.start_s - held[-1].end_s > _PAUSE_S):
            yield held
            held = []
        held.append(word)
    if held:
        yield held


def text_of(words: Sequence[Word]) -> str:
    """As it is read."""
    return " ".join(word.text.strip() for word in words)


def _times(line: Sequence[Word], mark: str) -> str:
    return f"{_clock(line[0].start_s, mark)} --> {_clock(line[-1].end_s, mark)}"


def _clock(seconds: float, mark: str) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02}:{minutes % 60:02}:{rest // 1000:02}{mark}{rest % 1000:03}"
