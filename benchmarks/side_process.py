"""One side of a comparison in a process of its own, which sleeps while others are measured.

The worker is a script that reads its options from the command line, says that it is ready, and
answers each line of JSON with one.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any


class SideProcess:
    """A worker and the pipes to it."""

    def __init__(self, worker: Path, side: str, **options: Any) -> None:
        """Start the worker and wait until it has loaded its model."""
        self.side = side
        asked = json.dumps({"side": side, **options}, default=str)
        self.process = subprocess.Popen(
            [sys.executable, str(worker), asked],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._read()

    def ask(self, asked: Any) -> dict[str, Any]:
        """Send a request; the answer.

        Raises:
            RuntimeError: the process ended.
        """
        print(json.dumps(asked, default=str), file=self.process.stdin, flush=True)
        return self._read()

    def kill(self) -> None:
        self.process.kill()

    def _read(self) -> dict[str, Any]:
        line = self.process.stdout.readline() if self.process.stdout else ""
        if not line:
            raise RuntimeError(f"{self.side!r} ended with status {self.process.wait()}")
        found: dict[str, Any] = json.loads(line)
        return found
