"""Pieces of text are the text, whatever the tokens cut; a stop text never shows."""

import pytest
import tiny
from hypothesis import example, given, settings
from hypothesis import strategies as st

from unisono.runtime import Assistant
from unisono.runtime.text_stream import TextStream

TOKENIZER = tiny.byte_tokenizer()
ids = st.lists(st.integers(0, len(TOKENIZER) - 1), max_size=30)
texts = st.text(alphabet="ab é東🙂\ufffd\n", max_size=12)


class Pieces:
    """A tokenizer whose tokens are given texts: every way to cut a text."""

    def __init__(self, pieces: list[str]) -> None:
        self._pieces = pieces

    def decode(self, ids: list[int], **_: object) -> str:
        return "".join(self._pieces[index] for index in ids)


def _streamed(tokens: list[int], stop: tuple[str, ...] = (), tokenizer: object = TOKENIZER) -> str:
    stream = TextStream(tokenizer, stop)  # type: ignore[arg-type]
    text = ""
    for token in tokens:
        text += stream.push(token)
        if stream.stopped:
            break
    return text + stream.flush()


@settings(max_examples=300, deadline=None)
@given(ids)
@example([0xE2, 0x82, 0xAC])
def test_any_bytes_are_decoded_as_a_whole(tokens: list[int]) -> None:
    assert _streamed(tokens) == TOKENIZER.decode(tokens, skip_special_tokens=True)


@settings(max_examples=200, deadline=None)
@given(texts)
def test_characters_of_many_bytes_come_whole(text: str) -> None:
    stream = TextStream(TOKENIZER)
    pieces = [stream.push(token) for token in TOKENIZER.encode(text)]
    assert "".join(pieces) + stream.flush() == text
    if "\ufffd" not in text:
        assert all("\ufffd" not in piece for piece in pieces)
        assert "".join(pieces) == text, "a finished character is not kept back"


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 49_000), max_size=20))
def test_any_tokens_of_the_real_tokenizer(nano: Assistant, tokens: list[int]) -> None:
    tokenizer = nano.reader.processor.tokenizer
    whole = tokenizer.decode(tokens, skip_special_tokens=True)
    assert _streamed(tokens, tokenizer=tokenizer) == whole


@settings(max_examples=400, deadline=None)
@given(
    st.lists(st.text("abc", min_size=1, max_size=3), max_size=12),
    st.lists(st.text("abc", min_size=1, max_size=4), min_size=1, max_size=3).map(tuple),
)
@example(["a", "b", "c"], ("abc", "b"))
@example(["abc"], ("abc", "b"))
def test_a_stop_text_never_shows(pieces: list[str], stop: tuple[str, ...]) -> None:
    found = _streamed(list(range(len(pieces))), stop, Pieces(pieces))
    text = "".join(pieces)
    assert found == _until_a_stop(text, stop)
    assert not any(one in found for one in stop)


def _until_a_stop(text: str, stop: tuple[str, ...]) -> str:
    """Character by character: the first stop text that is complete ends the answer."""
    for end in range(len(text) + 1):
        lengths = [len(one) for one in stop if text[:end].endswith(one)]
        if lengths:
            return text[: end - max(lengths)]
    return text


def test_what_may_become_a_stop_text_is_held_back_until_it_is_not() -> None:
    stream = TextStream(Pieces(["x", "E", "N", "x", "EN", "D", "y"]), ("END",))  # type: ignore[arg-type]
    assert [stream.push(token) for token in range(5)] == ["x", "", "", "ENx", ""]
    assert stream.push(5) == ""
    assert stream.stopped
    assert stream.flush() == ""


def test_what_was_held_back_comes_at_the_end() -> None:
    stream = TextStream(Pieces(["so E", "N"]), ("END",))  # type: ignore[arg-type]
    assert [stream.push(0), stream.push(1), stream.flush()] == ["so ", "", "EN"]


@pytest.mark.parametrize("stop", [(), ("🙂",)])
def test_half_a_character_at_the_end(stop: tuple[str, ...]) -> None:
    tokens = [*TOKENIZER.encode("ok "), *TOKENIZER.encode("🙂")[:2]]
    assert _streamed(tokens, stop) == TOKENIZER.decode(tokens)
