"""The web page's files, read once: their addresses, types and what browsers may do with them."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from importlib.resources.abc import Traversable

_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "connect-src 'self'",
        "img-src 'self' blob: data:",
        "media-src 'self' blob:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "permissions-policy": "camera=(self), microphone=(self), geolocation=()",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    # A browser asks again each time, and is told that nothing has changed.
    "cache-control": "no-cache",
}


@dataclass(frozen=True)
class PageFile:
    """One file.

    Attributes:
        content: its bytes.
        media_type: as HTTP names it.
        tag: the same for the same content.
    """

    content: bytes
    media_type: str
    tag: str

    @property
    def headers(self) -> dict[str, str]:
        """Those that go with it."""
        return {**_HEADERS, "etag": self.tag}


@cache
def page_files() -> dict[str, PageFile]:
    """Address -> file. What is not among these is not served, however it is spelled."""
    folder = files("unisono.server") / "page"
    found = {f"/page/{name}": _read(one) for name, one in _below(folder)}
    return {"/": found["/page/index.html"], **found}


def _below(folder: Traversable, prefix: str = "") -> Iterator[tuple[str, Traversable]]:
    for one in folder.iterdir():
        if one.is_dir():
            yield from _below(one, f"{prefix}{one.name}/")
        elif _suffix(one.name) in _TYPES:
            yield prefix + one.name, one


def _read(file: Traversable) -> PageFile:
    content = file.read_bytes()
    tag = f'"{hashlib.sha256(content).hexdigest()[:24]}"'
    return PageFile(content, _TYPES[_suffix(file.name)], tag)


def _suffix(name: str) -> str:
    return name[name.rfind(".") :]
