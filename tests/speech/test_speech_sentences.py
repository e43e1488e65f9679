"""Sentence splitting: tricky texts by table, laws by property."""

import string

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from unisono.speech import SentenceSplitter


def split(text: str, *, first_clause: bool = False, max_characters: int = 300) -> list[str]:
    splitter = SentenceSplitter(first_clause, max_characters)
    return splitter.push(text) + splitter.flush()


# "¦" is where a cut must be; nowhere else.
TABLE = [
    # English: abbreviations, initials, numbers
    "Dr. Smith met Mrs. Jones on Elm St. near the river. ¦They talked.",
    "Use a tool, e.g. a hammer, i.e. something heavy. ¦Then hit it.",
    "He lives in the U.S. and likes it. ¦She left the U.S. Army. ¦He left the U.S. ¦They stayed.",
    "We met at 5 p.m. ¦The sun was low. ¦By 9 a.m. it was gone.",
    "See No. 5 and Fig. 3 for details. ¦No. ¦I mean it.",
    "J. R. R. Tolkien wrote it. ¦C. S. Lewis read it. ¦J.R.R. Tolkien smiled.",
    "Pi is 3.14 and a bit. ¦Version 2.0.1 is out. ¦It costs 1,000.50 dollars.",
    "In 2020. ¦5 people came. ¦I have 3. ¦You have 4.",
    "Apples, pears, etc. are fruit. ¦I like apples, pears, etc. ¦They are sweet.",
    "Acme Inc. makes it. ¦He works for Acme Inc. ¦She does not.",
    "Plan A failed, so we took plan B. ¦The rest is history.",
    # addresses
    "See https://example.com/a.b?c=d!e#f. ¦Or mail jo.doe@example.co.uk. ¦Or visit www.x.org!",
    "Node.js runs main.py. ¦OK?",
    # marks in runs, quotes, brackets, markdown
    "What?! ¦No way!!! ¦Really...? ¦Yes.",
    "Well... maybe. ¦Hmm… ¦Then no.",
    "“Stop!” he cried. ¦“Why?” ¦She ran.",
    'He said "Go." ¦Then he left. ¦(It was late.) ¦They slept.',
    "**Bold end.** ¦Next one. ¦_It_ is `code.` ¦Done.",
    "Great! ¦😊 How are you?",
    "... and then it ended. ¦So.",
    # lists, lines, paragraphs
    "1. Foo bar\n¦2. Baz qux\n¦3. End",
    "Here is a list:\n¦- Eggs\n¦- Milk\n\n¦Bye",
    "A line that is\nwrapped goes on. ¦# Title\n\n¦text",
    "  \n Hello there.\n\n¦Bye. \n",
    # German
    "Hr. Müller kommt am 3. Oktober, z. B. mit der Bahn. ¦Das ist gut.",
    "Im 19. Jahrhundert war das so. ¦Er sagte: „Nein.“ ¦Dann ging er.",
    "Das gilt bzw. galt für Nr. 7, d.h. immer. ¦Er ging. ¦»Komm!«, rief sie.",
    # French
    "« Vraiment ? » dit-il. ¦M. Dupont et Mme. Curie arrivent. ¦Oui !",
    "Il a crié : « Attention ! » ¦Puis il est parti.",
    # Spanish
    "¿Cómo estás? ¦¡Muy bien! ¦¿Y la Sra. López? ¦Bien.",
    # Chinese, Japanese, full width
    "你好。¦今天天气很好！¦你呢？¦“很好。”¦他说。",
    "こんにちは。¦元気ですか？！¦「はい。」¦そうです。",
    "版本3.14很好。¦Ｏｋ．¦好",
    "A。 ¦B。\n¦C",
    # Hindi, Urdu/Arabic
    "यह अच्छा है। ¦वह आया।",
    "كيف حالك؟ ¦بخير.",
]


@pytest.mark.parametrize("marked", TABLE)
def test_cuts_are_where_a_reader_would_breathe(marked: str) -> None:
    assert split(marked.replace("¦", "")) == marked.split("¦")


FIRST_CLAUSE = [
    ("Well, that is a good question, and here is why. Next.", ["Well, that is a good question, "]),
    ("Sure, I can help with that, of course, anytime.", ["Sure, I can help with that, "]),
    ("In Paris, the sun shines.", ["In Paris, the sun shines."]),
    ("It costs about 1,000,000 dollars, more or less.", ["It costs about 1,000,000 dollars, "]),
    ("Meet me tomorrow at 10:30: the usual place.", ["Meet me tomorrow at 10:30: "]),
    ("The old man nodded—slowly—and left.", ["The old man nodded—", "slowly—and left."]),
    ("I would say so, “perhaps,” he said.", ["I would say so, "]),
    ("今天我们去公园，然后回家，好吗？", ["今天我们去公园，然后回家，", "好吗？"]),
    ("今天早上我们去公园玩，然后回家。", ["今天早上我们去公园玩，", "然后回家。"]),
    ("Yes. And then, after a very long while, they left.", ["Yes. "]),
]


