"""Ola: text, image, video and audio in, text out; speech is a voice's work (`speech`)."""

from unisono.models.ola.config import OlaConfig
from unisono.models.ola.encoders import OlaEncoders
from unisono.models.ola.merge import merge, without_placeholders
from unisono.models.ola.model import OlaForConditionalGeneration
from unisono.models.ola.processor import OlaProcessor

__all__ = [
    "OlaConfig",
    "OlaEncoders",
    "OlaForConditionalGeneration",
    "OlaProcessor",
    "merge",
    "without_placeholders",
]
