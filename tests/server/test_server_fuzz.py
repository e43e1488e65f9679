"""Whatever is sent, the server answers, is well afterwards, and keeps no memory."""

import gc
import json
import os
from collections import Counter
from collections.abc import Iterator

import hypothesis
import psutil
import pytest
import schemathesis
import torch
from fake_embedder import COLOURS, FakeEmbedder
from fakes import FakeListener, FakeVoice, ScriptedEngine
from fastapi.testclient import TestClient
from malformed import malformed
from PIL import Image

from unisono.models import OlaProcessor
from unisono.retrieval import Library
from unisono.runtime import Assistant
from unisono.runtime.answer import Reader
from unisono.server import ServerSettings, make_app

import tiny  # isort: skip


class SureEngine(ScriptedEngine):
    """Says its text at every temperature."""

    def _forward(self, count: int, cache: object) -> torch.Tensor:
        logits = super()._forward(count, cache)
        return logits.masked_fill(logits == 0, float("-inf"))


def hearing() -> Assistant:
    config = tiny.ola_config()
    config.hearing = "listener"
    return Assistant(
        Reader(OlaProcessor(tiny.byte_tokenizer(), config), SureEngine("Yes.")),
        make_voice=FakeVoice,
        make_listener=lambda: FakeListener("what was heard"),
        name="scripted",
    )


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("media")
    for name, colour in COLOURS.items():
        Image.new("RGB", (8, 8), colour).save(folder / f"{name}.png")
    uri = str(folder / "library")
    Library(uri, FakeEmbedder()).index([folder])
    settings = ServerSettings(library=uri, media_folders=(str(folder),))
    app = make_app({"talker": hearing}, {"vectors": FakeEmbedder}, settings)
    with TestClient(app, raise_server_exceptions=False) as one:
        yield one


def send(client: TestClient, number: int) -> int:
    """The status of a malformed request's answer; one that is no answer fails the test."""
    asked = malformed(number)
    answer = client.request(asked.method, asked.path, content=asked.content, headers=asked.headers)
    assert answer.status_code < 500, f"request {number}: {answer.status_code} {answer.text[:500]}"
    if answer.status_code >= 400:
        assert json.loads(answer.content)["error"]["message"]
    return answer.status_code


def is_well(client: TestClient) -> None:
    """It is healthy, holds nothing, and answers a good question."""
    assert client.get("/health").json() == {"status": "ok", "waiting": 0}
    asked = {"messages": [{"role": "user", "content": "Hello?"}]}
    answer = client.post("/v1/chat/completions", json=asked).json()
    assert answer["choices"][0]["message"]["content"] == "Yes."
    sent = {"file": ("a.png", b"no sound")}
    assert client.post("/v1/audio/transcriptions", files=sent).status_code == 400


def test_two_hundred_malformed_requests(client: TestClient) -> None:
    statuses = Counter(send(client, number) for number in range(200))
    is_well(client)
    # Some are well formed by chance; most must be refused, or the fuzz is none.
    assert sum(count for status, count in statuses.items() if status >= 400) > 100
    assert {200, 400} <= set(statuses)


@pytest.mark.slow
def test_five_thousand_malformed_requests_leave_no_memory(client: TestClient) -> None:
    """After the first thousand, which fill caches, four thousand more add next to nothing."""
    for number in range(1000):
        send(client, number)
    before = resident_mb()
    for number in range(1000, 5000):
        send(client, number)
    is_well(client)
    grown = resident_mb() - before
    print(f"4,000 malformed requests: {before:.0f} MB before, {grown:+.1f} MB after")
    assert grown < 30


def resident_mb() -> float:
    gc.collect()
    return float(psutil.Process(os.getpid()).memory_info().rss) / 2**20


def ask_what_the_document_allows(client: TestClient, examples: int) -> Counter[int]:
    """The statuses of what schemathesis makes of every operation in the OpenAPI document."""
    schema = schemathesis.openapi.from_asgi("/openapi.json", client.app)
    statuses: Counter[int] = Counter()
    for result in schema.get_all_operations():
        operation = result.ok()

        @hypothesis.settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[hypothesis.Phase.generate],
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        @hypothesis.given(case=operation.as_strategy())
        def ask(case: schemathesis.Case) -> None:
            answer = case.call(session=client)
            statuses[answer.status_code] += 1
            assert answer.status_code < 500, answer.text[:500]

        ask()
    return statuses


def test_what_the_document_allows_makes_no_500(client: TestClient) -> None:
    statuses = ask_what_the_document_allows(client, examples=8)
    is_well(client)
    assert statuses[200] >= 6
    assert statuses.total() >= 50


@pytest.mark.slow
def test_much_of_what_the_document_allows_makes_no_500(client: TestClient) -> None:
    statuses = ask_what_the_document_allows(client, examples=500)
    is_well(client)
    print(f"answers by status: {dict(statuses)}")
    assert statuses[200] >= 60


def test_the_document_names_every_route(client: TestClient) -> None:
    paths = client.get("/openapi.json").json()["paths"]
    assert {
        "/v1/chat/completions",
        "/v1/embeddings",
        "/v1/audio/transcriptions",
        "/v1/audio/speech",
        "/v1/search",
        "/v1/models",
        "/health",
        "/metrics",
    } <= set(paths)
    assert client.get("/docs").status_code == 404  # a page that would load from other hosts
