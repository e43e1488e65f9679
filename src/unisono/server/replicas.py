"""The same server several times, on the cores or machines of a Ray cluster, behind one address.

Ray Serve sends each request to a replica that has little to do, asks all of them whether they are
well, and starts another one in the place of one that is not. A replica is the whole application
(`make_app`): its own models, queue and limits. What they share are the answers that were spoken.
"""

import logging.config
import signal
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from fastapi import FastAPI

from unisono.errors import MissingExtraError, UnisonoError
from unisono.server.logs import configuration
from unisono.server.spoken import Spoken, SpokenAnswers

_NAME = "unisono"
_SPOKEN = "unisono-spoken"
_NOTICE = "unisono-notice"
_AT_ONCE = 1000
"""Requests that a replica takes: its own queue refuses what is too much."""
_CLOSING_S = 5.0
"""For a replica to end that has nothing to do any more: it has drained before."""
_LAST_BYTES_S = 1.0
"""For what takes requests to pass on the ends of answers that the replicas have made."""
_HEALTH_EVERY_S = 1.0
_QUIET = {"enable_access_log": False, "log_level": "WARNING"}
_PATIENCE = {
    "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
    "RAY_SERVE_PROXY_HEALTH_CHECK_TIMEOUT_S": "60",
}
"""Where models load on all cores, what takes requests is slow to start, and is no less well."""

MakeApp = Callable[[Spoken], FastAPI]


@dataclass(frozen=True)
class Cluster:
    """Where replicas run.

    Attributes:
        replicas: how many.
        address: of a Ray cluster ("auto", "ray://host:10001"); None starts one on this machine.
        cpus, gpus: that each replica is given; it waits until they are free.
        drain_s: that answers under way may take when the server is told to go.
    """

    replicas: int = 2
    address: str | None = None
    cpus: float = 1.0
    gpus: float = 0.0
    drain_s: float = 30.0


def serve_replicas(make: MakeApp, cluster: Cluster, *, host: str, port: int) -> int:
    """Serve until SIGTERM or SIGINT; then let what runs end, and go. For the main thread.

    A second signal ends at once. One that comes before all replicas are there lets them come first:
    the earliest may be answering already.

    Args:
        make: makes the application, in each replica; it is pickled.
        cluster: where.
        host, port: where the requests come in.

    Returns:
        The exit status: 0 if every answer was let end.

    Raises:
        MissingExtraError: Ray Serve is not installed.
        UnisonoError: the cluster cannot be reached, or the replicas do not start.
    """
    try:
        import ray
        from ray import serve
    except ImportError as error:
        raise MissingExtraError("ray[serve]", "ray") from error

    _connect(ray, cluster)
    signals = _Signals()  # before anything is asked for: Ray's own handler would break that off
    try:
        serve.start(
            http_options={"host": host, "port": port},
            logging_config=_QUIET,
        )
        answers, notice = _actor(ray, SpokenAnswers, _SPOKEN), _actor(ray, Notice, _NOTICE)
        serve.run(_application(make, answers, notice, cluster), name=_NAME, route_prefix="/")
        signals.starting = False
        signals.wait(1)
        return 0 if _drained(notice, cluster, signals) else 1
    except (RuntimeError, ray.exceptions.RayError) as error:
        raise UnisonoError(f"the replicas do not start: {_first_line(error)}") from error
    finally:
        serve.shutdown()
        ray.shutdown()


class _Signals:
    """How many came; to be made when Ray has started: it installs handlers of its own.

    Attributes:
        starting: whether the second one interrupts, because nobody waits for it yet.
    """

    def __init__(self) -> None:
        self.count = 0
        self.starting = True
        for one in (signal.SIGTERM, signal.SIGINT):
            signal.signal(one, self._note)

    def _note(self, *_: object) -> None:
        self.count += 1
        if self.starting and self.count > 1:
            raise KeyboardInterrupt

    def wait(self, count: int, timeout_s: float | None = None) -> bool:
        """Until so many came, or the time is over; whether they came."""
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while self.count < count and (end is None or time.monotonic() < end):
            time.sleep(0.1)
        return self.count >= count


class Notice:
    """An actor: what the replicas are told, and what they still have to do."""

    def __init__(self) -> None:
        self._going = False
        self._running: dict[str, int] = {}

    def go(self) -> None:
        """Tell every replica that asks to take no new work."""
        self._going = True

    def report(self, replica: str, running: int) -> bool:
        """What a replica has to do; whether it is to go."""
        if self._going:
            self._running[replica] = running
        return self._going

    def running(self) -> list[int]:
        """What each replica that knows of it still has to do."""
        return list(self._running.values())


def _drained(notice: Any, cluster: Cluster, signals: _Signals) -> bool:
    """Let the replicas end what runs; whether they did in time, and before a second signal."""
    _get(notice.go.remote())
    end = time.monotonic() + cluster.drain_s
    while time.monotonic() < end:
        running = _get(notice.running.remote())
        if len(running) >= cluster.replicas and not any(running):
            time.sleep(_LAST_BYTES_S)
            return True
        if signals.wait(2, timeout_s=0.3):
            break
    return False


class SharedAnswers:
    """Spoken answers, in an actor that all replicas ask."""

    def __init__(self, actor: Any) -> None:
        self._actor = actor

    def keep(self, name: str, text: str) -> None:
        """Remember one; it is there for every replica when this returns."""
        _get(self._actor.keep.remote(name, text))

    def find(self, names: Iterable[str]) -> dict[str, str]:
        """The texts of those that are still remembered."""
        wanted = list(names)
        found: dict[str, str] = _get(self._actor.find.remote(wanted)) if wanted else {}
        return found


def _get(reference: Any) -> Any:
    import ray

    return ray.get(reference)


def _connect(ray: Any, cluster: Cluster) -> None:
    if ray.is_initialized():
        return
    try:
        ray.init(
            address=cluster.address,
            include_dashboard=False,
            log_to_driver=True,
            runtime_env={"env_vars": _PATIENCE},
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise UnisonoError(f"the Ray cluster cannot be reached: {error}") from None


def _actor(ray: Any, kind: type, name: str) -> Any:
    actor = ray.remote(kind)
    return actor.options(name=name, get_if_exists=True, num_cpus=0, max_restarts=-1).remote()


def _application(make: MakeApp, answers: Any, notice: Any, cluster: Cluster) -> Any:
    from ray import serve

    def build() -> FastAPI:
        logging.config.dictConfig(configuration())
        app = make(SharedAnswers(answers))
        app.state.notice, app.state.name = notice, uuid.uuid4().hex
        return app

    deployment = serve.deployment(
        name="replica",
        num_replicas=cluster.replicas,
        max_ongoing_requests=_AT_ONCE,
        ray_actor_options={"num_cpus": cluster.cpus, "num_gpus": cluster.gpus},
        health_check_period_s=_HEALTH_EVERY_S,
        graceful_shutdown_timeout_s=_CLOSING_S,
        logging_config=_QUIET,
    )
    return deployment(serve.ingress(build)(_Replica)).bind()


class _Replica:
    """What Ray Serve asks a replica besides its requests."""

    app: FastAPI

    async def check_health(self) -> None:
        """Raise if this replica should be replaced; also, learn whether all are to go."""
        state = self.app.state.unisono
        if not state.jobs.alive:
            raise RuntimeError("the model's thread has ended")
        if await self.app.state.notice.report.remote(self.app.state.name, state.drain.running):
            state.drain.begin()


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1][:300] if lines else type(error).__name__
