"""Pages and archives over HTTP: one try a host, resume after a cut, nothing half-done passed on.

Knows URLs and the folder downloads arrive in. Knows no package formats and no final places:
an archive here is a means, the catalog's sha256 is checked later on what comes out of it.

An archive arrives as `<key>.partial` and is renamed when complete and, where a digest was
given, verified; so a complete name is a complete file, and a `.partial` can be resumed.
"""

import hashlib
import os
import re
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import url2pathname

import certifi
import httpx

from unisono.errors import ChecksumError, DownloadError
from unisono.hub.progress import Progress
from unisono.hub.verify import CHUNK_BYTES

# One try, no retries: three silent hosts, one after the other, must not take ten seconds.
CONNECT_TIMEOUT_S = 3.0
READ_TIMEOUT_S = 30.0
PAGE_LIMIT_BYTES = 64 << 20
# A connection that is cut after it brought something is taken up again this often.
RESUMES = 3


@dataclass(frozen=True)
class Digest:
    """What an index says an archive's hash is."""

    algorithm: str
    hexadecimal: str


@dataclass(frozen=True)
class Page:
    """A small document: an index page, a package's metadata."""

    content: bytes
    content_type: str
    url: str


def hide_credentials(text: str) -> str:
    """The text with `user:password@` taken out of every URL in it."""
    return re.sub(r"(?<=:)//[^/\s]*@", "//", text)


def split_credentials(url: str) -> tuple[str, tuple[str, str] | None]:
    """The URL without user and password, and these two, if it has them."""
    pieces = urlsplit(url)
    userinfo, at, host = pieces.netloc.rpartition("@")
    if not at:
        return url, None
    user, _, password = userinfo.partition(":")
    return urlunsplit(pieces._replace(netloc=host)), (unquote(user), unquote(password))


def with_credentials_of(url: str, index: str) -> str:
    """`url` with the user and password of `index`, if both are on the same host."""
    pieces, given = urlsplit(url), urlsplit(index)
    userinfo, at, host = given.netloc.rpartition("@")
    if not at or (pieces.scheme, pieces.netloc) != (given.scheme, host):
        return url
    return urlunsplit(pieces._replace(netloc=f"{userinfo}@{host}"))


def trusted_certificates() -> ssl.SSLContext:
    """The system's certificates, certifi's, and those of PIP_CERT and SSL_CERT_FILE.

    Raises:
        DownloadError: PIP_CERT or SSL_CERT_FILE names no certificate file.
    """
    context = ssl.create_default_context()
    context.load_verify_locations(certifi.where())
    for variable in ("PIP_CERT", "SSL_CERT_FILE"):
        if named := os.environ.get(variable):
            folder = os.path.isdir(named)
            try:
                context.load_verify_locations(
                    cafile=None if folder else named, capath=named if folder else None
                )
            except OSError as error:
                raise DownloadError(
                    f"{variable} is '{named}', which holds no certificates ({error})"
                ) from error
    return context


