"""One row of data, whatever file it came from."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from unisono.conversation import MediaSource, Message


@dataclass(frozen=True)
class ConversationRow:
    """Something said, with answers to learn.

    Attributes:
        name: where the row stands, for a person to find: "captions.jsonl:17".
        messages: the turns; the last is the assistant's.
        fields: whatever else the row has, as read.
    """

    name: str
    messages: tuple[Message, ...]
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class PairRow:
    """Media that belong together, at least one of them.

    Attributes:
        name: where the row stands, for a person to find: "captions.jsonl:17".
        text: a caption, label or transcript.
        image, audio, video: whatever `unisono.media` can open.
        fields: whatever else the row has, as read.
    """

    name: str
    text: str | None = None
    image: MediaSource | None = None
    audio: MediaSource | None = None
    video: MediaSource | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)


Row = ConversationRow | PairRow


def modality_of(row: Row) -> str:
    """The media in a row, "audio+image" say, or "text" if there are none."""
    if isinstance(row, PairRow):
        kinds = [kind for kind in ("audio", "image", "video") if getattr(row, kind) is not None]
    else:
        kinds = [part.type for message in row.messages for part in message.parts]
    return "+".join(sorted(set(kinds) - {"text"})) or "text"
