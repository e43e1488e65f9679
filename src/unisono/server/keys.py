"""Who may ask: keys, the origins of web pages, and the names that the server is called by."""

import hmac
from collections.abc import Mapping

from unisono.server.settings import ServerSettings

_SUBPROTOCOL_KEY = "openai-insecure-api-key."
_SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})

Headers = Mapping[bytes, bytes]


def refusal(headers: Headers, settings: ServerSettings, method: str) -> tuple[int, str] | None:
    """Status and words for whoever may not ask; None for everybody else.

    Args:
        headers: by lower-case name.
        settings: of the server.
        method: of the request; "WEBSOCKET" for one.
    """
    if settings.hosts and _host(headers) not in settings.hosts:
        return 421, "the server is not called by this name; see --host-name"
    if not _origin_allowed(headers, settings, method):
        return 403, "web pages of this origin may not ask; see --cors"
    if settings.api_keys and not _has_key(headers, settings.api_keys):
        return 401, "the API key is missing or wrong"
    return None


def given_key(headers: Headers) -> bytes:
    """The key that came with a request; as browsers send it, too, whose WebSockets have no
    headers of their own."""
    authorization = headers.get(b"authorization", b"")
    if authorization[:7].lower() == b"bearer ":
        return authorization[7:].strip()
    offered = headers.get(b"sec-websocket-protocol", b"").decode("latin-1").split(",")
    for one in map(str.strip, offered):
        if one.startswith(_SUBPROTOCOL_KEY):
            return one.removeprefix(_SUBPROTOCOL_KEY).encode("latin-1")
    return b""


def _has_key(headers: Headers, keys: frozenset[str]) -> bool:
    given = given_key(headers)
    return any(hmac.compare_digest(given, key.encode()) for key in keys)


def _origin_allowed(headers: Headers, settings: ServerSettings, method: str) -> bool:
    """A page may change nothing and open no WebSocket on a server that is not its own."""
    origin = headers.get(b"origin", b"").decode("latin-1")
    if not origin or method in _SAFE_METHODS or settings.cors_origins == ("*",):
        return True
    own = headers.get(b"host", b"").decode("latin-1")
    return origin in settings.cors_origins or origin.partition("://")[2] == own


def _host(headers: Headers) -> str:
    """The name alone, without its port."""
    host = headers.get(b"host", b"").decode("latin-1").lower()
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host