class Transfer:
    """Downloads into one folder; a context manager that closes its connections.

    Faults of a source are `DownloadError`s or `ChecksumError`s whose message is the reason
    only; the caller knows which file and source they belong to. Faults of the disk are
    `OSError`s.
    """

    def __init__(self, folder: Path, progress: Progress) -> None:
        self.folder = folder
        self._progress = progress
        self._silent_hosts: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if "_client" in self.__dict__:
            self._client.close()

    @cached_property
    def _client(self) -> httpx.Client:
        # Made on first use: reading 150 certificates takes as long as a small local fetch.
        return httpx.Client(
            verify=trusted_certificates(),
            follow_redirects=True,
            timeout=httpx.Timeout(READ_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            # What arrives must be the file's own bytes, or no resume and no size would fit.
            headers={"Accept-Encoding": "identity", "User-Agent": "unisono"},
        )

    def page(self, url: str, accept: str = "*/*") -> Page:
        """Fetch a small document from an http, https or file URL.

        Raises:
            DownloadError: the host is silent, refuses, or sends far too much.
        """
        if url.startswith("file:"):
            return _local_page(url)
        content = bytearray()
        with self._answer(url, {"Accept": accept}) as response:
            _raise_for_status(response)
            for chunk in response.iter_bytes(CHUNK_BYTES):
                content += chunk
                if len(content) > PAGE_LIMIT_BYTES:
                    raise DownloadError(f"{_host(url)} sends a page without end")
            return Page(bytes(content), response.headers.get("content-type", ""), str(response.url))

    def archive(self, url: str, digest: Digest | None = None) -> Path:
        """Fetch a file of any size; resumes what an earlier try left.

        Returns:
            The complete file, in this transfer's folder (or in place, for a file URL).

        Raises:
            DownloadError: the host is silent, refuses or keeps hanging up.
            ChecksumError: the bytes are not those of `digest`; they are deleted.
        """
        if url.startswith("file:"):
            return _local_archive(url, digest)
        self.folder.mkdir(parents=True, exist_ok=True)
        complete = self.folder / _key(url)
        if complete.exists():
            return complete
        partial = complete.with_name(f"{complete.name}.partial")
        resumed = partial.exists()
        self._receive(url, partial)
        if digest and not _matches(partial, digest):
            partial.unlink()
            if resumed:  # the old half may have been of another file: once more, all of it
                return self.archive(url, digest)
            raise ChecksumError(f"{_host(url)} sends other bytes than its own index says")
        partial.rename(complete)
        return complete

    def knock(self, url: str) -> None:
        """See that a host answers at all, whatever it answers.

        Raises:
            DownloadError: it does not.
        """
        with self._answer(url, {}):
            pass

    def discard_archives(self) -> None:
        """Delete complete archives: what came out of them was wrong."""
        for path in self.folder.glob("*"):
            if path.is_file() and not path.name.endswith(".partial"):
                path.unlink()

    def _receive(self, url: str, partial: Path) -> None:
        """Bring `partial` to its full length, going on where a connection was cut."""
        for _ in range(RESUMES + 1):
            before = _size(partial)
            try:
                return self._receive_once(url, partial, before)
            except DownloadError:
                if _size(partial) <= before:  # nothing came: the next try would be the same
                    raise
        raise DownloadError(f"{_host(url)} keeps cutting the connection")

    def _receive_once(self, url: str, partial: Path, offset: int) -> None:
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        with self._answer(url, headers) as response:
            if response.headers.get("content-range") == f"bytes */{offset}":
                return  # nothing lies behind `offset`: it was complete already
            fits = not offset or _continues(response, offset)
            if fits:
                _raise_for_status(response)
                resumes = response.status_code == httpx.codes.PARTIAL_CONTENT
                self._write(response, partial, offset if resumes else 0)
        if not fits:
            partial.unlink()
            self._receive_once(url, partial, 0)

    def _write(self, response: httpx.Response, partial: Path, offset: int) -> None:
        length = response.headers.get("content-length", "")
        total = offset + int(length) if length.isdigit() else None
        self._progress.start(_name(str(response.url)), total, offset)
        try:
            with partial.open("ab" if offset else "wb") as stream:
                # As it comes: gathered into larger pieces, a cut would lose what was gathered.
                for chunk in response.iter_raw():
                    stream.write(chunk)
                    self._progress.advance(len(chunk))
        finally:
            self._progress.finish()

    @contextmanager
    def _answer(self, url: str, headers: dict[str, str]) -> Iterator[httpx.Response]:
        """Open a response; network faults become reasons, a silent host is asked only once."""
        host = _host(url)
        # A firewall may stop http and let https pass: the two are asked separately.
        door = f"{urlsplit(url).scheme}://{host}"
        if door in self._silent_hosts:
            raise DownloadError(self._silent_hosts[door])
        address, credentials = split_credentials(url)
        try:
            with self._client.stream("GET", address, headers=headers, auth=credentials) as response:
                yield response
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            reason = f"no connection to {host} ({str(error) or 'timed out'})"
            self._silent_hosts[door] = reason
            raise DownloadError(reason) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            why = str(error) or type(error).__name__
            raise DownloadError(f"the connection to {host} broke ({why})") from error


def _continues(response: httpx.Response, offset: int) -> bool:
    """Whether the answer to a `Range` request can be used.

    Yes for the rest of the file, and for all of it from a server that knows no ranges; no for
    another piece, or when the server's file is shorter than the half that is here.
    """
    if response.status_code == httpx.codes.PARTIAL_CONTENT:
        content_range: str = response.headers.get("content-range", "")
        return content_range.startswith(f"bytes {offset}-")
    return response.status_code != httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE


def _raise_for_status(response: httpx.Response) -> None:
    if not response.is_success:
        raise DownloadError(
            f"{response.url.host} answers {response.status_code} {response.reason_phrase}".strip()
        )


def _matches(path: Path, digest: Digest) -> bool:
    with path.open("rb") as stream:
        found = hashlib.file_digest(stream, digest.algorithm).hexdigest()
    return found == digest.hexadecimal.lower()


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _host(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2] or url


def _name(url: str) -> str:
    return unquote(urlsplit(url).path).rpartition("/")[2]


def _key(url: str) -> str:
    """A file name for a URL; not its own last component, which a server may choose freely."""
    safe_name = re.sub(r"[^A-Za-z0-9._+-]", "_", _name(url))[-80:]
    address, _ = split_credentials(url)
    return f"{hashlib.sha256(address.encode()).hexdigest()[:16]}-{safe_name}"


def _local_archive(url: str, digest: Digest | None) -> Path:
    path = Path(url2pathname(urlsplit(url).path))
    if not path.is_file():
        raise DownloadError(f"there is no file '{path}'")
    if digest and not _matches(path, digest):
        raise ChecksumError(f"'{path}' has other bytes than its own index says")
    return path


def _local_page(url: str) -> Page:
    """An index kept in a folder: its page is `index.html`."""
    folder = Path(url2pathname(urlsplit(url).path))
    path = folder / "index.html" if folder.is_dir() else folder
    if not path.is_file():
        raise DownloadError(f"there is no file '{path}'")
    base = url if url.endswith("/") or not folder.is_dir() else f"{url}/"
    return Page(path.read_bytes(), "text/html", base)
