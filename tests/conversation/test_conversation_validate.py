"""A conversation is of the right form, or one line tells what is wrong."""

from typing import Any

import numpy as np
import pytest

from unisono.conversation import AudioPart, Message, TextPart, validate
from unisono.errors import ConversationError

USER = {"role": "user", "content": "hi"}
ANSWER = {"role": "assistant", "content": "hello"}
SYSTEM = {"role": "system", "content": "be kind"}


def _user(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


@pytest.mark.parametrize(
    ("messages", "said"),
    [
        ([], "empty"),
        (None, "NoneType"),
        (7, "int"),
        ("", "say something"),
        ("  \n", "say something"),
        ([{"role": "user", "content": []}], "say something"),
        (_user({"type": "text", "text": " "}), "say something"),
        ([{**USER, "name": "Ann"}], "'name'"),
        ([{"role": "robot", "content": "hi"}], "'role'"),
        ([{"role": "user"}], "'content'"),
        ([{"role": "user", "content": 5}], "'content'"),
        (["hi"], "message 1"),
        ([USER, ANSWER, {"role": "user", "content": None}], "message 3"),
        (_user({"type": "text", "txt": "hi"}), "required"),
        (_user({"type": "text", "text": "hi", "bold": True}), "bold"),
        (_user({"type": "smell", "smell": "rose"}), "smell"),
        (_user({"text": "hi"}), "type"),
        (_user({"type": "image", "image": None}), "None"),
        (_user({"type": "audio", "audio": ""}), "empty text"),
        ([ANSWER], "the last message must be the user's"),
        ([USER, ANSWER], "'assistant'"),
        ([SYSTEM], "'system'"),
        ([USER, SYSTEM, USER], "message 2"),
        ([{"role": "system", "content": [{"type": "image", "image": "a.png"}]}, USER], "media"),
        ([{"role": "assistant", "content": [{"type": "audio", "audio": "a"}]}, USER], "media"),
        ([{**USER, "token_ids": [1, 2]}], "token_ids"),
        ([{**SYSTEM, "token_ids": [1]}, USER], "token_ids"),
    ],
)
def test_a_malformed_conversation_is_refused_in_one_line(messages: Any, said: str) -> None:
    with pytest.raises(ConversationError) as caught:
        validate(messages)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "pydantic" not in str(caught.value)
    assert "tagged-union" not in str(caught.value)


def test_a_wrong_part_is_named_by_its_own_fault() -> None:
    with pytest.raises(ConversationError, match=r"content\.1\.text\.bold.*not permitted"):
        validate(_user({"type": "text", "text": "a"}, {"type": "text", "text": "b", "bold": 1}))


def test_good_conversations_pass_unchanged() -> None:
    messages = validate([SYSTEM, USER, {**ANSWER, "token_ids": [1, 2]}, USER])
    assert [message.role for message in messages] == ["system", "user", "assistant", "user"]
    assert messages[2].token_ids == (1, 2)
    assert validate(messages) == messages
    assert validate("hi") == [Message(role="user", content="hi")]


def test_media_sources_of_every_kind_pass(tmp_path: Any) -> None:
    samples = np.zeros(4, dtype=np.float32)
    sources = [tmp_path / "a.wav", "a.wav", b"RIFF", samples]
    (message,) = validate(_user(*({"type": "audio", "audio": source} for source in sources)))
    kept = [part.audio for part in message.parts if isinstance(part, AudioPart)]
    assert kept[:3] == [str(tmp_path / "a.wav"), "a.wav", b"RIFF"]
    assert kept[3] is samples


def test_parts_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="frozen"):
        TextPart(text="a").text = "b"  # type: ignore[misc]
