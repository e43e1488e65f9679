"""Replicas through Ray Serve, with a toy of a model: one that dies is replaced, all drain.

Both are asked of the same two replicas, one after the other: to start them takes most of the time.
Nothing here is bound by short times: a crowded machine takes minutes for what takes seconds.
"""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import psutil
import pytest
from served import Served, launched
from toy_server import SAYS

pytestmark = pytest.mark.slow
TESTS = Path(__file__).parents[1]
LONG_S = 300.0
ASKED = {"messages": [{"role": "user", "content": "Count."}]}


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    pytest.importorskip("ray.serve")
    command = [sys.executable, str(Path(__file__).with_name("toy_server.py"))]
    options = ["--step", "0.1", "--replicas", "2", "--drain", str(LONG_S)]
    place = tmp_path_factory.mktemp("replicas")
    with pytest.MonkeyPatch.context() as patch:
        # What the toy imports, in the replicas too.
        path = os.pathsep.join(filter(None, (str(TESTS), os.environ.get("PYTHONPATH"))))
        patch.setenv("PYTHONPATH", path)
        with launched(place, [*command, *options], ready_s=LONG_S) as served:
            until(lambda: len(replicas(served)) == 2)
            yield served


def replicas(served: Served) -> set[int]:
    """Processes that hold models: descendants of the server that call themselves so."""
    found = set()
    for one in psutil.Process(served.process.pid).children(recursive=True):
        try:
            if "ServeReplica" in " ".join(one.cmdline()):
                found.add(one.pid)
        except psutil.Error:
            pass  # it has just ended
    return found


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def ask(served: Served) -> str:
    """The answer; asked again while replicas come and go, as clients do."""
    said = ""

    def answered() -> bool:
        nonlocal said
        try:
            path = f"{served.url}/v1/chat/completions"
            answer = httpx.post(path, json=ASKED, timeout=LONG_S)
        except httpx.TransportError:
            return False
        if answer.status_code < 500:
            answer.raise_for_status()
            said = answer.json()["choices"][0]["message"]["content"]
        return bool(said)

    until(answered)
    return said


def takes_nothing_new(served: Served) -> bool:
    """It says so, or has gone: on a crowded machine, before it could be asked."""
    try:
        return httpx.get(f"{served.url}/health", timeout=LONG_S).status_code == 503
    except httpx.TransportError:
        return True


def test_a_killed_replica_is_replaced(two: Served) -> None:
    said: list[str] = []
    enough = threading.Event()

    def go_on_asking() -> None:
        while not enough.is_set():
            said.append(ask(two))

    askers = [threading.Thread(target=go_on_asking) for _ in range(4)]
    for one in askers:
        one.start()
    until(lambda: len(said) >= 4)
    before = replicas(two)
    victim = before.pop()
    os.kill(victim, signal.SIGKILL)  # in the middle of some of their answers
    until(lambda: len(replicas(two) - {victim}) == 2)
    at_least = len(said) + 8
    until(lambda: len(said) >= at_least)
    enough.set()
    for one in askers:
        one.join(LONG_S)
        assert not one.is_alive()
    assert set(said) == {SAYS}
    assert replicas(two) > before  # the other one has lived on
    until(lambda: httpx.get(f"{two.url}/health", timeout=LONG_S).status_code == 200)


def test_replicas_drain(two: Served) -> None:
    """The last one: nothing is left after it."""
    asked = {**ASKED, "stream": True}
    with httpx.stream(
        "POST", f"{two.url}/v1/chat/completions", json=asked, timeout=LONG_S
    ) as answer:
        lines = answer.iter_lines()
        next(lines)
        two.process.send_signal(signal.SIGTERM)
        until(lambda: takes_nothing_new(two))
        rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert sum('"content":' in line for line in rest) >= len(SAYS) - 2
    assert two.process.wait(LONG_S) == 0
