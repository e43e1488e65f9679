"""What a row says, in any of the forms -> a `Row`. Opens patch files, but no media.

Our own conversations have `messages`, LLaVA's and Ola's `conversations`; anything else is a pair.
"""

from collections.abc import Mapping
from typing import Any

from unisono.conversation import Message, validate
from unisono.errors import BadRowError, ConversationError
from unisono.manifests.llava import MEDIA_FIELDS, messages_of
from unisono.manifests.patch import is_patch, read_patch
from unisono.manifests.place import Place
from unisono.manifests.row import ConversationRow, PairRow, Row

MEDIA = ("image", "audio", "video")
_TEXT = ("text", "caption")
_PICTURES = ("image_2", "segmentation")
"""Fields of a pair that are pictures too: see `manifests.datasets`."""


def parse_row(said: Any, name: str, place: Place) -> Row:
    """One row.

    Args:
        said: what the file has in it, decoded.
        name: where it stands.
        place: what its paths are relative to.

    Raises:
        BadRowError: it is no row, or a broken one; the message begins with `name`.
    """
    try:
        if not isinstance(said, Mapping):
            raise BadRowError(f"a row must be an object, but is {type(said).__name__} instead")
        if said.get("messages") is not None:
            return _ours(said, name, place)
        if said.get("conversations") is not None:
            return _llava(said, name, place)
        return _pair(said, name, place)
    except (BadRowError, ConversationError) as error:
        raise BadRowError(f"{name}: {error}") from None


def located(medium: Any, kind: str, place: Place) -> Any:
    """Whatever stands for a medium, as `unisono.media` can open it: relative paths are resolved.

    Raises:
        BadRowError: it is nothing that can be opened, or its patch file cannot be read.
    """
    if isinstance(medium, Mapping) and medium and medium.keys() <= {"bytes", "path"}:
        inside = medium.get("bytes")
        medium = medium.get("path") if inside is None else inside
    if is_patch(medium):
        return read_patch(medium, kind, place)
    if isinstance(medium, bytes | bytearray):
        return bytes(medium)
    if isinstance(medium, str) and medium.strip():
        return _located_path(medium, place)
    if isinstance(medium, list) and medium and kind == "video":
        return [located(frame, "image", place) for frame in medium]
    raise BadRowError(f"{kind} must be a path, bytes or a patch, but is {medium!r:.80} instead")


def _located_path(said: str, place: Place) -> str | bytes:
    if said in place.members:
        return place.members[said]
    is_url = said[:5].lower() == "data:" or "://" in said
    return said if is_url else place.path(said)


def _ours(said: Mapping[str, Any], name: str, place: Place) -> ConversationRow:
    messages = said["messages"]
    if not isinstance(messages, list):
        raise BadRowError(f"messages must be a list, but are {type(messages).__name__} instead")
    resolved = [_resolved(message, place) for message in messages]
    rest = {key: value for key, value in said.items() if key != "messages"}
    return ConversationRow(name, tuple(validate(resolved, answered=True)), rest)


def _resolved(message: Any, place: Place) -> Any:
    """Our form of a message, its media located."""
    if not isinstance(message, Mapping) or not isinstance(message.get("content"), list):
        return message
    return {**message, "content": [_resolved_part(part, place) for part in message["content"]]}


def _resolved_part(part: Any, place: Place) -> Any:
    if not isinstance(part, Mapping):
        return part
    # Rows of a table have every part's columns, null where a part has no such field.
    given = {key: value for key, value in part.items() if value is not None}
    kind = given.get("type")
    if kind not in MEDIA or kind not in given:
        return given
    return {**given, kind: located(given[kind], kind, place)}


def _llava(said: Mapping[str, Any], name: str, place: Place) -> ConversationRow:
    turns = messages_of(said, lambda medium, kind: located(medium, kind, place))
    rest = {k: v for k, v in said.items() if k != "conversations" and k not in MEDIA_FIELDS}
    messages: list[Message] = validate(turns, answered=True)
    return ConversationRow(name, tuple(messages), rest)


def _pair(said: Mapping[str, Any], name: str, place: Place) -> PairRow:
    media = {k: located(said[k], k, place) for k in MEDIA if said.get(k) is not None}
    text = next((said[key] for key in _TEXT if said.get(key) is not None), None)
    if text is not None and not isinstance(text, str):
        raise BadRowError(f"text must be a text, but is {type(text).__name__} instead")
    if text is None and not media:
        raise BadRowError(
            f"a row must have messages, conversations, text, image, audio or video, "
            f"but has {sorted(said)}"
        )
    rest = {key: value for key, value in said.items() if key not in (*MEDIA, *_TEXT)}
    for key in _PICTURES:
        if rest.get(key) is not None:
            rest[key] = located(rest[key], "image", place)
    return PairRow(name, text=text, **media, fields=rest)
