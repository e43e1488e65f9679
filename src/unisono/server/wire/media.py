"""Media in requests: inside of them, or somewhere else."""

import base64
import binascii
from dataclasses import dataclass

from unisono.errors import ConversationError


@dataclass(frozen=True)
class Address:
    """Where a medium lies, as a request has it. Only `Intake` opens it: no decoder takes it."""

    url: str


def from_url(url: str) -> "str | Address":
    """A `data:` URL as it is; anything else is an address."""
    return url if url[:5].lower() == "data:" else Address(url)


def from_either(value: str, what: str) -> "str | bytes | Address":
    """A `data:` URL, an address, or else base64.

    Raises:
        ConversationError: it is none of these.
    """
    if value[:5].lower() in ("data:", "file:") or "://" in value[:32]:
        return from_url(value)
    return from_base64(value, what)


def from_base64(text: str, what: str) -> bytes:
    """The bytes.

    Raises:
        ConversationError: it is no base64.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise ConversationError(f"{what} must be base64") from None
