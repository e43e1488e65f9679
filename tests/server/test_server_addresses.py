"""Which machines media are fetched from, and that nothing else is ever connected to."""

import asyncio
import ipaddress
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from unisono.errors import MediaAccessError, MediaTooLargeError
from unisono.server import ServerSettings
from unisono.server.addresses import AllowedAddresses
from unisono.server.fetch import Fetcher

HERE = ("127.0.0.0/8",)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.8.9.1", "0.0.0.0", "10.1.2.3", "172.16.0.1", "192.168.1.1"),
        *("169.254.169.254", "100.100.100.200", "168.63.129.16", "224.0.0.1", "255.255.255.255"),
        *("::1", "::", "fe80::1", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1"),
        # The same machines in IPv6's clothes: mapped, 6to4, NAT64, Teredo, compatible.
        *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "2002:7f00:1::", "2002:a9fe:a9fe::"),
        *("64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "::7f00:1"),
        "2001:0:808:808::f5ff:fffe",
    ],
)
def test_machines_that_are_not_public_are_refused(address: str) -> None:
    assert not AllowedAddresses().allows(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8"])
def test_public_machines_are_allowed(address: str) -> None:
    assert AllowedAddresses().allows(ipaddress.ip_address(address))


def test_networks_can_be_allowed() -> None:
    allowed = AllowedAddresses(["10.1.0.0/16"])
    assert allowed.allows(ipaddress.ip_address("10.1.9.9"))
    assert allowed.allows(ipaddress.ip_address("::ffff:10.1.9.9"))
    assert not allowed.allows(ipaddress.ip_address("10.2.0.1"))
    with pytest.raises(MediaAccessError, match="10.1.0.0/16"):
        AllowedAddresses(["ten"])


@dataclass
class Site:
    """A web server of this machine that counts who comes."""

    port: int = 0
    seen: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def url(self, path: str, host: str = "127.0.0.1") -> str:
        return f"http://{host}:{self.port}{path}"


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    made = Site()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            made.seen.append(self.path)
            made.headers.append(dict(self.headers))
            answer(self, made)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield made
    server.shutdown()
    server.server_close()


def answer(to: BaseHTTPRequestHandler, site: Site) -> None:
    """What the site has under each path."""
    path = to.path
    if path.startswith("/to/"):
        to.send_response(302)
        to.send_header("location", path.removeprefix("/to/"))
        to.end_headers()
    elif path == "/round":
        to.send_response(301)
        to.send_header("location", "/round")
        to.end_headers()
    elif path in ("/endless", "/slow"):
        to.send_response(200)
        to.end_headers()
        pieces = (b"x" * 10_000, 0.0) if path == "/endless" else (b"x", 0.05)
        try:
            for _ in range(10_000):
                to.wfile.write(pieces[0])
                time.sleep(pieces[1])
        except OSError:
            pass
    elif path == "/packed":
        to.send_response(200)
        to.send_header("content-encoding", "gzip")
        to.end_headers()
        to.wfile.write(b"\x1f\x8b")
    elif path == "/large":
        to.send_response(200)
        to.send_header("content-length", "999999999")
        to.end_headers()
    elif path == "/gone":
        to.send_error(404)
    else:
        to.send_response(200)
        to.end_headers()
        to.wfile.write(b"a picture")


def fetch(address: str, **settings: object) -> bytes:
    allowed = {"fetch": True, "fetch_networks": HERE, "max_request_bytes": 100_000, **settings}
    return asyncio.run(Fetcher(ServerSettings(**allowed)).fetch(address))


def test_what_is_allowed_is_fetched(site: Site) -> None:
    assert fetch(site.url("/a.png?x=1")) == b"a picture"
    assert site.seen[-1] == "/a.png?x=1"
    assert site.headers[-1]["host"] == f"127.0.0.1:{site.port}"
    assert "authorization" not in {name.lower() for name in site.headers[-1]}
    assert fetch(site.url(f"/to/{site.url('/b.png')}")) == b"a picture"


def test_nothing_is_fetched_unless_it_is_allowed(site: Site) -> None:
    before = len(site.seen)
    with pytest.raises(MediaAccessError, match="data: URL"):
        fetch(site.url("/a.png"), fetch=False)
    for host in (
        "127.0.0.1",
        "localhost",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0",
        "[::ffff:7f00:1]",
    ):
        with pytest.raises(MediaAccessError):
            fetch(site.url("/a.png", host), fetch_networks=())
    assert len(site.seen) == before


def test_every_redirect_is_checked(site: Site) -> None:
    inside = site.url("/secret").replace("127.0.0.1", "127.0.0.2")
    before = len(site.seen)
    with pytest.raises(MediaAccessError, match="not a public one"):
        fetch(site.url(f"/to/{inside}"), fetch_networks=("127.0.0.1/32",))
    assert site.seen[before:] == [f"/to/{inside}"]
    for elsewhere in ("file:///etc/passwd", "ftp://127.0.0.1/x", "http://u:p@127.0.0.1/"):
        with pytest.raises(MediaAccessError, match="not fetched"):
            fetch(site.url(f"/to/{elsewhere}"))
    with pytest.raises(MediaAccessError, match="too often"):
        fetch(site.url("/round"))


def test_a_name_that_changes_its_address_gains_nothing(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first look-up gives an allowed address, any other one this machine's own."""
    asked: list[str] = []
    real = socket.getaddrinfo

    def rebinding(host: str, *args: object, **kwargs: object) -> object:
        if host == "rebind.example":
            asked.append(host)
            address = "127.0.0.1" if len(asked) == 1 else "127.0.0.3"
            return real(address, *args, **kwargs)
        return real(host, *args, **kwargs)

    monkeypatch.setattr(socket, "getaddrinfo", rebinding)
    address = site.url("/pinned", "rebind.example")
    assert fetch(address, fetch_networks=("127.0.0.1/32",)) == b"a picture"
    assert asked == ["rebind.example"]
    assert site.headers[-1]["host"] == f"rebind.example:{site.port}"


def test_a_name_with_one_bad_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def both(host: str, port: int, *_: object) -> list[object]:
        return [
            (socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port))
            for address in ("8.8.8.8", "10.0.0.1")
        ]

    monkeypatch.setattr(socket, "getaddrinfo", both)
    with pytest.raises(MediaAccessError, match="not a public one"):
        fetch("http://both.example/")


def test_size_and_time_are_limited(site: Site) -> None:
    for path in ("/endless", "/large"):
        with pytest.raises(MediaTooLargeError):
            fetch(site.url(path))
    began = time.monotonic()
    with pytest.raises(MediaAccessError, match=r"more than 0\.3 s"):
        fetch(site.url("/slow"), fetch_timeout_s=0.3)
    assert time.monotonic() - began < 5
    with pytest.raises(MediaAccessError, match="compressed"):
        fetch(site.url("/packed"))
    with pytest.raises(MediaAccessError, match="404"):
        fetch(site.url("/gone"))


@pytest.mark.parametrize(
    "address",
    [
        "http://",
        "http://exa mple/",
        "http://example/\r\nx: y",
        "http://exämple/",
        "http://[::1",
        "http://example:99999/",
        "http://example:0/",
        "http://user:pass@example/",
        "http://127.0.0.1\\@example/",
        "gopher://example/",
        "http://" + "a" * 5000,
    ],
)
def test_addresses_that_make_no_sense(address: str) -> None:
    with pytest.raises(MediaAccessError):
        fetch(address)