@pytest.mark.parametrize(("text", "begins"), FIRST_CLAUSE)
def test_first_piece_may_be_a_clause(text: str, begins: list[str]) -> None:
    pieces = split(text, first_clause=True)
    assert pieces[: len(begins)] == begins
    assert "".join(pieces) == text


def test_only_the_first_piece_is_a_clause() -> None:
    text = "Well, that is a good question, and here is why. Next, and this is long, we go on. Bye."
    assert split(text, first_clause=True) == [
        "Well, that is a good question, ",
        "and here is why. ",
        "Next, and this is long, we go on. ",
        "Bye.",
    ]


def test_a_sentence_is_handed_out_with_the_first_character_after_it() -> None:
    splitter = SentenceSplitter(first_clause=False)
    assert splitter.push("It rains.") == []
    assert splitter.push(" ") == []
    assert splitter.push("T") == ["It rains. "]
    assert splitter.flush() == ["T"]


def test_flush_makes_ready_for_the_next_text() -> None:
    splitter = SentenceSplitter()
    text = "I think that it will rain, maybe. Or not."
    first = splitter.push(text) + splitter.flush()
    assert splitter.push(text) + splitter.flush() == first
    assert splitter.flush() == []


def test_overlong_is_cut_at_clause_marks_then_at_spaces_never_in_a_word() -> None:
    clauses = "and then the fox went on, " * 30
    pieces = split(clauses, max_characters=100)
    assert all(len(piece) <= 100 and piece.endswith("on, ") for piece in pieces)
    words = "word " * 100
    pieces = split(words, max_characters=100)
    assert all(len(piece) <= 101 and piece.endswith("word ") for piece in pieces)
    url = "https://example.com/" + "a" * 500
    assert split(f"Look {url} and go on", max_characters=100) == ["Look ", f"{url} ", "and go on"]
    assert max(map(len, split("今天天气好" * 50, max_characters=100))) <= 101


def test_too_small_a_limit_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 40"):
        SentenceSplitter(max_characters=10)


PROSE = st.lists(
    st.sampled_from(
        [w for row in TABLE for w in row.replace("¦", "").split(" ")]
        + [" ", "  ", "\n", "\n\n", "\u00a0", ".", "...", "?!", ",", "—", ": ", "。", "“", "”", "»"]
        + ["(", "*", "3", "12.", "a.m.", "No.", "J.", "The", "the", "Januar", "x" * 50, "好" * 30]
    ),
    max_size=80,
).flatmap(lambda words: st.sampled_from(["", " "]).map(lambda glue: glue.join(words)))
TEXT = st.one_of(PROSE, st.text(max_size=200), st.text(string.punctuation + " aA1\n", max_size=200))


@given(TEXT, st.booleans(), st.sampled_from([40, 300]), st.data())
@example("a\u3099。」」  x", False, 40, None)
def test_joined_and_chunk_invariant(
    text: str, first: bool, limit: int, data: st.DataObject | None
) -> None:
    whole = split(text, first_clause=first, max_characters=limit)
    assert "".join(whole) == text
    assert all(piece.strip() for piece in whole) or not text.strip()

    def in_chunks(sizes: list[int]) -> list[str]:
        splitter = SentenceSplitter(first, limit)
        pieces, start = [], 0
        for size in [*sizes, len(text)]:
            pieces += splitter.push(text[start : start + size])
            start += size
        return pieces + splitter.flush()

    assert in_chunks([1] * len(text)) == whole
    if data is not None:
        assert in_chunks(data.draw(st.lists(st.integers(0, 9), max_size=40))) == whole


@given(st.lists(st.from_regex(r"\A[A-Za-z0-9]{1,12}\Z"), min_size=1, max_size=60), st.booleans())
def test_never_inside_a_word_or_number(words: list[str], first: bool) -> None:
    glue = [". ", ", ", " ", ".", ",", ": ", "\n"]
    text = "".join(word + glue[(i + len(word)) % len(glue)] for i, word in enumerate(words))
    position = 0
    for piece in split(text, first_clause=first, max_characters=40)[:-1]:
        position += len(piece)
        assert text[position - 1].isspace()
        assert not text[position].isspace()


@pytest.mark.parametrize("size", [2_000, 20_000])
def test_work_grows_with_the_text_not_with_its_square(size: int) -> None:
    # Counting marks looked at, not seconds: the machine may be busy.
    looked = 0

    class Counting(SentenceSplitter):
        def _judge(self, text: str, index: int, final: bool) -> int:
            nonlocal looked
            looked += 1
            return super()._judge(text, index, final)

    splitter = Counting()
    text = ("The fox, who was old, went e.g. to No. 5. " * size)[:size]
    splitter.push(text)
    assert looked < 4 * size
