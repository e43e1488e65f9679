"""A server as a process, with a toy of a model: `toy_server.py --port N [--replicas N] …`.

It counts to 60 in words of one letter, a byte a token, each taking a given time.
"""

import argparse
import sys
import time
from functools import partial
from typing import Any

from fakes import CountingCache, FakeVoice, ScriptedEngine
from fastapi import FastAPI
from torch import Tensor

from unisono.models import OlaProcessor
from unisono.runtime import Assistant
from unisono.runtime.answer import Reader
from unisono.server import ServerSettings, make_app
from unisono.server.process import run

import tiny  # isort: skip

SAYS = "".join(f"{number % 10}" for number in range(60))


class SideBySide(ScriptedEngine):
    """Several conversations at a time: where each one is, its cache knows."""

    conversations = 8

    def read(self, embeddings: Tensor, cache: Any) -> Tensor:
        cache.prompt = cache.length + len(embeddings)
        return self._forward(len(embeddings), cache)

    def step(self, token: int, cache: Any) -> Tensor:
        return self._forward(1, cache)

    def _forward(self, count: int, cache: Any) -> Tensor:
        time.sleep(self._step_s)
        cache.length += count
        logits = self.embed(range(len(self._tokenizer)))[:, 0] * 0
        logits[self._script[cache.length - cache.prompt]] = 1.0
        return logits

    def new_cache(self) -> CountingCache:
        return CountingCache()


def talker(step_s: float, says: str = SAYS) -> Assistant:
    """Says the toy's text."""
    processor = OlaProcessor(tiny.byte_tokenizer(), tiny.ola_config())
    engine = SideBySide(says, step_s=step_s)
    return Assistant(Reader(processor, engine), make_voice=FakeVoice, name="toy")


def made(step_s: float, settings: ServerSettings, **more: Any) -> FastAPI:
    return make_app({"toy": partial(talker, step_s)}, {}, settings, **more)


def replica(step_s: float, settings: ServerSettings, spoken: Any) -> FastAPI:
    return made(step_s, settings, spoken=spoken, load_first=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int)
    parser.add_argument("--step", type=float, default=0.0)
    parser.add_argument("--drain", type=float, default=30.0)
    parser.add_argument("--replicas", type=int, default=0)
    asked = parser.parse_args()
    settings = ServerSettings(conversations=4, drain_s=asked.drain)
    if not asked.replicas:
        sys.exit(run(made(asked.step, settings), host="127.0.0.1", port=asked.port))
    from unisono.server.replicas import Cluster, serve_replicas

    cluster = Cluster(asked.replicas, cpus=0.1, drain_s=asked.drain)
    make = partial(replica, asked.step, settings)
    sys.exit(serve_replicas(make, cluster, host="127.0.0.1", port=asked.port))
