"""A server in a thread of its own, on a free port."""

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import uvicorn


def running(app: Any) -> Iterator[int]:
    """The port, while it runs; for a fixture."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = uvicorn.Server(uvicorn.Config(app, port=port, log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    deadline = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    yield port
    server.should_exit = True
    thread.join()
