"""What was said so far: items by their ids, and the same as messages for the model."""

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from unisono.conversation import AudioPart, ImagePart, Message, Part, TextPart
from unisono.errors import ConversationError, MediaTooLargeError
from unisono.media import SAMPLE_RATE_HZ, Resampler, Waveform
from unisono.media.audio import Samples
from unisono.server.encode_audio import STREAM_RATE_HZ
from unisono.server.wire.media import from_base64, from_url

_MOST_ITEMS = 1000
_ROLES = ("system", "user", "assistant")


@dataclass
class Spoken:
    """A sentence of an answer, and where its sound ends.

    Attributes:
        text: of the sentence.
        end_ms: from the answer's first sample.
    """

    text: str
    end_ms: float


@dataclass
class Item:
    """A message.

    Attributes:
        role: who says it.
        parts: for the model.
        name: its id.
        status: "incomplete" for an answer that was broken off.
        sentences: of a spoken answer, in order.
        heard: the words in its sounds, once somebody has listened.
    """

    role: str
    parts: tuple[Part, ...]
    name: str = field(default_factory=lambda: f"item_{uuid.uuid4().hex}")
    status: Literal["in_progress", "completed", "incomplete"] = "completed"
    sentences: list[Spoken] = field(default_factory=list)
    heard: str | None = None
    speaks: bool = False

    @property
    def text(self) -> str:
        """All its texts."""
        return "".join(part.text for part in self.parts if isinstance(part, TextPart))

    @property
    def unheard(self) -> bool:
        """Whether it has sounds that nobody has listened to."""
        return any(isinstance(p, AudioPart) and p.transcript is None for p in self.parts)

    def message(self) -> Message:
        """For the model."""
        return Message.model_validate({"role": self.role, "content": self.parts})

    def wire(self) -> dict[str, Any]:
        """As clients are told of it; media are not sent back."""
        head = {"id": self.name, "object": "realtime.item", "type": "message"}
        return {**head, "status": self.status, "role": self.role, "content": list(self._content())}

    def _content(self) -> Iterator[dict[str, Any]]:
        if self.role == "assistant":
            kind, words = ("output_audio", "transcript") if self.speaks else ("output_text", "text")
            yield from ([{"type": kind, words: self.text}] if self.text else [])
            return
        for part in self.parts:
            if isinstance(part, TextPart):
                yield {"type": "input_text", "text": part.text}
            elif isinstance(part, AudioPart):
                yield {"type": "input_audio", "transcript": part.transcript}
            else:
                yield {"type": "input_image"}

    def cut(self, end_ms: float) -> None:
        """Keep of a spoken answer what was heard until then; of a sentence, its share of words."""
        kept, began = [], 0.0
        for one in self.sentences:
            share = (end_ms - began) / max(1.0, one.end_ms - began)
            began = one.end_ms
            if share >= 1:
                kept.append(one.text)
                continue
            words = one.text.split()
            kept.append(" ".join(words[: max(0, round(share * len(words)))]))
            break
        text = " ".join(text.strip() for text in kept if text.strip())
        self.parts, self.status = (TextPart(text=text),), "incomplete"


