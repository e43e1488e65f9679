"""Errors in OpenAI's form, and which status they have."""

from typing import Any

from unisono.errors import (
    EngineError,
    HubError,
    MediaTooLargeError,
    MissingExtraError,
    UnisonoError,
    UnknownModelError,
    VoiceError,
)
from unisono.server.jobs import BusyError, GoingDownError, LateError

_STATUS: tuple[tuple[type[UnisonoError], int], ...] = (
    (BusyError, 429),
    (LateError, 504),
    (GoingDownError, 503),
    (UnknownModelError, 404),
    (MediaTooLargeError, 413),
    (HubError, 503),
    (MissingExtraError, 503),
    (VoiceError, 500),
    (EngineError, 500),
)
_KINDS = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    429: "rate_limit_error",
}
DOCUMENTED: dict[int | str, dict[str, Any]] = {
    400: {"description": "The request cannot be answered; the message says why."},
    401: {"description": "The API key is missing or wrong."},
    404: {"description": "There is no such model."},
    413: {"description": "The body or a medium is too large."},
    429: {"description": "Too many requests wait."},
    503: {"description": "The server is not ready, goes down, or holds as much as it can."},
    504: {"description": "The request took too long."},
}
"""For the OpenAPI document."""


def status_of(error: UnisonoError) -> int:
    """The HTTP status: 400 for whatever the asker did."""
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 400)


def body(message: str, status: int, *, param: str | None = None) -> dict[str, Any]:
    """The body of an error's answer."""
    kind = _KINDS.get(status, "server_error" if status >= 500 else "invalid_request_error")
    return {"error": {"message": message, "type": kind, "param": param, "code": None}}
