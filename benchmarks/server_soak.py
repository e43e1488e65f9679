"""Clients come and go at random: what does the server keep of them?

Part of `server_load.py --soak MINUTES`. Eight clients at a time ask over HTTP and `/v1/realtime`;
about half of them leave or cancel in the middle of something. Every few seconds the server's
memory, threads and file descriptors are noted. The first fifth of the time warms caches and
allocators; what is judged is what comes after it.
"""

import asyncio
import json
import random
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import httpx
import numpy as np
from server_process import Server, settled
from websockets.asyncio.client import connect
from websockets.exceptions import WebSocketException

CLIENTS = 8
SAMPLE_S = 5.0
WARMING = 0.2
Act = Callable[[Server, random.Random], Awaitable[None]]


async def soak(server: Server, minutes: float, *, seed: int = 0) -> dict[str, Any]:
    """Random clients for so long.

    Returns:
        The samples, what was done how often, and what is left when all have gone.
    """
    chance, done = random.Random(seed), Counter[str]()
    end = time.monotonic() + minutes * 60
    workers = [
        asyncio.create_task(_client(server, random.Random(chance.random()), end, done))
        for _ in range(CLIENTS)
    ]
    samples = await _watched(server, end)
    await asyncio.gather(*workers)
    at_rest = await settled(server, 180)
    await asyncio.sleep(6)  # connections that are kept alive for a while
    after = server.usage()
    judged = _judged(samples)
    print(f"{sum(done.values())} acts, {judged}, after {after}", file=sys.stderr)
    return {
        "minutes": minutes,
        "acts": dict(sorted(done.items())),
        "conversations_in_use_after": server.gauge("unisono_running"),
        "connections_after": server.gauge("unisono_open") - 1,
        "settled": at_rest,
        "answers_after": await _answers(server),
        "at_rest_after": after,
        **judged,
        "samples": samples,
    }


async def _watched(server: Server, end: float) -> list[dict[str, float]]:
    began, samples = time.monotonic(), []
    while time.monotonic() < end:
        await asyncio.sleep(min(SAMPLE_S, max(0.0, end - time.monotonic())))
        samples.append({"s": round(time.monotonic() - began, 1), **server.usage()})
    return samples


def _judged(samples: list[dict[str, float]]) -> dict[str, Any]:
    """After the warming: the growth, by a straight line, and the most there was."""
    kept = samples[int(len(samples) * WARMING) :]
    seconds = np.array([one["s"] for one in kept])
    found: dict[str, Any] = {}
    for name in ("rss_mb", "threads", "descriptors"):
        values = np.array([one[name] for one in kept])
        slope = float(np.polyfit(seconds, values, 1)[0]) if len(kept) > 2 else 0.0
        found[name] = {
            "first": float(values[0]),
            "last": float(values[-1]),
            "most": float(values.max()),
            "growth_per_hour": round(slope * 3600, 1),
        }
    return found


async def _answers(server: Server) -> int:
    """Whole answers to as many questions at once as clients were there."""
    async with httpx.AsyncClient(base_url=server.url, timeout=300) as client:
        asked = [client.post("/v1/chat/completions", json=_body(8)) for _ in range(CLIENTS)]
        return sum(one.status_code == 200 for one in await asyncio.gather(*asked))


async def _client(server: Server, chance: random.Random, end: float, done: Counter[str]) -> None:
    while time.monotonic() < end:
        act = chance.choice(ACTS)
        try:
            await act(server, chance)
            done[act.__name__] += 1
        except (httpx.HTTPError, WebSocketException, OSError, TimeoutError) as error:
            done[f"{act.__name__} failed: {type(error).__name__}"] += 1


def _body(tokens: int, **more: object) -> dict[str, Any]:
    message = {"role": "user", "content": "What do bees make?"}
    return {"messages": [message], "max_tokens": tokens, **more}


async def whole(server: Server, chance: random.Random) -> None:
    """Ask, and hear the end."""
    async with httpx.AsyncClient(timeout=300) as client:
        path = f"{server.url}/v1/chat/completions"
        answer = await client.post(path, json=_body(chance.randint(1, 24)))
        answer.raise_for_status()


async def stream(server: Server, chance: random.Random) -> None:
    """Read a streamed answer to its end, or leave in the middle of it."""
    lines = chance.choice((1, 3, 10, 1000))
    async with (
        httpx.AsyncClient(timeout=300) as client,
        client.stream(
            "POST", f"{server.url}/v1/chat/completions", json=_body(24, stream=True)
        ) as answer,
    ):
        answer.raise_for_status()
        async for _ in answer.aiter_lines():
            lines -= 1
            if lines < 0:
                return


async def speech(server: Server, chance: random.Random) -> None:
    """The same, spoken."""
    audio = {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "pcm16"}}
    body, lines = _body(16, stream=True, **audio), chance.choice((1, 8, 1000))
    async with (
        httpx.AsyncClient(timeout=300) as client,
        client.stream("POST", f"{server.url}/v1/chat/completions", json=body) as answer,
    ):
        answer.raise_for_status()
        async for _ in answer.aiter_lines():
            lines -= 1
            if lines < 0:
                return


async def impatient(server: Server, chance: random.Random) -> None:
    """Leave before the answer, or before the question is whole."""
    port = int(server.url.rsplit(":", 1)[1])
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    content = json.dumps(_body(500)).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(content)}"
    )
    sent = head.encode() + b"\r\nContent-Type: application/json\r\n\r\n" + content
    writer.write(sent[: chance.choice((5, len(sent) - 3, len(sent)))])
    await writer.drain()
    await asyncio.sleep(chance.random())
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()


async def realtime(server: Server, chance: random.Random) -> None:
    """Talk over a WebSocket: to the end, until cancelled, or until one leaves."""
    address = server.url.replace("http", "ws") + "/v1/realtime"
    spoken = chance.random() < 0.3
    ending = chance.choice(("drop", "close", "cancel", "done", "silent"))
    async with connect(address, open_timeout=120, close_timeout=30) as socket:
        await socket.recv()
        if ending == "silent":
            return
        text = {"type": "input_text", "text": "What do bees make?"}
        item = {"type": "message", "role": "user", "content": [text]}
        modalities = ["audio" if spoken else "text"]
        session = {"type": "realtime", "output_modalities": modalities, "max_output_tokens": 20}
        for told in (
            {"type": "session.update", "session": session},
            {"type": "conversation.item.create", "item": item},
            {"type": "response.create"},
        ):
            await socket.send(json.dumps(told))
        async with asyncio.timeout(300):
            await _until(socket, "response.created" if chance.random() < 0.5 else "delta", ending)
            if ending == "cancel":
                await socket.send(json.dumps({"type": "response.cancel"}))
            if ending in ("cancel", "done"):
                await _until(socket, "response.done", ending)
        if ending == "drop":
            socket.transport.abort()


async def _until(socket: Any, kind: str, ending: str) -> None:
    if ending == "done" and kind != "response.done":
        return
    while True:
        said = json.loads(await socket.recv())["type"]
        if said == "response.done" or kind in said:
            return


ACTS: tuple[Act, ...] = (whole, stream, stream, speech, impatient, realtime, realtime)
