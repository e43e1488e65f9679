"""Media at web addresses: one GET, within limits of size, time, redirects and place."""

import asyncio
import re
import ssl
from urllib.parse import SplitResult, urljoin, urlsplit

import certifi
import httpcore

from unisono.errors import MediaAccessError, MediaTooLargeError
from unisono.media.source import shorten
from unisono.server.addresses import AllowedAddresses, CheckedNetwork
from unisono.server.settings import ServerSettings

_MOST_REDIRECTS = 3
_LONGEST_ADDRESS = 4096
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
# What httpcore would send as it stands: no spaces, no line breaks, nothing beyond ASCII.
_PLAIN = re.compile(r"[!-~]+", re.ASCII)


class Fetcher:
    """Fetches media, if the settings allow it at all."""

    def __init__(self, settings: ServerSettings) -> None:
        self._settings = settings
        self._allowed = AllowedAddresses(settings.fetch_networks)
        self._certificates = ssl.create_default_context(cafile=certifi.where())

    async def fetch(self, address: str) -> bytes:
        """What lies there.

        Raises:
            MediaAccessError: fetching or the address is not allowed, or nothing is there.
            MediaTooLargeError: it has more bytes than a request may have.
        """
        if not self._settings.fetch:
            raise MediaAccessError("addresses are not fetched by this server: send a data: URL")
        try:
            async with asyncio.timeout(self._settings.fetch_timeout_s):
                return await self._follow(address)
        except TimeoutError:
            raise MediaAccessError(
                f"{shorten(address)} took more than {self._settings.fetch_timeout_s:g} s"
            ) from None
        except (httpcore.NetworkError, httpcore.ProtocolError, httpcore.TimeoutException) as error:
            # The reason is not told: it would say what is behind an address.
            raise MediaAccessError(
                f"{shorten(address)} cannot be fetched ({type(error).__name__})"
            ) from None

    async def _follow(self, address: str) -> bytes:
        # A pool for each: a kept connection would be one whose address nobody checked again.
        network = CheckedNetwork(self._allowed)
        async with httpcore.AsyncConnectionPool(
            ssl_context=self._certificates, network_backend=network
        ) as pool:
            for _ in range(_MOST_REDIRECTS + 1):
                content = await self._get(pool, address)
                if isinstance(content, bytes):
                    return content
                address = content
        raise MediaAccessError(f"{shorten(address)} is redirected too often")

    async def _get(self, pool: httpcore.AsyncConnectionPool, address: str) -> bytes | str:
        """What lies there, or the address where it has gone."""
        parts = _checked(address)
        headers = {"user-agent": "unisono", "accept": "*/*", "accept-encoding": "identity"}
        headers["host"] = parts.netloc
        url = httpcore.URL(
            scheme=parts.scheme,
            host=parts.hostname or "",
            port=parts.port,
            target=(parts.path or "/") + (f"?{parts.query}" if parts.query else ""),
        )
        async with pool.stream("GET", url, headers=list(headers.items())) as answer:
            given = {key.lower(): value for key, value in answer.headers}
            if answer.status in _REDIRECTS and b"location" in given:
                return urljoin(address, given[b"location"].decode("latin-1"))
            if answer.status != 200:
                raise MediaAccessError(f"{shorten(address)} answers with {answer.status}")
            return await self._read(answer, given, address)

    async def _read(
        self, answer: httpcore.Response, headers: dict[bytes, bytes], address: str
    ) -> bytes:
        if headers.get(b"content-encoding", b"identity") != b"identity":
            raise MediaAccessError(f"{shorten(address)} comes compressed; that is not unpacked")
        most, content = self._settings.max_request_bytes, bytearray()
        announced = headers.get(b"content-length", b"0")
        if announced.isdigit() and len(announced) < 20 and int(announced) > most:
            raise MediaTooLargeError(f"{shorten(address)} has more than {most:,} bytes")
        async for piece in answer.aiter_stream():
            content += piece
            if len(content) > most:
                raise MediaTooLargeError(f"{shorten(address)} has more than {most:,} bytes")
        return bytes(content)


def _checked(address: str) -> SplitResult:
    """An address that may be asked for, taken apart."""
    try:
        if not _PLAIN.fullmatch(address) or len(address) > _LONGEST_ADDRESS or "\\" in address:
            raise ValueError("it has characters that an address must not have")
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.port == 0:
            raise ValueError("it must begin with http:// or https:// and a host")
        if "@" in parts.netloc:
            raise ValueError("names and passwords are not sent")
    except ValueError as error:
        raise MediaAccessError(f"{shorten(address)} is not fetched: {error}") from None
    return parts
