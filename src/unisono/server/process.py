"""The server as a process: from its start to an end that breaks nothing off.

The first SIGTERM or SIGINT drains: the port stays open, new requests get 503 with
`Connection: close` so that a balancer sends them elsewhere, answers under way end, and the process
exits with 0. At a second signal, or when the time is over, what still runs is told so as its last
event, and the process exits with 1.
"""

import asyncio
import logging
import os
import ssl
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import uvicorn
from fastapi import FastAPI

from unisono.errors import UnisonoError
from unisono.server.logs import configuration, event
from unisono.server.state import State

_MOST_CONNECTIONS = 1000
_LAST_WORDS_S = 2.0
"""For the last events of what is broken off to reach their readers."""
_CLOSING_S = 3
"""For connections to be closed when nothing runs on them any more."""
_AT_MOST_S = 10.0
"""From breaking off to the end, whatever a thread of some library may still be doing."""
_BROKEN_OFF, _NOT_STARTED = 1, 3


@dataclass(frozen=True)
class Tls:
    """For `https://`: browsers give a page from another machine no microphone without it.

    Attributes:
        certificate: PEM file with the certificate and those that vouch for it.
        key: PEM file of its private key.
    """

    certificate: Path
    key: Path

    def check(self) -> None:
        """Both can be read, and belong together.

        Raises:
            UnisonoError: they cannot, or do not.
        """
        try:
            ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(
                self.certificate, self.key
            )
        except OSError as error:  # ssl's errors are such
            raise UnisonoError(
                f"the certificate '{self.certificate}' and the key '{self.key}' cannot be used: "
                f"{error.strerror or error}"
            ) from None


def run(app: FastAPI, *, host: str, port: int, tls: Tls | None = None) -> int:
    """Serve until SIGTERM or SIGINT. For the main thread.

    Args:
        app: of `make_app`.
        host, port: where the requests come in.
        tls: encrypt them.

    Returns:
        The exit status: 0 if every answer was let end.
    """
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        timeout_graceful_shutdown=_CLOSING_S,
        limit_concurrency=_MOST_CONNECTIONS,
        access_log=False,
        log_config=configuration(),
        ssl_certfile=None if tls is None else tls.certificate,
        ssl_keyfile=None if tls is None else tls.key,
    )
    server = DrainingServer(config, app.state.unisono)
    server.run()
    if server.broke_off:
        _end_now()  # a model's thread may be in the middle of something
    return 0 if server.started else _NOT_STARTED


class DrainingServer(uvicorn.Server):
    """uvicorn's, with an end of our own; see the module.

    Attributes:
        broke_off: whether something was not let end.
    """

    def __init__(self, config: uvicorn.Config, state: State) -> None:
        super().__init__(config)
        self._state = state
        self._signals = 0
        self._deadline = 0.0
        self.broke_off = False

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """In the place of uvicorn's, which would stop listening and end by the signal itself."""
        self._signals += 1

    async def on_tick(self, counter: int) -> bool:
        """Ten times a second: whether it is time to go."""
        drain = self._state.drain
        if self._signals and not drain.going:
            self._deadline = time.monotonic() + self._state.settings.drain_s
            event(logging.INFO, "draining", running=drain.running)
            drain.begin()
        if await super().on_tick(counter) or drain.over:
            return True
        if drain.going and (self._signals > 1 or time.monotonic() > self._deadline):
            await self._break_off()
            return True
        return False

    async def _break_off(self) -> None:
        self.broke_off = True
        drain = self._state.drain
        event(logging.WARNING, "broken off", running=drain.running)
        watch = threading.Timer(_AT_MOST_S, _end_now)
        watch.daemon = True
        watch.start()
        self._state.jobs.break_off()
        end = time.monotonic() + _LAST_WORDS_S
        while drain.running and time.monotonic() < end:
            await asyncio.sleep(0.05)


def _end_now() -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(_BROKEN_OFF)
