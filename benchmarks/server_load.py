"""How does a server bear several who talk to it at the same time?

    python benchmarks/server_load.py [--json-out docs/results/server_load.json]
    python benchmarks/server_load.py --soak 30 [--json-out docs/results/server_soak.json]

A real `unisono serve` answers streamed chats, greedy, from 1, 4 and 16 clients at a time, in text
and then in speech. Each question names a thing of its own. The answers of one client alone are the
record: every answer given beside others must begin like its own record for longer than like any
other, or at least name its thing, else it is counted as mixed up; how many are equal to the last
letter is told too, and those that are not are kept.

The rounds of the levels are interleaved, so that other work on the machine meets all of them; the
clients are in this process and cost a little of the same cores. With `--soak`, clients come and go
at random for that many minutes, and the server is watched (`server_soak.py`). Prints one JSON line;
ratios are of one run, absolute numbers of one machine.
"""

import argparse
import asyncio
import base64
import json
import statistics
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
from report import hardware, publish
from server_process import Server, serving, settled
from server_soak import soak

LEVELS = (1, 4, 16)
THINGS = [
    *("bees", "rain", "bread", "glass", "owls", "salt", "trains", "chess"),
    *("rivers", "wool", "clouds", "piano", "honey", "iron", "tea", "bridges"),
    *("maps", "snow", "clocks", "whales", "paper", "spiders", "gold", "milk"),
    *("volcanoes", "violins", "horses", "sugar", "mirrors", "ships", "moss", "candles"),
]
PCM_BYTES_PER_S = 48_000


@dataclass
class Told:
    """One answer as a client saw it; seconds from the sending of its question."""

    thing: str
    name: str = ""
    text: str = ""
    tokens: int = 0
    first_text_s: float = 0.0
    first_sound_s: float = 0.0
    total_s: float = 0.0
    sound_s: float = 0.0
    whole: bool = False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="ola-nano")
    parser.add_argument("--tokens", type=int, default=48, help="of an answer, at most")
    parser.add_argument("--rounds", type=int, default=2, help="of all questions, at each level")
    parser.add_argument("--questions", type=int, default=len(THINGS))
    parser.add_argument("--levels", type=int, nargs="+", default=LEVELS)
    parser.add_argument("--no-speech", action="store_true")
    parser.add_argument("--soak", type=float, metavar="MINUTES")
    parser.add_argument("--conversations", type=int, default=16, help="that the server decodes")
    parser.add_argument("--serve", nargs="*", default=[], help="more options, without dashes: a=b")
    parser.add_argument("--json-out", type=Path)
    asked = parser.parse_args()
    options = ["--model", asked.model, "--conversations", str(asked.conversations)]
    options += [f"--{one}" for one in asked.serve]
    with serving(options) as server:
        measured = asyncio.run(soak(server, asked.soak) if asked.soak else load(server, asked))
    name = "server_soak" if asked.soak else "server_load"
    result = {"benchmark": name, "hardware": hardware(), "options": options, **measured}
    publish(result, asked.json_out, None if asked.soak else lambda axes: draw(axes, result))


async def load(server: Server, asked: argparse.Namespace) -> dict[str, Any]:
    things = THINGS[: asked.questions]
    found: dict[str, Any] = {}
    for kind in ("text",) if asked.no_speech else ("text", "speech"):
        tokens = asked.tokens
        await level(server, things[:2], 2, tokens, kind)  # warms
        told: dict[int, list[Told]] = {one: [] for one in asked.levels}
        walls = dict.fromkeys(asked.levels, 0.0)
        for _ in range(asked.rounds):
            for clients in asked.levels:
                began = time.perf_counter()
                told[clients] += await level(server, things, clients, tokens, kind)
                walls[clients] += time.perf_counter() - began
        found[kind] = summary(told, walls)
        print_table(kind, found[kind])
    found["settled"] = await settled(server)
    return found


async def level(
    server: Server, things: list[str], clients: int, tokens: int, kind: str
) -> list[Told]:
    """Ask about all things, so many at a time."""
    turn = asyncio.Semaphore(clients)
    limits = httpx.Limits(max_connections=clients)
    async with httpx.AsyncClient(base_url=server.url, timeout=600, limits=limits) as client:

        async def one(thing: str) -> Told:
            async with turn:
                return await ask(client, thing, tokens, kind)

        return await asyncio.gather(*map(one, things))


async def ask(client: httpx.AsyncClient, thing: str, tokens: int, kind: str) -> Told:
    """One streamed answer."""
    told = Told(thing)
    body: dict[str, Any] = {
        "messages": [{"role": "user", "content": f"Tell me about {thing}."}],
        "stream": True,
        "stream_options": {"include_usage": True},
        "temperature": 0,
        "max_tokens": tokens,
    }
    if kind == "speech":
        body |= {"modalities": ["text", "audio"], "audio": {"voice": "alloy", "format": "pcm16"}}
    began = time.perf_counter()
    async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
        answer.raise_for_status()
        async for line in answer.aiter_lines():
            if line == "data: [DONE]":
                told.whole = told.tokens > 0
            elif line.startswith("data: "):
                take(told, json.loads(line[6:]), time.perf_counter() - began)
    told.total_s = time.perf_counter() - began
    return told


