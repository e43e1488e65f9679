"""What surrounds the models: health, metrics, limits, search, logs."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_embedder import COLOURS, FakeEmbedder
from fakes import FakeVoice, ScriptedEngine, scripted
from fastapi.testclient import TestClient
from PIL import Image

from unisono.retrieval import Library
from unisono.server import ServerSettings, make_app


@pytest.fixture
def library(tmp_path: Path) -> str:
    for name, colour in COLOURS.items():
        Image.new("RGB", (40, 30), colour).save(tmp_path / f"{name}.png")
    Library(tmp_path / "library", FakeEmbedder()).index([tmp_path])
    return str(tmp_path / "library")


@pytest.fixture
def client(library: str) -> Iterator[TestClient]:
    settings = ServerSettings(library=library, max_request_bytes=100_000)
    app = make_app(
        {"talker": lambda: scripted(ScriptedEngine("Hello."), FakeVoice())},
        {"vectors": FakeEmbedder},
        settings,
    )
    with TestClient(app) as one:
        yield one


def test_health_and_metrics(client: TestClient) -> None:
    for _ in range(200):
        if client.get("/health").status_code == 200:
            break
    assert client.get("/health").json()["status"] == "ok"
    client.get("/v1/nothing")
    lines = client.get("/metrics").text
    assert 'unisono_requests_total{path="/health",status="200"}' in lines
    assert 'unisono_requests_total{path="other",status="404"} 1.0' in lines


def test_search(client: TestClient) -> None:
    found = client.post("/v1/search", json={"text": "red", "limit": 2}).json()["data"]
    assert Path(found[0]["path"]).name == "red.png"
    assert found[0]["thumbnail"].startswith("data:image/jpeg;base64,")
    assert len(found) == 2
    none = client.post("/v1/search", json={"text": "red", "modalities": ["audio"]})
    assert none.json()["data"] == []


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        ("/v1/search", {}, 400),
        ("/v1/search", {"image": "file:///etc/passwd"}, 400),
        ("/v1/search", {"text": "x", "modalities": ["smell"]}, 400),
        ("/v1/search", {"text": "x", "limit": 10**9}, 400),
        ("/v1/embeddings", {"input": []}, 400),
        ("/v1/embeddings", {"input": "x", "dimensions": 65}, 400),
        ("/v1/embeddings", {"input": [{"image": "!!"}]}, 400),
        ("/v1/embeddings", {"input": [{}]}, 400),
        ("/v1/audio/speech", {"input": ""}, 400),
        ("/v1/audio/speech", {"input": "x", "response_format": "midi"}, 400),
        ("/v1/chat/completions", {"messages": [{"role": "user"}], "n": 2}, 400),
        ("/v1/chat/completions", {"messages": "hello"}, 400),
        ("/v1/nothing", {}, 404),
    ],
)
def test_bad_requests(client: TestClient, path: str, content: object, status: int) -> None:
    answer = client.post(path, json=content)
    assert answer.status_code == status
    assert answer.json()["error"]["message"]


def test_bodies_are_limited_whether_they_say_their_length_or_not(client: TestClient) -> None:
    large = {"input": "x" * 200_000}
    assert client.post("/v1/embeddings", json=large).status_code == 413
    pieces = (b'{"input": "' if i == 0 else b"x" * 20_000 for i in range(10))
    answer = client.post(
        "/v1/embeddings", content=pieces, headers={"content-type": "application/json"}
    )
    assert answer.status_code == 413
    assert client.get("/v1/models").status_code == 200


def test_no_json(client: TestClient) -> None:
    answer = client.post(
        "/v1/embeddings", content=b"\xff\xfe{", headers={"content-type": "application/json"}
    )
    assert answer.status_code == 400


def test_logs_name_requests_and_keep_secrets(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, logger="unisono.server"):
        answer = client.post(
            "/v1/embeddings",
            json={"input": "my secret words"},
            headers={"authorization": "Bearer my-secret-key"},
        )
    assert answer.headers["x-request-id"] in caplog.text
    assert "secret" not in caplog.text


def test_speech_as_events(client: TestClient) -> None:
    asked = {"input": "One. Two.", "stream_format": "sse"}
    lines = client.post("/v1/audio/speech", json=asked).text.split("\n\n")
    assert sum("speech.audio.delta" in line for line in lines) >= 2
    assert "speech.audio.done" in lines[-2]


def test_pages_of_others_may_not_ask(client: TestClient) -> None:
    headers = {"origin": "https://elsewhere.example"}
    assert "access-control-allow-origin" not in client.get("/v1/models", headers=headers).headers
