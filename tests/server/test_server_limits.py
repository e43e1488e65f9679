"""Keys, origins, sizes, bombs, logs: what the server refuses, and what it writes down."""

import asyncio
import base64
import io
import json
import logging
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
import recordings
from fake_embedder import FakeEmbedder
from fakes import FakeListener, FakeVoice, ScriptedEngine
from fastapi.testclient import TestClient
from PIL import Image

from unisono.errors import MediaTooLargeError
from unisono.media import image_pixels, video_cost
from unisono.models import OlaProcessor
from unisono.runtime import Assistant
from unisono.runtime.answer import Reader
from unisono.server import ServerSettings, make_app
from unisono.server.logs import JsonLines, fault, hidden
from unisono.speech import wav_bytes

import tiny  # isort: skip

KEY = "sk-very-secret"


def hearing() -> Assistant:
    config = tiny.ola_config()
    config.hearing = "listener"
    return Assistant(
        Reader(OlaProcessor(tiny.byte_tokenizer(), config), ScriptedEngine("Yes.")),
        make_voice=FakeVoice,
        make_listener=lambda: FakeListener("what was heard"),
        name="scripted",
    )


def client(**settings: object) -> TestClient:
    app = make_app({"talker": hearing}, {"vectors": FakeEmbedder}, ServerSettings(**settings))
    return TestClient(app, raise_server_exceptions=False)


