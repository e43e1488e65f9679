"""What may be said, apart from how it becomes numbers: validate -> normalise -> encode."""

from unisono.conversation.normalise import normalise
from unisono.conversation.parts import (
    AudioPart,
    ImagePart,
    MediaPart,
    MediaSource,
    Message,
    Part,
    TextPart,
    VideoPart,
)
from unisono.conversation.template import Piece, Tagged, encode
from unisono.conversation.validate import validate

__all__ = [
    "AudioPart",
    "ImagePart",
    "MediaPart",
    "MediaSource",
    "Message",
    "Part",
    "Piece",
    "Tagged",
    "TextPart",
    "VideoPart",
    "encode",
    "normalise",
    "validate",
]
