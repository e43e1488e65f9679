"""Messages -> tokens, through the tokenizer's own chat template.

What a user writes is data: `<|im_end|>` in a user's text is encoded as those ten characters,
never as the control token. So the template is rendered around sentinels, and its own text
(with control tokens) and the users' text (without) are tokenised apart.

Media stay in the result as parts: the processor, which knows how many tokens a picture or a
sound takes, puts the placeholders in.
"""

import re
import secrets
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from unisono.conversation.parts import MediaPart, Message, TextPart
from unisono.errors import ConversationError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Piece = list[int] | MediaPart
"""A run of token ids, or a medium that stands at this place."""


class Tagged(NamedTuple):
    """A piece, and who says it: None for what the chat template itself says."""

    piece: Piece
    role: str | None


def encode(
    messages: Sequence[Message],
    tokenizer: "PreTrainedTokenizerBase",
    *,
    add_generation_prompt: bool = False,
) -> list[Tagged]:
    """Encode normalised messages with the tokenizer's chat template.

    Media are separated from text that follows them by a newline, as Ola's prompts have it
    (`<image>\\nquestion`).

    Args:
        messages: the result of `normalise`.
        tokenizer: its `chat_template` is used.
        add_generation_prompt: end with the opening of the assistant's turn.

    Returns:
        Token ids and media in the order the model reads them, each with who says it.

    Raises:
        ConversationError: the tokenizer has no chat template, or the template refuses.
    """
    nonce = secrets.token_hex(4)
    rendered = _rendered(messages, tokenizer, nonce, add_generation_prompt=add_generation_prompt)
    tagged: list[Tagged] = []
    for position, text in enumerate(re.split(f"\ue000{nonce}:(\\d+)\ue001", rendered)):
        if position % 2:
            message = messages[int(text)]
            tagged += [Tagged(piece, message.role) for piece in _content(message, tokenizer)]
        elif text:
            tagged.append(Tagged(tokenizer.encode(text, add_special_tokens=False), None))
    return tagged


def _rendered(
    messages: Sequence[Message],
    tokenizer: "PreTrainedTokenizerBase",
    nonce: str,
    *,
    add_generation_prompt: bool,
) -> str:
    """The chat template's text, a sentinel in the place of each content."""
    turns = [
        {"role": message.role, "content": f"\ue000{nonce}:{index}\ue001"}
        for index, message in enumerate(messages)
    ]
    if not tokenizer.chat_template:
        raise ConversationError("the tokenizer must have a chat template, but has none")
    try:
        text: str = tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=add_generation_prompt
        )
    except Exception as error:  # jinja raises whatever the template's author wrote
        raise ConversationError(f"the chat template refuses the conversation: {error}") from error
    return text


def _content(message: Message, tokenizer: "PreTrainedTokenizerBase") -> Iterator[Piece]:
    if message.token_ids is not None:
        yield list(message.token_ids)
        return
    after_media = False
    for part in message.parts:
        if isinstance(part, TextPart):
            text = f"\n{part.text}" if after_media else part.text
            ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True).input_ids
            yield list(ids)
            after_media = False
        else:
            yield part
            after_media = True
