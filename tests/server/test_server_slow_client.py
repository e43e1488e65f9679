"""Whoever reads slowly slows nobody else, and takes no more memory than an answer."""

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from running_server import running
from toy_server import talker

from unisono.errors import EngineError
from unisono.runtime import Assistant
from unisono.server import ServerSettings, make_app

LONG = "0123456789" * 60
"""With a kilobyte of JSON around each byte, more than a connection's buffers hold."""


@pytest.fixture(scope="module")
def app() -> object:
    settings = ServerSettings(conversations=2, max_tokens=2000)
    return make_app({"talker": lambda: talker(0.001, LONG)}, {}, settings)


@pytest.fixture(scope="module")
def port(app: object) -> Iterator[int]:
    yield from running(app)


def body(**more: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": "?"}], "stream": True, **more}


def reading_one_byte_at_a_time(port: int) -> socket.socket:
    """A connection that has asked; its buffer is as small as it may be."""
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    slow.connect(("127.0.0.1", port))
    content = json.dumps(body()).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(content)}\r\n"
    slow.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + content)
    slow.settimeout(60)
    assert slow.recv(1) == b"H"
    return slow


def ask(port: int) -> tuple[str, float]:
    """The answer, and how long it took."""
    began = time.monotonic()
    path = f"http://127.0.0.1:{port}/v1/chat/completions"
    with httpx.stream("POST", path, json=body(), timeout=120) as answer:
        lines = [line[6:] for line in answer.iter_lines() if line.startswith("data: {")]
    told = [choice["delta"] for one in lines for choice in json.loads(one)["choices"]]
    return "".join(one.get("content") or "" for one in told), time.monotonic() - began


def test_it_slows_nobody(app: object, port: int) -> None:
    """Four read a byte a second, twice as many as are worked on at a time."""
    text, alone_s = ask(port)
    assert text == LONG
    slow = [reading_one_byte_at_a_time(port) for _ in range(4)]
    jobs = app.state.unisono.jobs  # type: ignore[attr-defined]
    deadline = time.monotonic() + 120
    while jobs.busy or jobs.waiting:  # what they asked for is made, read or not
        assert time.monotonic() < deadline
        assert all(one.recv(1) for one in slow)
        time.sleep(0.5)
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(ask, [port] * 4))
    assert [text for text, _ in answers] == [LONG] * 4
    # Two at a time: each waits for one other at most, and for no slow one, of 100 KB at 1 B/s.
    assert min(seconds for _, seconds in answers) < 5 * alone_s + 5
    # The slow ones have theirs too.
    rest = b""
    while not rest.endswith(b"0\r\n\r\n"):
        piece = slow[0].recv(65536)
        assert piece
        rest += piece
    assert rest.count(b'"content":') >= len(LONG)
    for one in slow:
        one.close()


def test_whoever_reads_nothing_is_left_when_the_time_is_over() -> None:
    settings = ServerSettings(conversations=1, max_tokens=20_000, timeout_s=3)
    app = make_app({"talker": lambda: talker(0.0, LONG * 15)}, {}, settings)
    server = running(app)
    port = next(server)
    slow = reading_one_byte_at_a_time(port)
    deadline = time.monotonic() + 120
    while app.state.unisono.drain.running:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    slow.close()
    assert httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
    next(server, None)


def test_a_failed_engine_is_one_clear_error_and_the_next_answer_is_whole() -> None:
    fails = [True]

    def breaks() -> Assistant:
        made = talker(0.001, "0123456789")
        engine = made.reader.engine
        step = engine.step

        def sometimes(token: int, cache: object) -> object:
            if fails and cache.length - cache.prompt > 4:  # type: ignore[attr-defined]
                fails.clear()
                raise EngineError("the engine failed and is begun anew")
            return step(token, cache)  # type: ignore[arg-type]

        engine.step = sometimes  # type: ignore[assignment, method-assign]
        return made

    server = running(make_app({"talker": breaks}, {}, ServerSettings(conversations=2)))
    port = next(server)
    path = f"http://127.0.0.1:{port}/v1/chat/completions"
    lines = [x for x in httpx.post(path, json=body(), timeout=60).text.splitlines() if x]
    error = json.loads(lines[-1][6:])["error"]
    assert error["type"] == "server_error"
    assert "begun anew" in error["message"]
    assert ask(port)[0] == "0123456789"
    fails.append(True)
    failed = httpx.post(path, json=body(stream=False), timeout=60)
    assert failed.status_code == 500
    assert "begun anew" in failed.json()["error"]["message"]
    assert httpx.get(f"http://127.0.0.1:{port}/health").status_code == 200
    next(server, None)
