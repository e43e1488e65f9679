"""`unisono serve` as users have it: a process, asked over its port and watched from outside."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil


class Server:
    """A running server.

    Attributes:
        url: without a path.
        process: as psutil sees it.
    """

    def __init__(self, url: str, process: psutil.Process) -> None:
        self.url, self.process = url, process

    def usage(self) -> dict[str, float]:
        """Memory in MB, threads, and open file descriptors."""
        with self.process.oneshot():
            return {
                "rss_mb": round(self.process.memory_info().rss / 1e6, 1),
                "threads": self.process.num_threads(),
                "descriptors": self.process.num_fds(),
            }

    def gauge(self, name: str) -> float:
        """A number of `/metrics`."""
        lines = httpx.get(f"{self.url}/metrics", timeout=60).text.splitlines()
        return float(next(line.split()[-1] for line in lines if line.startswith(f"{name} ")))


@contextmanager
def serving(options: Sequence[str], *, ready_s: float = 300) -> Iterator[Server]:
    """Start it, wait until its models are loaded, and let it drain at the end."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "unisono", "serve", "--port", str(port), *options]
    with tempfile.TemporaryDirectory() as place:
        log = Path(place) / "log"
        with log.open("wb") as file:
            process = subprocess.Popen(command, stdout=file, stderr=file, env=dict(os.environ))
        try:
            url = f"http://127.0.0.1:{port}"
            _wait(url, process, time.monotonic() + ready_s, log)
            yield Server(url, psutil.Process(process.pid))
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(90)
            except subprocess.TimeoutExpired:
                process.kill()


def _wait(url: str, process: "subprocess.Popen[bytes]", deadline: float, log: Path) -> None:
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            if httpx.get(f"{url}/health").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.3)
    raise RuntimeError(f"the server does not start: {log.read_text()[-2000:]}")


async def settled(server: Server, most_s: float = 60) -> bool:
    """Wait until nothing is worked on; whether that came about."""
    deadline = time.monotonic() + most_s
    while time.monotonic() < deadline:
        busy = server.gauge("unisono_running") + server.gauge("unisono_waiting")
        if not busy and server.gauge("unisono_open") <= 1:  # this question itself
            return True
        await asyncio.sleep(0.5)
    return False
