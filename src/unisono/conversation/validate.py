"""From whatever the caller gave to a list of checked messages, or one clear error."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from unisono.conversation.parts import Message, TextPart
from unisono.errors import ConversationError


def validate(
    messages: "str | Sequence[Message | Mapping[str, Any]]", *, answered: bool = False
) -> list[Message]:
    """Check the form and the order of a conversation.

    Args:
        messages: messages or dicts of their fields; a string is one user message.
        answered: the conversation is one to learn from, and ends with an answer; otherwise it
            is to be answered.

    Returns:
        The messages, typed.

    Raises:
        ConversationError: a field is unknown or of the wrong type; there is no message; a
            system message is not the first; media stands outside a user message, or token ids
            outside an assistant's; the last message is not the user's (the assistant's, if
            answered) or says nothing.
    """
    if isinstance(messages, str):
        messages = [Message(role="user", content=messages)]
    if not isinstance(messages, Iterable):
        raise ConversationError(
            f"the conversation must be a text or a list of messages, "
            f"but is of type {type(messages).__name__!r} instead"
        )
    typed = [_typed(index, message) for index, message in enumerate(messages)]
    _check_order(typed)
    _check_last(typed[-1], "assistant" if answered else "user")
    return typed


def _typed(index: int, message: "Message | Mapping[str, Any]") -> Message:
    if isinstance(message, Message):
        return message
    try:
        return Message.model_validate(message)
    except ValidationError as error:
        # Content is a text or parts; pydantic tells why it is neither. The deepest fault is the
        # one in the form the caller meant.
        faults = error.errors(include_url=False, include_input=False)
        fault = max(faults, key=lambda fault: len(fault["loc"]))
        field = ".".join(str(step) for step in fault["loc"] if not _is_branch(step))
        where = f"message {index + 1}" + (f", field {field!r}" if field else "")
        raise ConversationError(f"{where}: {fault['msg']}") from None


def _is_branch(step: "str | int") -> bool:
    """Whether this is pydantic's name for a form of content, not a field of the caller's."""
    return step == "str" or str(step).startswith("tuple[")


def _check_order(messages: list[Message]) -> None:
    if not messages:
        raise ConversationError("the conversation must have a message, but is empty instead")
    for index, message in enumerate(messages):
        if message.role == "system" and index > 0:
            raise ConversationError(
                f"a system message must come first, but is message {index + 1} instead"
            )
        if message.role != "assistant" and message.token_ids is not None:
            # Ids are read verbatim: a user's could be control tokens.
            raise ConversationError(
                f"message {index + 1}: token_ids may stand in assistant messages only, "
                f"but are in one of role {message.role!r}"
            )
        if message.role != "user" and not all(isinstance(p, TextPart) for p in message.parts):
            raise ConversationError(
                f"message {index + 1}: media may stand in user messages only, "
                f"but is in one of role {message.role!r}"
            )


def _check_last(last: Message, role: str) -> None:
    if last.role != role:
        raise ConversationError(
            f"the last message must be the {role}'s, but is of role {last.role!r} instead"
        )
    if all(isinstance(part, TextPart) and not part.text.strip() for part in last.parts):
        raise ConversationError("the last message must say something, but is empty instead")
