"""The queue between the event loop and the models."""

import asyncio
import threading
import time
from collections.abc import Callable, Generator

import pytest

from unisono.errors import EngineError
from unisono.server.jobs import BusyError, GoingDownError, JobQueue, LateError

Make = Callable[[], Generator[int, None, None]]


@pytest.fixture
def jobs() -> Generator[JobQueue, None, None]:
    queue = JobQueue(max_waiting=4, timeout_s=5)
    yield queue
    queue.close()


def counting(count: int, *, closed: list[int] | None = None) -> Make:
    def make() -> Generator[int, None, None]:
        number = 0
        try:
            for number in range(count):
                time.sleep(0.005)
                yield number
        finally:
            if closed is not None:
                closed.append(number)

    return make


async def taken(jobs: JobQueue, make: Make, client: str = "") -> list[int]:
    return [item async for item in jobs.run(make, client=client)]


def test_items_come_in_order(jobs: JobQueue) -> None:
    assert asyncio.run(taken(jobs, counting(20))) == list(range(20))


def test_whoever_leaves_stops_the_work_within_one_item(jobs: JobQueue) -> None:
    closed: list[int] = []

    async def leave() -> None:
        items = jobs.run(counting(1000, closed=closed))
        async for item in items:
            if item == 3:
                break
        await items.aclose()

    asyncio.run(leave())
    assert asyncio.run(taken(jobs, counting(1))) == [0]
    assert closed
    assert closed[0] <= 6


def test_clients_take_turns(jobs: JobQueue) -> None:
    order: list[str] = []
    gate = threading.Event()

    def job(name: str) -> Make:
        def make() -> Generator[int, None, None]:
            gate.wait(5)
            order.append(name)
            yield 0

        return make

    async def all_at_once() -> None:
        work = [asyncio.create_task(taken(jobs, job("first"), "x"))]
        await asyncio.sleep(0.05)
        for client, name in (("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1")):
            work.append(asyncio.create_task(taken(jobs, job(name), client)))
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        gate.set()
        await asyncio.gather(*work)

    asyncio.run(all_at_once())
    assert order == ["first", "a1", "b1", "a2", "a3"]


def test_too_many_are_refused(jobs: JobQueue) -> None:
    async def crowd() -> list[object]:
        work = [taken(jobs, counting(20)) for _ in range(9)]
        return await asyncio.gather(*work, return_exceptions=True)

    results = asyncio.run(crowd())
    refused = [one for one in results if isinstance(one, BusyError)]
    assert 3 <= len(refused) <= 5
    assert all(one == list(range(20)) for one in results if not isinstance(one, BusyError))


def test_errors_reach_the_asker_and_not_the_thread(jobs: JobQueue) -> None:
    def broken() -> Generator[int, None, None]:
        yield 1
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        asyncio.run(taken(jobs, broken))
    assert asyncio.run(taken(jobs, counting(2))) == [0, 1]


def test_the_time_is_limited() -> None:
    queue = JobQueue(max_waiting=4, timeout_s=0.1)
    closed: list[int] = []
    with pytest.raises(LateError):
        asyncio.run(taken(queue, counting(1000, closed=closed)))
    queue.close()
    assert closed
    assert closed[0] < 100


def test_a_reader_who_stops_does_not_outlive_the_time() -> None:
    """The time counts wherever the items are asked for: streams change tasks."""
    queue = JobQueue(max_waiting=4, timeout_s=0.2)

    async def read() -> None:
        items = queue.run(counting(1000))
        await asyncio.create_task(anext(items))  # type: ignore[arg-type]
        async for _ in items:
            pass

    with pytest.raises(LateError):
        asyncio.run(read())
    queue.close()


def test_what_nobody_reads_is_bounded() -> None:
    queue = JobQueue(max_waiting=4, timeout_s=60, max_unread=10)
    made: list[int] = []

    def endless() -> Generator[int, None, None]:
        for number in range(10**6):
            made.append(number)
            time.sleep(0.001)  # the event loop carries items to the reader
            yield number

    async def read_one_and_sleep() -> list[int]:
        items = queue.run(endless)
        first = await anext(items)
        while queue.busy:
            await asyncio.sleep(0.01)
        with pytest.raises(LateError, match="not read"):
            async for _ in items:
                pass
        return [first]

    assert asyncio.run(read_one_and_sleep()) == [0]
    assert len(made) < 100
    queue.close()


def test_whatever_ends_a_job_the_thread_goes_on(jobs: JobQueue) -> None:
    def exits() -> Generator[int, None, None]:
        yield 1
        raise SystemExit(3)

    with pytest.raises(EngineError, match="SystemExit"):
        asyncio.run(taken(jobs, exits))
    assert jobs.alive
    assert asyncio.run(taken(jobs, counting(2))) == [0, 1]


def test_breaking_off_is_told_at_once_to_those_that_run_and_wait() -> None:
    queue = JobQueue(max_waiting=4, timeout_s=60)
    gate = threading.Event()

    def stuck() -> Generator[int, None, None]:
        gate.wait(60)
        yield 1

    async def both() -> list[object]:
        work = [asyncio.create_task(taken(queue, stuck)) for _ in range(2)]
        while not (queue.busy and queue.waiting):
            await asyncio.sleep(0.01)
        queue.break_off()
        found = await asyncio.gather(*work, return_exceptions=True)
        assert not gate.is_set()
        return found  # type: ignore[return-value]

    assert [type(one) for one in asyncio.run(both())] == [GoingDownError] * 2
    with pytest.raises(GoingDownError):
        asyncio.run(taken(queue, counting(1)))
    gate.set()
    queue.close()
