"""Signals to a server of replicas, with a Ray that does nothing."""

import os
import signal
import sys
from collections.abc import Callable, Iterator
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from unisono.server import replicas
from unisono.server.replicas import Cluster, Notice, serve_replicas


class Actor:
    """What Ray makes of a class: each method has a `remote`, and here its result at once."""

    def __init__(self, kind: type) -> None:
        self.inner = kind()

    def __getattr__(self, name: str) -> SimpleNamespace:
        return SimpleNamespace(remote=getattr(self.inner, name))


class Fake(ModuleType):
    """Ray, and Ray Serve, whose start is a given function."""

    def __init__(self, start: Callable[[], None]) -> None:
        super().__init__("ray")
        self.actors: dict[type, Actor] = {}
        self.exceptions = SimpleNamespace(RayError=RuntimeError)
        self.over = False
        self.serve = SimpleNamespace(
            start=lambda **_: None,
            run=lambda *_, **__: start(),
            shutdown=self.end,
            ingress=lambda _: lambda kind: kind,
            deployment=lambda **_: lambda _: SimpleNamespace(bind=lambda: None),
        )

    def is_initialized(self) -> bool:
        return True

    def shutdown(self) -> None:
        assert self.over

    def end(self) -> None:
        self.over = True

    def get(self, result: Any) -> Any:
        return result

    def remote(self, kind: type) -> Any:
        actor = self.actors.setdefault(kind, Actor(kind))
        return SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda: actor))


@pytest.fixture(autouse=True)
def handlers(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """As Ray leaves them: SIGTERM ends the program."""
    kept = {one: signal.getsignal(one) for one in (signal.SIGTERM, signal.SIGINT)}
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    monkeypatch.setattr(replicas, "_LAST_BYTES_S", 0.0)
    yield
    for one, handler in kept.items():
        signal.signal(one, handler)


def served(monkeypatch: pytest.MonkeyPatch, start: Callable[[], None]) -> tuple[int, Fake]:
    ray = Fake(start)
    monkeypatch.setitem(sys.modules, "ray", ray)
    cluster = Cluster(replicas=0, drain_s=5.0)
    return serve_replicas(lambda _: None, cluster, host="", port=0), ray  # type: ignore[arg-type, return-value]


def told_to_go() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def test_a_signal_while_replicas_start_lets_answers_end(monkeypatch: pytest.MonkeyPatch) -> None:
    status, ray = served(monkeypatch, told_to_go)
    assert status == 0
    assert ray.actors[Notice].inner.report("one", 0) is True  # they were told
    assert ray.over


def test_a_second_one_interrupts_the_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def start() -> None:
        told_to_go()
        told_to_go()
        raise AssertionError("nobody interrupted")

    with pytest.raises(KeyboardInterrupt):
        served(monkeypatch, start)
