"""What can be asked for; one file a subject."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from typing import Any, TypeVar

from fastapi import HTTPException, Request

from unisono.server.intake import Intake
from unisono.server.state import State

T = TypeVar("T")
_CLIENT_LEFT = 499
"""As nginx calls it: nobody is there to read the status, but the log is."""


def state_of(request: Request) -> State:
    """The server's state."""
    state: State = request.app.state.unisono
    return state


def intake_of(request: Request) -> Intake:
    """The server's door for media."""
    intake: Intake = request.app.state.intake
    return intake


def client_of(request: Request) -> str:
    """Who asks: by key, or else by address."""
    key = request.headers.get("authorization", "")
    return key or (request.client.host if request.client else "")


async def closing(items: AsyncIterator[T]) -> AsyncGenerator[T, None]:
    """The items of a job, which ends with this iterator and not when it is next cleaned up."""
    try:
        async for item in items:
            yield item
    finally:
        if isinstance(items, AsyncGenerator):
            await items.aclose()


async def last(items: AsyncIterator[T]) -> T:
    """The last item of a job.

    Raises:
        HTTPException: it had none.
    """
    found: list[T] = []
    async for item in closing(items):
        found[:] = [item]
    if not found:
        raise HTTPException(503, "the work was broken off")
    return found[0]


async def unless_left(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """The result of some work, which is stopped when whoever asked for it leaves.

    Streams need no such thing: the server closes them when nobody reads them any more.

    Args:
        request: whose body was read to its end.
        work: made for it.

    Raises:
        HTTPException: nobody is there any more.
    """
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(_left(request))
    try:
        await asyncio.wait((working, leaving), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise HTTPException(_CLIENT_LEFT, "whoever asked has left")
        return await working
    finally:
        for one in (working, leaving):
            one.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
