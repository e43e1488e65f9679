"""Around every request: who may ask, how much they may send, what is counted and written down.

Plain ASGI, so that answers stream through untouched. Keys and contents are never logged.
"""

import asyncio
import json
import logging
import time
import uuid
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unisono.server.drain import GOING_DOWN, Drain
from unisono.server.jobs import JobQueue
from unisono.server.keys import refusal
from unisono.server.logs import event, fault
from unisono.server.page_files import page_files
from unisono.server.settings import ServerSettings
from unisono.server.wire.errors import body

_OPEN = frozenset({"/health"})
_LONGEST_NUMBER = 18


class Metrics:
    """What Prometheus is told."""

    def __init__(self, jobs: JobQueue, drain: Drain) -> None:
        self.registry = CollectorRegistry()
        labels = ("path", "status")
        self.requests = Counter("unisono_requests", "Answers.", labels, registry=self.registry)
        self.seconds = Histogram(
            "unisono_request_seconds", "Until an answer ends.", ("path",), registry=self.registry
        )
        waiting = Gauge("unisono_waiting", "Requests that wait.", registry=self.registry)
        waiting.set_function(lambda: float(jobs.waiting))
        running = Gauge("unisono_running", "Requests that models work on.", registry=self.registry)
        running.set_function(lambda: float(jobs.busy))
        opened = Gauge("unisono_open", "Requests and connections.", registry=self.registry)
        opened.set_function(lambda: float(drain.running))


class Guards:
    """ASGI middleware; see the module."""

    def __init__(
        self, app: ASGIApp, settings: ServerSettings, metrics: Metrics, drain: Drain
    ) -> None:
        self._app, self._settings, self._metrics, self._drain = app, settings, metrics, drain
        self._held = Held(settings.max_bytes_at_once)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] == "websocket":
            await self._socket(scope, receive, send)
        elif scope["type"] == "http":
            await self._request(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _socket(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {key.lower(): value for key, value in scope["headers"]}
        if refused := refusal(headers, self._settings, "WEBSOCKET"):
            event(logging.INFO, "refused", status=refused[0], path="websocket")
            # Before it is accepted, this is the answer 403.
            await send({"type": "websocket.close", "code": 1008, "reason": refused[1]})
            return
        if self._drain.going:
            await _refuse_socket(scope, send)
            return
        with self._drain.counted():
            await self._app(scope, receive, send)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        call = _Call(scope, self._settings, self._held, send, receive)
        if self._drain.going:
            await call.answer(503, GOING_DOWN)
            self._note(call)
            return
        with self._drain.counted():
            await self._guarded(call)

    async def _guarded(self, call: "_Call") -> None:
        try:
            if refused := call.refusal():
                await call.answer(*refused)
            else:
                await self._app(call.scope, call.receive, call.send)
        except Exception as error:
            event(logging.ERROR, "failed", request=call.name, path=call.path, **fault(error))
            if call.status:
                raise  # the answer has begun: only breaking it off says that it is not whole
            await call.answer(500, f"the server failed; in its log this is request {call.name}")
        finally:
            self._held.release(call.bytes_in)
            self._note(call)

    def _note(self, call: "_Call") -> None:
        seconds = time.perf_counter() - call.began
        self._metrics.requests.labels(call.path, str(call.status)).inc()
        self._metrics.seconds.labels(call.path).observe(seconds)
        event(
            logging.INFO,
            "request",
            request=call.name,
            method=call.method,
            path=call.path,
            status=call.status,
            seconds=round(seconds, 3),
            bytes_in=call.bytes_in,
            bytes_out=call.bytes_out,
        )


class Held:
    """How many bytes of bodies are in memory, of all requests together."""

    def __init__(self, most: int) -> None:
        self.most, self.now = most, 0

    def take(self, count: int) -> bool:
        """Count some in, even if they are too many: then it is False."""
        self.now += count
        return self.now <= self.most

    def release(self, count: int) -> None:
        """Count them out."""
        self.now -= count


class _Call:
    """One request on its way."""

    def __init__(
        self, scope: Scope, settings: ServerSettings, held: Held, send: Send, receive: Receive
    ) -> None:
        self.scope, self._settings, self._held = scope, settings, held
        self._send, self._receive = send, receive
        self.name, self.began = uuid.uuid4().hex, time.perf_counter()
        self.status = self.bytes_in = self.bytes_out = 0
        self._complete = False
        self._headers = {key.lower(): value for key, value in scope["headers"]}

    @property
    def method(self) -> str:
        """The method, if it is a known one: others are as long as somebody likes."""
        method: str = self.scope["method"]
        return method if len(method) <= len("OPTIONS") else "other"

    @property
    def path(self) -> str:
        """The route's own path: paths that somebody made up would be as many metrics."""
        route: Any = self.scope.get("route")
        return getattr(route, "path", "other")

    def refusal(self) -> tuple[int, str] | None:
        """Status and words, for requests that go no further."""
        guarded = not _is_open(self.scope["path"]) and self.scope["method"] != "OPTIONS"
        if guarded and (refused := refusal(self._headers, self._settings, self.scope["method"])):
            return refused
        announced = self._headers.get(b"content-length", b"0")
        if not announced.isdigit():
            return 400, "content-length must be a number"
        if len(announced) > _LONGEST_NUMBER or int(announced) > self._settings.max_request_bytes:
            return 413, self.too_large()
        if self._held.now + int(announced) > self._held.most:
            return 503, "the server holds as much as it can; try again later"
        return None

    def too_large(self) -> str:
        return f"the request has more than {self._settings.max_request_bytes:,} bytes"

    async def answer(self, status: int, words: str) -> None:
        """An error, in JSON."""
        content = json.dumps(body(words, status)).encode()
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        await self.send({"type": "http.response.start", "status": status, "headers": headers})
        await self.send({"type": "http.response.body", "body": content})

    async def receive(self) -> Message:
        message = await self._next()
        count = len(message.get("body", b""))
        self.bytes_in += count
        room = self._held.take(count)
        # FastAPI lets these pass where it would call others a bad request.
        if self.bytes_in > self._settings.max_request_bytes:
            raise HTTPException(413, self.too_large())
        if not room:
            raise HTTPException(503, "the server holds as much as it can; try again later")
        self._complete = not message.get("more_body", False)
        return message

    async def _next(self) -> Message:
        """What comes next; the body must come in time, and what is after it may take its own."""
        if self._complete:
            return await self._receive()
        left_s = self.began + self._settings.upload_timeout_s - time.perf_counter()
        try:
            async with asyncio.timeout(max(0.0, left_s)):
                return await self._receive()
        except TimeoutError:
            raise HTTPException(408, "the request's body took too long") from None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message.setdefault("headers", [])
            message["headers"] = [*message["headers"], (b"x-request-id", self.name.encode())]
        self.bytes_out += len(message.get("body", b""))
        # It waits while the client's connection is full: whoever reads nothing holds no memory.
        async with asyncio.timeout(self._settings.timeout_s):
            await self._send(message)


async def _refuse_socket(scope: Scope, send: Send) -> None:
    """To go elsewhere: as 503, where the server can say that, else as 403."""
    if "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1012, "reason": GOING_DOWN})
        return
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    start = {"type": "websocket.http.response.start", "status": 503, "headers": headers}
    await send(start)
    content = json.dumps(body(GOING_DOWN, 503)).encode()
    await send({"type": "websocket.http.response.body", "body": content})


def _is_open(path: str) -> bool:
    """Whether no key is needed: the page is where people write theirs."""
    return path in _OPEN or path in page_files()
