"""How a server ends: nothing is broken off while there is time, and nobody waits in vain."""

import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from served import Served, launched
from toy_server import SAYS
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

TESTS = Path(__file__).parents[1]
LONG_S = 120.0
"""For what takes a second on a machine that does nothing else."""


@pytest.fixture(autouse=True)
def modules(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the toy imports."""
    path = os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH"))))
    monkeypatch.setenv("PYTHONPATH", path)


@contextmanager
def toy(place: Path, *, step: float, drain: float) -> Iterator[Served]:
    command = [sys.executable, str(Path(__file__).with_name("toy_server.py"))]
    options = ["--step", str(step), "--drain", str(drain)]
    with launched(place, [*command, *options]) as served:
        yield served


def asking(**more: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": "Count."}], **more}


def url(served: Served) -> str:
    return f"{served.url}/v1/chat/completions"


def whole(served: Served) -> str:
    answer = httpx.post(url(served), json=asking(), timeout=LONG_S)
    answer.raise_for_status()
    return str(answer.json()["choices"][0]["message"]["content"])


def text_of(events: list[str]) -> str:
    told = [json.loads(line[6:]) for line in events if line != "data: [DONE]"]
    return "".join(c["delta"].get("content") or "" for one in told for c in one["choices"])


@contextmanager
def socket_of(served: Served) -> Iterator[ClientConnection]:
    address = served.url.replace("http", "ws") + "/v1/realtime"
    with connect(address, open_timeout=LONG_S, close_timeout=LONG_S) as connection:
        assert json.loads(connection.recv(LONG_S))["type"] == "session.created"
        yield connection


def rest_of(connection: ClientConnection) -> tuple[list[dict[str, object]], int]:
    """All that is said until the other side closes, and its code."""
    said: list[dict[str, object]] = []

    def listen() -> None:
        while True:
            said.append(json.loads(connection.recv(LONG_S)))

    with pytest.raises(ConnectionClosed) as closed:
        listen()
    assert closed.value.rcvd is not None
    return said, closed.value.rcvd.code


def ask(connection: ClientConnection) -> None:
    text = {"type": "input_text", "text": "Count."}
    item = {"type": "message", "role": "user", "content": [text]}
    session = {"type": "realtime", "output_modalities": ["text"]}
    for told in (
        {"type": "session.update", "session": session},
        {"type": "conversation.item.create", "item": item},
        {"type": "response.create"},
    ):
        connection.send(json.dumps(told))
    while json.loads(connection.recv(LONG_S))["type"] != "response.output_text.delta":
        pass


def refused(served: Served) -> httpx.Response:
    """The first answer that is none, after the signal has been noticed."""
    deadline = time.monotonic() + LONG_S
    while True:
        answer = httpx.get(f"{served.url}/health", timeout=LONG_S)
        if answer.status_code == 503:
            return answer
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_what_runs_is_let_end_and_what_comes_is_sent_away(tmp_path: Path) -> None:
    with (
        toy(tmp_path, step=0.06, drain=LONG_S) as served,
        socket_of(served) as idle,
        socket_of(served) as answering,
        ThreadPoolExecutor() as pool,
        httpx.stream("POST", url(served), json=asking(stream=True), timeout=LONG_S) as streamed,
    ):
        ask(answering)
        in_one_piece = pool.submit(whole, served)
        lines = streamed.iter_lines()
        next(lines)
        time.sleep(0.5)  # the whole one is on its way
        served.process.send_signal(signal.SIGTERM)

        answer = refused(served)
        assert answer.headers["connection"] == "close"
        assert "going down" in answer.json()["error"]["message"]
        assert httpx.post(url(served), json=asking(), timeout=LONG_S).status_code == 503
        with pytest.raises(InvalidStatus) as sent_away, socket_of(served):
            pass
        assert sent_away.value.response.status_code == 503

        said, code = rest_of(idle)
        assert [one["type"] for one in said] == ["error"]
        assert code == 1012
        assert served.process.poll() is None  # the others still speak
        events = [line for line in lines if line]
        assert events[-1] == "data: [DONE]"
        assert text_of(events) == SAYS
        assert in_one_piece.result() == SAYS
        said, code = rest_of(answering)
        done = next(one["response"] for one in said if one["type"] == "response.done")
        assert done["status"] == "completed"  # type: ignore[index]
        assert [one["type"] for one in said][-1] == "error"
        assert code == 1012
        assert served.process.wait(LONG_S) == 0


@pytest.mark.slow
@pytest.mark.parametrize("twice", [False, True])
def test_when_the_time_is_over_streams_have_a_last_event(tmp_path: Path, twice: bool) -> None:
    """The time of the settings; or at once, at a second signal."""
    with (
        toy(tmp_path, step=2.0, drain=LONG_S if twice else 0.5) as served,
        socket_of(served) as answering,
        httpx.stream("POST", url(served), json=asking(stream=True), timeout=LONG_S) as streamed,
    ):
        ask(answering)
        lines = streamed.iter_lines()
        next(lines)
        began = time.monotonic()
        served.process.send_signal(signal.SIGTERM)
        if twice:
            refused(served)
            served.process.send_signal(signal.SIGTERM)
        events = [line for line in lines if line]
        error = json.loads(events[-1][6:])["error"]
        assert error["type"] == "server_error"
        assert "going down" in error["message"]
        said, code = rest_of(answering)
        done = next(one["response"] for one in said if one["type"] == "response.done")
        assert done["status"] == "failed"  # type: ignore[index]
        assert code == 1012
        assert served.process.wait(LONG_S) == 1
        assert time.monotonic() - began < 60 * 2.0  # the whole answer
    broken = [json.loads(x) for x in served.log.read_text().splitlines() if "broken off" in x]
    assert broken[0]["running"] == 2


@pytest.mark.slow
def test_a_server_with_nothing_to_do_goes_at_once(tmp_path: Path) -> None:
    with toy(tmp_path, step=0.0, drain=LONG_S) as served:
        assert whole(served) == SAYS
        served.process.send_signal(signal.SIGINT)
        assert served.process.wait(LONG_S) == 0
