"""What a server allows."""

from dataclasses import dataclass


@dataclass(frozen=True)
class ServerSettings:
    """Limits and permissions.

    Attributes:
        api_keys: one of them must come as `Authorization: Bearer …`; none: everybody may ask.
        cors_origins: web pages of other hosts that may ask; none by default.
        hosts: names by which the server may be called; none: any. A page whose name was made to
            point here (DNS rebinding) calls it by another one.
        max_request_bytes: of a request's body.
        max_bytes_at_once: of all bodies that are being received or answered; beyond it, 503.
        upload_timeout_s: from a request's head to the end of its body.
        conversations: requests that are worked on at the same time; answers are decoded together if
            the assistant's engine can do that, else one after the other.
        max_waiting: requests that wait for the model; the next one is refused with 429.
        timeout_s: from a request's arrival to its end.
        drain_s: that answers under way may take when the server is told to go.
        max_tokens: of an answer, whatever is asked for.
        max_pixels: of all pictures of a request together.
        max_media_s: of all its sounds and videos together.
        max_video_pixels: of all frames of its videos together, each frame counted.
        fetch: whether media at http and https addresses are fetched.
        fetch_networks: networks that are not public and may be fetched from all the same
            ("10.1.0.0/16").
        fetch_timeout_s: for one address, redirects included.
        max_fetches: addresses and files that a request may name.
        media_folders: folders whose files requests may name; none by default.
        max_connections: of `/v1/realtime` at a time.
        idle_timeout_s: after which a connection that says nothing is closed.
        library: folder or address that `/v1/search` looks in; None for no search.
    """

    api_keys: frozenset[str] = frozenset()
    cors_origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    max_request_bytes: int = 64 << 20
    max_bytes_at_once: int = 512 << 20
    upload_timeout_s: float = 120.0
    conversations: int = 1
    max_waiting: int = 64
    timeout_s: float = 300.0
    drain_s: float = 30.0
    max_tokens: int = 2048
    max_pixels: int = 200_000_000
    max_media_s: float = 900.0
    max_video_pixels: int = 40_000_000_000
    fetch: bool = False
    fetch_networks: tuple[str, ...] = ()
    fetch_timeout_s: float = 20.0
    max_fetches: int = 16
    media_folders: tuple[str, ...] = ()
    max_connections: int = 64
    idle_timeout_s: float = 600.0
    library: str | None = None