class Conversation:
    """Items in order."""

    def __init__(self) -> None:
        self._items: dict[str, Item] = {}
        self.name = f"conv_{uuid.uuid4().hex}"

    @property
    def last(self) -> str | None:
        """The id of the last item."""
        return next(reversed(self._items), None)

    def __iter__(self) -> Iterator[Item]:
        return iter(list(self._items.values()))

    def add(self, item: Item, after: str | None = None) -> str | None:
        """Put an item behind another one; None: at the end, "root": at the beginning.

        Returns:
            The id of the item before it.

        Raises:
            ConversationError: its id is taken, there is no such item, or there are too many.
        """
        if item.name in self._items:
            raise ConversationError(f"there is an item {item.name!r} already")
        if len(self._items) >= _MOST_ITEMS:
            raise ConversationError(f"a conversation has at most {_MOST_ITEMS} items")
        names = list(self._items)
        place = len(names)
        if after == "root":
            place = 0
        elif after is not None:
            self.find(after)
            place = names.index(after) + 1
        ordered = [*self._items.values()]
        ordered.insert(place, item)
        self._items = {one.name: one for one in ordered}
        return names[place - 1] if place else None

    def find(self, name: Any) -> Item:
        """An item.

        Raises:
            ConversationError: there is none of this id.
        """
        if not isinstance(name, str) or name not in self._items:
            raise ConversationError(f"there is no item {name!r:.80}")
        return self._items[name]

    def delete(self, name: Any) -> None:
        """Forget an item.

        Raises:
            ConversationError: there is none of this id.
        """
        del self._items[self.find(name).name]

    def messages(self, instructions: str) -> list[Message]:
        """For the model; answers of which nothing was heard are left out."""
        system = [Message(role="system", content=instructions)] if instructions else []
        said = [item.message() for item in self if item.role != "assistant" or item.text]
        return [*system, *said]


def item_of(wire: Mapping[str, Any], most_seconds: float) -> Item:
    """An item that a client made.

    Raises:
        ConversationError: it is no message, or has a part of an unknown kind.
        MediaTooLargeError: a sound is longer.
    """
    if wire.get("type", "message") != "message" or wire.get("role") not in _ROLES:
        raise ConversationError("an item must be a message of system, user or assistant")
    content = wire.get("content")
    if not isinstance(content, list) or not content:
        raise ConversationError("an item must have a list of content")
    parts = tuple(_part(one, most_seconds) for one in content)
    item = Item(str(wire["role"]), parts)
    if name := wire.get("id"):
        if not isinstance(name, str) or len(name) > 80:
            raise ConversationError("an item's id must be a text of at most 80 letters")
        item.name = name
    return item


def _part(wire: Any, most_seconds: float) -> Part:
    if not isinstance(wire, Mapping):
        raise ConversationError("a part of an item's content must be an object")
    kind = wire.get("type")
    if kind in ("input_text", "text", "output_text"):
        return TextPart(text=_said(wire, "text"))
    if kind in ("output_audio", "audio"):
        return TextPart(text=_said(wire, "transcript"))
    if kind == "input_audio":
        samples = pcm16(_said(wire, "audio"), most_seconds)
        return AudioPart(audio=Waveform(samples, SAMPLE_RATE_HZ))
    if kind == "input_image":
        return ImagePart.model_construct(image=from_url(_said(wire, "image_url")))
    raise ConversationError(f"there is no content of type {kind!r:.80}")


def _said(wire: Mapping[str, Any], name: str) -> str:
    value = wire.get(name)
    if not isinstance(value, str) or not value:
        raise ConversationError(f"the content {wire.get('type')!r:.80} needs {name}")
    return value


def pcm16(text: str, most_seconds: float) -> Samples:
    """Base64 of 24 kHz samples -> float32 [T] at 16 kHz.

    Raises:
        ConversationError: it is none.
        MediaTooLargeError: it is longer.
    """
    data = from_base64(text, "audio")
    if len(data) % 2:
        raise ConversationError("audio must be 16-bit samples, but has an odd number of bytes")
    if len(data) > 2 * STREAM_RATE_HZ * most_seconds:
        raise MediaTooLargeError(f"audio must be at most {most_seconds:g} s long")
    resampler = Resampler(STREAM_RATE_HZ, SAMPLE_RATE_HZ)
    samples = floats(data)
    return np.concatenate([resampler.push(samples), resampler.flush()])


def floats(data: bytes) -> Samples:
    """16-bit samples, little-endian -> float32 [T] in [-1, 1]."""
    return np.frombuffer(data, "<i2").astype(np.float32) / 32768.0


def heard_in(parts: Sequence[Part]) -> str:
    """The words of a message's sounds."""
    found = (part.transcript for part in parts if isinstance(part, AudioPart))
    return " ".join(words.strip() for words in found if words and words.strip())
