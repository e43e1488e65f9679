"""Model work beside the event loop: a few threads, a bounded queue that is fair between clients.

A job is a generator. Its items reach whoever asked as they come; when nobody listens any more, or
the time is over, the generator is closed, which stops the model within one token. A slow reader
slows nobody: items wait for it here, up to a number that no answer has.
"""

import asyncio
import threading
import time
import traceback
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable, Generator
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from unisono.errors import EngineError, UnisonoError

T = TypeVar("T")
_END = object()


class BusyError(UnisonoError):
    """Too many requests wait."""


class LateError(UnisonoError):
    """A request took too long."""


class GoingDownError(UnisonoError):
    """The server ends before the request does."""


@dataclass(eq=False)
class _Job:
    make: Callable[[], Generator[Any, None, None]]
    loop: asyncio.AbstractEventLoop
    deadline: float  # of time.monotonic()
    items: "asyncio.Queue[Any]" = field(default_factory=asyncio.Queue)
    cancelled: threading.Event = field(default_factory=threading.Event)

    def tell(self, item: object) -> None:
        try:
            self.loop.call_soon_threadsafe(self.items.put_nowait, item)
        except RuntimeError:  # the loop has ended, and nobody listens
            self.cancelled.set()

    async def next_item(self) -> object:
        """What comes next; errors of the job are items too."""
        left_s = self.deadline - time.monotonic()
        try:
            # For each item alone: whoever iterates may do so from one task after the other.
            async with asyncio.timeout(max(0.0, left_s)):
                return await self.items.get()
        except TimeoutError:
            return LateError("the request took more time than it may")


class JobQueue:
    """See the module.

    Attributes:
        max_waiting: jobs beyond those that run.
        timeout_s: from a job's arrival to its end.
        max_unread: items that may wait for a slow reader; a job that makes more is ended.
    """

    def __init__(
        self, *, max_waiting: int, timeout_s: float, workers: int = 1, max_unread: int = 8192
    ) -> None:
        self.max_waiting, self.timeout_s, self.max_unread = max_waiting, timeout_s, max_unread
        self._waiting: OrderedDict[str, deque[_Job]] = OrderedDict()
        self._changed = threading.Condition()
        self._closed = False
        self._running: set[_Job] = set()
        self._threads = [
            threading.Thread(target=self._work, name=f"model {number}", daemon=True)
            for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Jobs that have not begun."""
        with self._changed:
            return sum(len(jobs) for jobs in self._waiting.values())

    @property
    def busy(self) -> int:
        """Jobs that are worked on."""
        with self._changed:
            return len(self._running)

    @property
    def alive(self) -> bool:
        """Whether jobs are still worked on."""
        return all(thread.is_alive() for thread in self._threads)

    async def run(
        self, make: Callable[[], Generator[T, None, None]], *, client: str = ""
    ) -> AsyncIterator[T]:
        """The items of a job, as they come.

        Args:
            make: makes the generator, in the model's thread.
            client: who asks; clients take turns.

        Raises:
            BusyError: too many jobs wait.
            LateError: the time is over; or the items were not read.
            GoingDownError: the server ends.
            Exception: whatever the job raises.
        """
        deadline = time.monotonic() + self.timeout_s
        job = _Job(make, asyncio.get_running_loop(), deadline)
        self._add(job, client)
        try:
            while (item := await job.next_item()) is not _END:
                if isinstance(item, BaseException):
                    raise item
                yield cast("T", item)
        finally:
            job.cancelled.set()

    def break_off(self) -> None:
        """Stop all jobs, within one token; whoever waits for one is told so at once."""
        with self._changed:
            self._closed = True
            for job in (*self._running, *(one for some in self._waiting.values() for one in some)):
                job.tell(GoingDownError("the server is going down"))
                job.cancelled.set()
            self._waiting.clear()
            self._changed.notify_all()

    def close(self, patience_s: float = 10.0) -> None:
        """Stop all jobs and end the threads, unless they take longer than that."""
        self.break_off()
        end = time.monotonic() + patience_s
        for thread in self._threads:
            thread.join(timeout=max(0.0, end - time.monotonic()))

    def _add(self, job: _Job, client: str) -> None:
        with self._changed:
            if self._closed:
                raise GoingDownError("the server is going down")
            if sum(map(len, self._waiting.values())) >= self.max_waiting:
                raise BusyError("too many requests are waiting; try again later")
            self._waiting.setdefault(client, deque()).append(job)
            self._changed.notify()

    def _next(self) -> _Job | None:
        """The first job of the client whose turn it is; None at the end."""
        with self._changed:
            while not self._waiting and not self._closed:
                self._changed.wait()
            if self._closed:
                return None
            client, jobs = self._waiting.popitem(last=False)
            job = jobs.popleft()
            if jobs:
                self._waiting[client] = jobs  # to the end of the line
            self._running.add(job)
            return job

    def _work(self) -> None:
        while (job := self._next()) is not None:
            if not job.cancelled.is_set():
                self._do(job)
            with self._changed:
                self._running.discard(job)

    def _do(self, job: _Job) -> None:
        try:
            items = job.make()
            try:
                for item in items:
                    if job.cancelled.is_set() or self._too_late(job):
                        break
                    job.tell(item)
            finally:
                items.close()
            job.tell(_END)
        except Exception as error:
            # Where it happened is told; what the model held there is let go now.
            traceback.clear_frames(error.__traceback__)
            job.tell(error)
        except BaseException as error:  # would end the thread, and nobody would work any more
            job.tell(EngineError(f"the work was broken off by {type(error).__name__}"))

    def _too_late(self, job: _Job) -> bool:
        """Whether nobody is going to read what the job makes."""
        if time.monotonic() > job.deadline:
            job.tell(LateError(f"the request took more than {self.timeout_s:g} s"))
        elif job.items.qsize() >= self.max_unread:
            job.tell(LateError("the answer was not read"))
        else:
            return False
        return True