def take(told: Told, said: dict[str, Any], now_s: float) -> None:
    """A server-sent event."""
    told.name = said.get("id", told.name)
    told.tokens = (said.get("usage") or {}).get("completion_tokens", told.tokens)
    for choice in said.get("choices", []):
        text = choice["delta"].get("content") or ""
        sound = base64.b64decode((choice["delta"].get("audio") or {}).get("data") or "")
        told.text += text
        told.sound_s += len(sound) / PCM_BYTES_PER_S
        told.first_text_s = told.first_text_s or (now_s if text else 0.0)
        told.first_sound_s = told.first_sound_s or (now_s if sound else 0.0)


def summary(told: dict[int, list[Told]], walls: dict[int, float]) -> dict[str, Any]:
    alone = {one.thing: one.text for one in told[min(told)]}
    levels = {
        str(clients): {**speed(some, walls[clients]), **checked(some, alone)}
        for clients, some in told.items()
    }
    rates = {clients: found["tokens_per_s"] for clients, found in levels.items()}
    first = rates[str(min(told))]
    every = [one.name for some in told.values() for one in some]
    return {
        "levels": levels,
        "times_the_throughput_of_one": {k: round(v / first, 2) for k, v in rates.items()},
        "answers_of_their_own_id": len(set(every)) == len(every),
        "records_that_differ": len(set(alone.values())),
        "answers": [asdict(one) for one in told[max(told)][:4]],
        "differ_from_alone": [
            {"clients": clients, "alone": alone[one.thing], **asdict(one)}
            for clients, some in told.items()
            for one in some
            if one.text != alone[one.thing]
        ],
    }


def speed(told: list[Told], wall_s: float) -> dict[str, Any]:
    found: dict[str, Any] = {
        "answers": len(told),
        "lost": sum(not one.whole for one in told),
        "tokens_per_s": round(sum(one.tokens for one in told) / wall_s, 1),
        "tokens_per_s_of_each": round(
            statistics.median(one.tokens / one.total_s for one in told), 1
        ),
    }
    steps = ["first_text_s", "total_s"]
    if any(one.sound_s for one in told):
        steps.insert(1, "first_sound_s")
        found["sound_s_per_s"] = round(sum(one.sound_s for one in told) / wall_s, 2)
    for step in steps:
        found[step] = percentiles([getattr(one, step) for one in told])
    return found


def percentiles(values: list[float]) -> dict[str, float]:
    ordered = sorted(values)
    place = round(0.95 * (len(ordered) - 1))
    return {"p50": round(statistics.median(ordered), 3), "p95": round(ordered[place], 3)}


def checked(told: list[Told], alone: dict[str, str]) -> dict[str, Any]:
    """Whether each answer is that to its own question."""
    shares, mixed = [], 0
    for one in told:
        own = common(one.text, alone[one.thing])
        others = max((common(one.text, v) for k, v in alone.items() if k != one.thing), default=0)
        # Another first token, about as likely, makes another answer: but to the same question.
        mixed += own <= others and one.thing.rstrip("s") not in one.text.lower()
        shares.append(own / max(1, len(alone[one.thing])))
    return {
        "equal_to_alone": sum(one.text == alone[one.thing] for one in told),
        "leading_part_equal": round(statistics.mean(shares), 3),
        "mixed_up": mixed,
    }


def common(one: str, other: str) -> int:
    """Letters that both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(one), len(other)))


def print_table(kind: str, found: dict[str, Any]) -> None:
    for clients, one in found["levels"].items():
        first = one.get("first_sound_s", one["first_text_s"])
        print(
            f"{kind:7}{clients:>3} at a time: {one['tokens_per_s']:7.1f} tokens/s "
            f"({found['times_the_throughput_of_one'][clients]:.2f}x), first "
            f"{'sound' if 'first_sound_s' in one else 'text'} p50 {first['p50']:.2f} s, "
            f"p95 {first['p95']:.2f} s; equal {one['equal_to_alone']}/{one['answers']}, "
            f"mixed up {one['mixed_up']}, lost {one['lost']}",
            file=sys.stderr,
        )


def draw(axes: Any, result: dict[str, Any]) -> None:
    """Throughput of all together, by clients; the line is what each of them has."""
    levels = result["text"]["levels"]
    names = list(levels)
    axes.bar(names, [levels[one]["tokens_per_s"] for one in names], width=0.5, color="#8fa9c9")
    for place, one in enumerate(names):
        times = result["text"]["times_the_throughput_of_one"][one]
        first = levels[one]["first_text_s"]
        words = f"{times:.2f}x, first text {first['p50']:.2f} s (p95 {first['p95']:.2f} s)"
        axes.text(place, levels[one]["tokens_per_s"], words, ha="center", va="bottom")
    each = [levels[one]["tokens_per_s_of_each"] for one in names]
    axes.plot(names, each, "o-", color="#1f3a5f", label="tokens/s of each")
    axes.margins(y=0.2)
    axes.set_xlabel("streamed text chats at a time")
    axes.set_ylabel("tokens/s, all together")
    axes.legend(frameon=False)


if __name__ == "__main__":
    main()
