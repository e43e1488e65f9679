"""One form for conversations that mean the same: neighbours joined, emptiness dropped."""

from collections.abc import Iterable
from itertools import groupby

from unisono.conversation.parts import Message, Part, TextPart


def normalise(messages: Iterable[Message]) -> list[Message]:
    """Join neighbouring messages of one role and neighbouring texts; drop empty texts.

    A chat template has one turn a role; two user messages in a row are one turn of two parts.
    Texts are joined by a newline, and their own white space is kept: it may be code.
    """
    turns = []
    for _, group in groupby(messages, key=lambda message: message.role):
        members = list(group)
        turns.append(members[0] if len(members) == 1 else _joined(members))
    return [_with_parts(turn, _join_texts(turn.parts)) for turn in turns]


def _joined(members: list[Message]) -> Message:
    parts = tuple(part for member in members for part in member.parts)
    return Message(role=members[0].role, content=parts)


def _with_parts(message: Message, parts: tuple[Part, ...]) -> Message:
    return message.model_copy(update={"content": parts})


def _join_texts(parts: Iterable[Part]) -> tuple[Part, ...]:
    joined: list[Part] = []
    for part in parts:
        if not isinstance(part, TextPart):
            joined.append(part)
        elif part.text:
            last = joined[-1] if joined else None
            if isinstance(last, TextPart):
                joined[-1] = TextPart(text=f"{last.text}\n{part.text}")
            else:
                joined.append(part)
    return tuple(joined)
