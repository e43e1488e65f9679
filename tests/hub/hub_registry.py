"""A small package registry on localhost that can be told to misbehave, and tiny packages for it."""

import base64
import gzip
import hashlib
import io
import json
import lzma
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Registry:
    """Serves `files` (path -> bytes or a function that makes them) and notes every request."""

    files: dict[str, bytes | Callable[[], bytes]] = field(default_factory=dict)
    content_types: dict[str, str] = field(default_factory=dict)
    requests: list[tuple[str, str | None]] = field(default_factory=list)  # path, Range
    authorizations: list[str | None] = field(default_factory=list)
    ranges: bool = True
    cut_after: dict[str, list[int]] = field(default_factory=dict)  # path -> bytes, one a request
    delay_s: dict[str, float] = field(default_factory=dict)  # path -> pause a kilobyte
    wrong_range: bool = False

    def start(self) -> None:
        registry = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.answer(self)

            def do_HEAD(self) -> None:
                """What the Hugging Face client asks before it fetches."""
                content = registry.files.get(self.path)
                self.send_response(200 if isinstance(content, bytes) else 404)
                if isinstance(content, bytes):
                    self.send_header("Content-Length", str(len(content)))
                    self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                    self.send_header("X-Repo-Commit", "c" * 40)
                else:
                    self.send_header("X-Error-Code", "EntryNotFound")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True
        )
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_port}"

    @property
    def url(self) -> str:
        return f"http://{self.host}"

    def count(self, ending: str) -> int:
        return sum(path.endswith(ending) for path, _ in self.requests)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        path = handler.path
        wanted = handler.headers.get("Range")
        self.requests.append((path, wanted))
        self.authorizations.append(handler.headers.get("Authorization"))
        content = self.files.get(path)
        if content is None:
            handler.send_error(404)
            return
        body = content() if callable(content) else content
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted and self.ranges else 0
        if start and start >= len(body):
            handler.send_response(416)
            handler.send_header("Content-Range", f"bytes */{len(body)}")
            handler.send_header("Content-Length", "0")
            handler.end_headers()
            return
        handler.send_response(206 if start else 200)
        if start:
            begins = start + 1 if self.wrong_range else start
            handler.send_header("Content-Range", f"bytes {begins}-{len(body) - 1}/{len(body)}")
        handler.send_header("Content-Length", str(len(body) - start))
        handler.send_header("Content-Type", self.content_types.get(path, "text/html"))
        handler.end_headers()
        cuts = self.cut_after.get(path, [])
        self._send(handler, body[start:], cuts.pop(0) if cuts else None)

    def _send(self, handler: BaseHTTPRequestHandler, body: bytes, cut: int | None) -> None:
        body = body if cut is None else body[:cut]
        pause = self.delay_s.get(handler.path, 0)
        try:
            for at in range(0, len(body), 1024 if pause else 1 << 20):
                handler.wfile.write(body[at : at + (1024 if pause else 1 << 20)])
                time.sleep(pause)
        except OSError:  # the client was killed, which is what some tests are about
            pass
        handler.close_connection = True

    # --- packages ---------------------------------------------------------------------------

    def add_wheel(
        self, name: str, members: dict[str, bytes], *, version: str = "1.0", **options: object
    ) -> str:
        """A wheel and its index page; returns the wheel's path on this server."""
        content = zip_bytes(members)
        wheel = (
            f"/files/{name.replace('-', '_')}-{version}-{options.get('tag', 'py3-none-any')}.whl"
        )
        self.files[wheel] = content
        digest = str(options.get("sha256", hashlib.sha256(content).hexdigest()))
        page = f"/simple/{name}/"
        if options.get("html"):
            link = f'<a href="../..{wheel}#sha256={digest}">wheel</a>'
            self.files[page] = f"<!DOCTYPE html><html><body>{link}</body></html>".encode()
        else:
            entry = {"filename": wheel.rpartition("/")[2], "url": f"../..{wheel}"}
            hashes = {"sha256": digest} if digest else {}
            self.files[page] = json.dumps({"files": [entry | {"hashes": hashes}]}).encode()
            self.content_types[page] = "application/vnd.pypi.simple.v1+json"
        return wheel

    def add_npm(self, name: str, version: str, members: dict[str, bytes]) -> bytes:
        content = gzip.compress(tar_bytes(members))
        path = f"/{name}/-/{name.rpartition('/')[2]}-{version}.tgz"
        self.files[path] = content
        integrity = base64.b64encode(hashlib.sha512(content).digest()).decode()
        description = {"dist": {"tarball": self.url + path, "integrity": f"sha512-{integrity}"}}
        self.files[f"/{name.replace('/', '%2F')}/{version}"] = json.dumps(description).encode()
        return content

    def add_deb(self, pool_path: str, members: dict[str, bytes], packing: str = ".xz") -> bytes:
        content = deb_bytes(members, packing)
        self.files[f"/debian/{pool_path}"] = content
        return content


def zip_bytes(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def tar_bytes(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return buffer.getvalue()


def ar_bytes(members: list[tuple[str, bytes, str]]) -> bytes:
    """Members as (name, content, size as written in the header)."""
    archive = b"!<arch>\n"
    for name, content, size in members:
        header = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{size:<10}`\n".encode()
        archive += header + content + b"\n" * (len(content) % 2)
    return archive


def deb_bytes(members: dict[str, bytes], packing: str = ".xz") -> bytes:
    pack = {"": bytes, ".gz": gzip.compress, ".xz": lzma.compress}[packing]
    data = pack(tar_bytes(members))
    parts = [("debian-binary", b"2.0\n"), ("control.tar.gz", b"odd"), (f"data.tar{packing}", data)]
    return ar_bytes([(name, content, str(len(content))) for name, content in parts])
