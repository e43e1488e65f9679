"""Normalising joins and drops, and loses nothing that was said."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from unisono.conversation import ImagePart, Message, Part, TextPart, normalise

texts = st.text(alphabet="ab \n<é", max_size=4)
parts = st.one_of(
    texts.map(lambda text: TextPart(text=text)),
    st.sampled_from(["a.png", "b.png"]).map(lambda name: ImagePart(image=name)),
)
messages = st.builds(
    Message,
    role=st.sampled_from(["user", "assistant"]),
    content=st.one_of(texts, st.lists(parts, max_size=4).map(tuple)),
)


def _said(conversation: list[Message]) -> list[str]:
    """Who said what, without the newlines that joining adds."""
    said: list[str] = []
    for message in conversation:
        for part in message.parts:
            text = part.text if isinstance(part, TextPart) else f"[{part.image}]"  # type: ignore[union-attr]
            said.extend(message.role[0] + character for character in text if character != "\n")
    return said


@given(st.lists(messages, max_size=6))
def test_once_is_enough_and_nothing_is_lost(conversation: list[Message]) -> None:
    once = normalise(conversation)
    assert normalise(once) == once
    assert _said(once) == _said(conversation)


@given(st.lists(messages, max_size=6))
def test_no_neighbours_are_left_to_join(conversation: list[Message]) -> None:
    once = normalise(conversation)
    assert all(a.role != b.role for a, b in pairwise(once))
    for message in once:
        assert all(not isinstance(part, TextPart) or part.text for part in message.parts)
        kinds = [part.type for part in message.parts]
        assert ("text", "text") not in list(pairwise(kinds))


def test_texts_are_joined_by_a_newline_and_keep_their_space() -> None:
    given: list[Part] = [TextPart(text="  x = 1"), TextPart(text=""), TextPart(text="\ty ")]
    (message,) = normalise(
        [Message(role="user", content=tuple(given)), Message(role="user", content="z")]
    )
    assert message.parts == (TextPart(text="  x = 1\n\ty \nz"),)


def test_only_an_answer_that_stands_alone_keeps_its_tokens() -> None:
    answer = Message(role="assistant", content="a", token_ids=(1,))
    assert normalise([answer])[0].token_ids == (1,)
    assert normalise([answer, answer])[0].token_ids is None
