"""What is read aloud of a written answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unisono.speech import is_speakable, normalise_for_speech

TABLE = [
    ("This is **very** *important*.", "This is very important."),
    ("# Title\n\nSome `code` and ~~old~~ text.", "Title Some code and old text."),
    ("- Eggs\n* Milk\n+ Tea\n• Ham", "Eggs Milk Tea Ham"),
    ("See [the guide](https://x.org/a_b?c=1) now.", "See the guide now."),
    ("![A cat](cat.png) sleeps.", "A cat sleeps."),
    ("Go to https://www.example.com/a/b?c=d#e.", "Go to example.com."),
    ("(see www.example.org/path), please", "(see example.org), please"),
    ("<https://x.io> is short", "x.io is short"),
    ("Great! 😊👍🏽 See you 🇫🇷 ❤️.", "Great! See you ."),
    ("3 * 4 is 12, -5 is less, 2 > 1 and 1 < 2.", "3 * 4 is 12, -5 is less, 2 > 1 and 1 < 2."),
    ("snake_case and _stress_", "snake_case and stress"),
    ("```python\nprint(1)\n```\nDone.", "print(1) Done."),
    ("| a | b |\n|---|:-:|\n| 1 | 2 |", "a b 1 2"),
    ("> A quote\n\n---\nMore<br>text", "A quote More text"),
    ("20 °C, 5 % and 7 €", "20 °C, 5 % and 7 €"),
    ("私は  **猫**  です。", "私は 猫 です。"),
    ("1. First\n2. Second", "1. First 2. Second"),
]


@pytest.mark.parametrize(("written", "spoken"), TABLE)
def test_marks_are_not_read_aloud(written: str, spoken: str) -> None:
    assert normalise_for_speech(written) == spoken


@given(st.text(max_size=200))
def test_one_line_without_outer_spaces(text: str) -> None:
    spoken = normalise_for_speech(text)
    assert spoken == " ".join(spoken.split())


@given(st.text("abcABC 019,.?!'äé好", max_size=100))
def test_plain_text_keeps_every_word(text: str) -> None:
    assert normalise_for_speech(text) == " ".join(text.split())


@pytest.mark.parametrize("text", ["", "...", " \n", "😊", "**", "?!", "—"])
def test_nothing_to_say(text: str) -> None:
    assert not is_speakable(normalise_for_speech(text))