def data_url(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def asking(kind: str, url: str) -> dict[str, object]:
    part = {"type": f"{kind}_url", f"{kind}_url": {"url": url}}
    return {"messages": [{"role": "user", "content": [part, {"type": "text", "text": "?"}]}]}


def png_of_size(width: int, height: int) -> bytes:
    """A picture that says it is large, in a few bytes."""

    def block(kind: bytes, body: bytes) -> bytes:
        check = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", check)

    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    rows = zlib.compress(bytes((width + 7) // 8 + 1) * min(height, 1000), 9)
    blocks = (block(b"IHDR", head), block(b"IDAT", rows), block(b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(blocks)


@pytest.fixture(scope="module")
def keyed() -> Iterator[TestClient]:
    with client(api_keys=frozenset({KEY, "other"})) as one:
        yield one


@pytest.mark.parametrize("key", ["", "Bearer", "Bearer ", f"Bearer {KEY}x", KEY, f"Basic {KEY}"])
def test_wrong_keys(keyed: TestClient, key: str) -> None:
    for path in ("/v1/models", "/metrics", "/openapi.json", "/v1/nothing"):
        assert keyed.get(path, headers={"authorization": key}).status_code == 401


def test_right_keys(keyed: TestClient) -> None:
    for key in (f"Bearer {KEY}", f"bearer {KEY}", "Bearer other"):
        assert keyed.get("/v1/models", headers={"authorization": key}).status_code == 200
    assert keyed.get("/health").status_code in (200, 503)


def test_pages_of_other_origins_change_nothing() -> None:
    with client(cors_origins=("https://friend.example",)) as one:

        def post(origin: str) -> httpx.Response:
            return one.post("/v1/embeddings", json={"input": "x"}, headers={"origin": origin})

        assert post("https://enemy.example").status_code == 403
        assert post("null").status_code == 403
        assert post("http://testserver").status_code == 200
        friend = post("https://friend.example")
        assert friend.status_code == 200
        assert friend.headers["access-control-allow-origin"] == "https://friend.example"


def test_a_server_is_called_by_its_name() -> None:
    with client(hosts=("localhost", "127.0.0.1", "[::1]")) as one:
        for host, status in (
            ("localhost:8000", 200),
            ("127.0.0.1", 200),
            ("[::1]:80", 200),
            ("rebound.example", 421),
            ("localhost.evil.example:80", 421),
        ):
            assert one.get("/v1/models", headers={"host": host}).status_code == status


def test_bodies_together_are_limited() -> None:
    with client(max_bytes_at_once=1000) as one:
        assert one.post("/v1/embeddings", json={"input": "x" * 2000}).status_code == 503
        pieces = iter([b'{"input": "', b"x" * 2000, b'"}'])
        chunked = one.post(
            "/v1/embeddings", content=pieces, headers={"content-type": "application/json"}
        )
        assert chunked.status_code == 503
        # Nothing is counted any more when a request has ended.
        for _ in range(3):
            assert one.post("/v1/embeddings", json={"input": "x" * 700}).status_code == 200


def test_a_body_that_never_comes() -> None:
    app = make_app({}, {"vectors": FakeEmbedder}, ServerSettings(upload_timeout_s=0.2))

    async def ask() -> int:
        async def body() -> object:
            yield b'{"input": '
            await asyncio.sleep(30)

        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as one:
            headers = {"content-type": "application/json"}
            return (await one.post("/v1/embeddings", content=body(), headers=headers)).status_code

    assert asyncio.run(asyncio.wait_for(ask(), 10)) == 408


@pytest.fixture(scope="module")
def narrow() -> Iterator[TestClient]:
    with client(max_pixels=10_000, max_media_s=2.0, max_video_pixels=200_000) as one:
        yield one


def wav(seconds: float) -> bytes:
    return wav_bytes(np.zeros(round(seconds * 16_000), np.float32), 16_000)


def test_pictures_are_counted_in_pixels(narrow: TestClient) -> None:
    bomb = png_of_size(60_000, 60_000)
    assert len(bomb) < 20_000
    for picture in (bomb, png_of_size(200, 100)):
        answer = narrow.post("/v1/chat/completions", json=asking("image", data_url(picture, "x/y")))
        assert answer.status_code == 413
        assert "pixels" in answer.json()["error"]["message"]
    each = data_url(png_of_size(90, 90), "image/png")
    one, both = ({"input": [{"image": each}] * count} for count in (1, 2))
    assert narrow.post("/v1/embeddings", json=one).status_code == 200
    assert narrow.post("/v1/embeddings", json=both).status_code == 413


def test_sounds_are_counted_in_seconds(narrow: TestClient) -> None:
    """1.5 s fit; 2.5 s do not, nor do 1.5 s twice."""

    def chat(*seconds: float) -> int:
        parts = [
            {"type": "input_audio", "input_audio": {"data": base64.b64encode(wav(s)).decode()}}
            for s in seconds
        ]
        asked = {"messages": [{"role": "user", "content": parts}]}
        return narrow.post("/v1/chat/completions", json=asked).status_code

    assert chat(1.5) == 200
    assert chat(2.5) == 413
    assert chat(1.5, 1.5) == 413
    sent = {"file": ("a.wav", wav(2.5))}
    assert narrow.post("/v1/audio/transcriptions", files=sent).status_code == 413


def test_a_sound_that_is_longer_than_it_says(narrow: TestClient) -> None:
    """FLAC of an hour of silence is small, whatever its header says."""
    import av

    sink = io.BytesIO()
    with av.open(sink, "w", format="flac") as container:
        stream = container.add_stream("flac", rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16_000 * 600), np.int16), "s16", "mono")
        frame.sample_rate = 16_000
        container.mux([*stream.encode(frame), *stream.encode(None)])
    flac = bytearray(sink.getvalue())
    # The last 36 bits before the checksum of the first block count the samples: now they say 1 s.
    flac[21] &= 0xF0
    flac[22:26] = struct.pack(">I", 16_000)
    assert len(flac) < 200_000
    asked = {"input": [{"audio": data_url(bytes(flac), "audio/flac")}]}
    answer = narrow.post("/v1/embeddings", json=asked)
    assert answer.status_code == 413
    assert "beyond the limit" in answer.json()["error"]["message"]


def test_videos_are_counted_in_frames_and_seconds(narrow: TestClient) -> None:
    def embed(one: TestClient, film: bytes) -> httpx.Response:
        asked = {"input": [{"video": data_url(film, "video/mp4")}]}
        return one.post("/v1/embeddings", json=asked)

    short, long = (recordings.make_video([100] * frames) for frames in (40, 75))
    cost = video_cost(short)
    assert cost.seconds == pytest.approx(1.6, abs=0.1)
    assert cost.pixels == 40 * 64 * 48
    answers = [
        embed(narrow, film) for film in (short, recordings.make_video([9] * 49, size=(96, 64)))
    ]
    assert [one.status_code for one in answers] == [200, 413]
    assert "frames" in answers[1].json()["error"]["message"]
    assert embed(narrow, long).status_code == 413


def test_headers_are_believed_where_they_bind() -> None:
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20)).save(buffer, "PNG")
    assert image_pixels(buffer.getvalue()) == 600
    with pytest.raises(MediaTooLargeError):
        image_pixels(png_of_size(60_000, 60_000))


def test_files_of_the_server(tmp_path: Path) -> None:
    Image.new("RGB", (20, 20), "red").save(tmp_path / "red.png")
    Image.new("RGB", (20, 20), "red").save(tmp_path.parent / "outside.png")
    with client(media_folders=(str(tmp_path),)) as one:

        def embed(path: str) -> httpx.Response:
            return one.post("/v1/embeddings", json={"input": [{"image": path}]})

        assert embed(f"file://{tmp_path}/red.png").status_code == 200
        refused = embed(f"file://{tmp_path}/../outside.png")
        assert refused.status_code == 400
        assert "not a file that this server reads" in refused.json()["error"]["message"]
        many = {"input": [{"image": f"file://{tmp_path}/red.png"}] * 17}
        assert "at most 16" in one.post("/v1/embeddings", json=many).text


def test_failures_are_answered_and_logged_without_their_words(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("the secret words of a request")

    monkeypatch.setattr(FakeEmbedder, "embed", broken)
    with client() as one, caplog.at_level(logging.INFO):
        answer = one.post("/v1/embeddings", json={"input": "more secret words"})
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] in answer.json()["error"]["message"]
    failed = [json.loads(r.message) for r in caplog.records if '"failed"' in r.message]
    assert failed[0]["request"] == answer.headers["x-request-id"]
    assert failed[0]["kind"] == "RuntimeError"
    assert any("broken" in place for place in failed[0]["where"])
    assert "secret" not in caplog.text


def test_lines_of_the_log_are_json() -> None:
    try:
        raise ValueError("a word that nobody may read")
    except ValueError as error:
        told = fault(error)
        record = logging.LogRecord(
            "x", logging.ERROR, "f", 1, "bad key Bearer sk-1234", (), (ValueError, error, None)
        )
    assert told["kind"] == "ValueError"
    line = json.loads(JsonLines().format(record))
    assert line["message"] == "bad key Bearer …"
    assert line["error"]["kind"] == "ValueError"
    assert "nobody" not in json.dumps(line)
    assert hidden("data:image/png;base64," + "A" * 50) == "data:…"
    assert len(hidden("x" * 5000)) == 300
