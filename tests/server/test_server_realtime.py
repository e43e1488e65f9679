"""OpenAI's unmodified client talks over the WebSocket; no frame harms the server."""

import asyncio
import base64
import json
import random
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
import websockets
from fakes import FakeListener, FakeVoice, ScriptedEngine, scripted
from running_server import running

from unisono.media import load_audio
from unisono.runtime import Assistant
from unisono.server import ServerSettings, make_app

SAYS = "The first sentence is here. And this is the second one."
KEY = "a-secret-key"
QUESTION = Path(__file__).parents[2] / "examples" / "questions" / "01-sky.ogg"
RATE_HZ = 24_000


def talker() -> Assistant:
    return scripted(ScriptedEngine(SAYS), FakeVoice(chunks=200), FakeListener("what was heard"))


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    settings = ServerSettings(api_keys=frozenset({KEY}), max_connections=8, max_media_s=60)
    app = make_app({"talker": talker}, {}, settings)
    yield from running(app)


def talk(port: int, scene: Callable[[Any], Awaitable[None]], **options: Any) -> None:
    """Run a scene on a connection of the official client."""

    async def whole() -> None:
        client = openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key=KEY)
        async with client.realtime.connect(model="talker", **options) as connection:
            first = await connection.recv()
            assert first.type == "session.created"
            await scene(connection)

    asyncio.run(asyncio.wait_for(whole(), 60))


async def until(connection: Any, kind: str) -> list[Any]:
    """All events up to one of a kind."""
    found = []
    while True:
        event = await connection.recv()
        found.append(event)
        assert event.type != "error" or kind == "error", event
        if event.type == kind:
            return found


def kinds(events: list[Any]) -> list[str]:
    """In order, repetitions once."""
    found: list[str] = []
    for event in events:
        if not found or found[-1] != event.type:
            found.append(event.type)
    return found


def pcm(samples: np.ndarray) -> str:
    """16 kHz float32 -> base64 of 24 kHz."""
    times = np.arange(0, len(samples), 2 / 3)
    fast = np.interp(times, np.arange(len(samples)), samples)
    return base64.b64encode((fast.clip(-1, 1) * 32767).astype("<i2").tobytes()).decode()


def question() -> np.ndarray:
    """Somebody asks, after half a second, and then says nothing."""
    silence = np.zeros(16_000, np.float32)
    return np.concatenate([silence[:8000], load_audio(QUESTION), silence])


def test_text_in_text_out(port: int) -> None:
    async def scene(connection: Any) -> None:
        await connection.session.update(
            session={"type": "realtime", "output_modalities": ["text"], "instructions": "Be kind."}
        )
        updated = (await until(connection, "session.updated"))[-1]
        assert updated.session.output_modalities == ["text"]
        content = [{"type": "input_text", "text": "Hello?"}]
        item = {"type": "message", "role": "user", "content": content}
        await connection.conversation.item.create(item=item)
        await connection.response.create()
        events = await until(connection, "response.done")
        assert kinds(events) == [
            "conversation.item.added",
            "conversation.item.done",
            "response.created",
            "response.output_item.added",
            "conversation.item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "conversation.item.done",
            "response.done",
        ]
        told = "".join(e.delta for e in events if e.type == "response.output_text.delta")
        assert told == SAYS
        done = events[-1].response
        assert done.status == "completed"
        assert done.output[0].content[0].text == SAYS
        assert done.usage.total_tokens == done.usage.input_tokens + done.usage.output_tokens > 0

    talk(port, scene)


def test_a_committed_sound_is_answered_by_sound(port: int) -> None:
    async def scene(connection: Any) -> None:
        detection: Any = {"input": {"turn_detection": None}}
        await connection.session.update(session={"type": "realtime", "audio": detection})
        await connection.input_audio_buffer.append(audio=pcm(np.zeros(16_000, np.float32)))
        await connection.input_audio_buffer.commit()
        await connection.response.create()
        events = await until(connection, "response.done")
        heard = [e for e in events if e.type.endswith("input_audio_transcription.completed")]
        assert [one.transcript for one in heard] == ["what was heard"]
        sound = b"".join(
            base64.b64decode(e.delta) for e in events if e.type == "response.output_audio.delta"
        )
        assert len(sound) / 2 / RATE_HZ > 0.2
        words = "".join(
            e.delta for e in events if e.type == "response.output_audio_transcript.delta"
        )
        assert words == SAYS
        assert events[-1].response.output[0].content[0].transcript == SAYS
        item = events[-1].response.output[0].id
        await connection.conversation.item.truncate(item_id=item, content_index=0, audio_end_ms=0)
        assert (await until(connection, "conversation.item.truncated"))[-1].audio_end_ms == 0
        await connection.conversation.item.retrieve(item_id=item)
        found = (await until(connection, "conversation.item.retrieved"))[-1].item
        assert found.status == "incomplete"
        assert not found.content
        await connection.conversation.item.delete(item_id=item)
        await until(connection, "conversation.item.deleted")

    talk(port, scene)


def test_the_server_hears_when_a_turn_is_over_and_is_interrupted(port: int) -> None:
    spoken = question()

    async def say(connection: Any) -> None:
        for start in range(0, len(spoken), 3200):
            await connection.input_audio_buffer.append(audio=pcm(spoken[start : start + 3200]))

    async def scene(connection: Any) -> None:
        await say(connection)
        events = await until(connection, "response.done")
        told = [kind for kind in kinds(events) if kind.startswith("input_audio_buffer")]
        assert told == [
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
        ]
        started, stopped = (e for e in events if ".speech_st" in e.type)
        assert 0 <= started.audio_start_ms <= 700
        assert stopped.audio_end_ms <= len(spoken) / 16
        assert started.item_id == stopped.item_id
        # What was sent at once would take longer to hear: who speaks now cuts it.
        item = events[-1].response.output[0].id
        await say(connection)
        cut = (await until(connection, "conversation.item.truncated"))[-1]
        assert cut.item_id == item
        await until(connection, "response.done")
        await connection.conversation.item.retrieve(item_id=item)
        found = (await until(connection, "conversation.item.retrieved"))[-1].item
        assert found.status == "incomplete"
        heard = found.content[0].transcript if found.content else ""
        assert SAYS.startswith(heard)
        assert heard != SAYS

    talk(port, scene)


def test_cancelling_ends_the_response(port: int) -> None:
    async def scene(connection: Any) -> None:
        content = [{"type": "input_text", "text": "Hello?"}]
        item = {"type": "message", "role": "user", "content": content}
        await connection.conversation.item.create(item=item)
        await connection.response.create()
        await until(connection, "response.created")
        await connection.response.cancel()
        done = (await until(connection, "response.done"))[-1].response
        # The script may have been said to its end before the message came.
        assert done.status in ("cancelled", "completed")
        await connection.conversation.item.create(item=item)
        await connection.conversation.item.create(item=item)
        await connection.response.create()
        assert (await until(connection, "response.done"))[-1].response.status == "completed"

    talk(port, scene)


def test_what_is_wrong_is_said_and_the_session_goes_on(port: int) -> None:
    async def scene(connection: Any) -> None:
        for wrong in (
            {"type": "session.update", "session": {"output_modalities": ["smell"]}},
            {"type": "session.update", "session": {"tools": [{"type": "function"}]}},
            {"type": "session.update", "session": {"audio": {"input": {"format": "mp3"}}}},
            {"type": "session.update"},
            {"type": "input_audio_buffer.append", "audio": "?"},
            {"type": "input_audio_buffer.append", "audio": "AA=="},
            {"type": "input_audio_buffer.commit"},
            {"type": "conversation.item.create", "item": {"type": "function_call"}},
            {
                "type": "conversation.item.create",
                "item": {"role": "user", "content": [{"type": "x"}]},
            },
            {"type": "conversation.item.delete", "item_id": "none"},
            {"type": "conversation.item.truncate", "item_id": "none", "audio_end_ms": 1},
            {"type": "response.create"},
            {"type": "unknown.event", "event_id": "mine"},
            {"type": 7},
        ):
            await connection.send(wrong)
            error = (await until(connection, "error"))[-1].error
            assert error.type == "invalid_request_error", wrong
            assert error.message
        assert error.event_id is None
        await connection.response.cancel()  # nothing is running: nothing happens
        await connection.input_audio_buffer.clear()
        await until(connection, "input_audio_buffer.cleared")

    talk(port, scene)


def test_the_beta_is_told_its_own_names(port: int) -> None:
    async def scene(connection: Any) -> None:
        session = {"modalities": ["text"], "turn_detection": None, "input_audio_format": "pcm16"}
        await connection.send({"type": "session.update", "session": session})
        item = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "?"}]}
        await connection.conversation.item.create(item=item)
        await connection.response.create()
        events = await until(connection, "response.done")
        assert {"conversation.item.created", "response.text.delta"} <= set(kinds(events))

    talk(port, scene, extra_headers={"OpenAI-Beta": "realtime=v1"})


def test_a_key_is_needed_and_browsers_have_theirs(port: int) -> None:
    url = f"ws://127.0.0.1:{port}/v1/realtime?model=talker"

    async def scene() -> None:
        with pytest.raises(websockets.exceptions.InvalidStatus):
            async with websockets.connect(url):
                pass
        protocols: Any = ["realtime", f"openai-insecure-api-key.{KEY}"]
        async with websockets.connect(url, subprotocols=protocols) as opened:
            assert opened.subprotocol == "realtime"
            assert json.loads(await opened.recv())["type"] == "session.created"

    asyncio.run(asyncio.wait_for(scene(), 30))


def test_frames_of_any_shape_leave_the_server_well(port: int) -> None:
    draws = random.Random(0)
    url = f"ws://127.0.0.1:{port}/v1/realtime"
    names = ["session.update", "response.create", "conversation.item.create", "response.cancel"]
    values: list[Any] = [None, 0, -1, 1e300, "", "x" * 999, [], {}, [[[]]], {"type": "message"}]

    def frame() -> str | bytes:
        if draws.random() < 0.2:
            return draws.randbytes(draws.randrange(200))
        if draws.random() < 0.2:
            return "".join(chr(draws.randrange(32, 900)) for _ in range(draws.randrange(200)))
        keys = ("session", "item", "item_id", "audio", "response", "audio_end_ms", "event_id")
        told = {key: draws.choice(values) for key in keys if draws.random() < 0.5}
        return json.dumps({"type": draws.choice(names), **told})

    async def scene() -> None:
        headers = {"Authorization": f"Bearer {KEY}"}
        async with websockets.connect(url, additional_headers=headers) as opened:
            for _ in range(200):
                await opened.send(frame())
            await opened.send(json.dumps({"type": "input_audio_buffer.clear"}))
            while json.loads(await opened.recv())["type"] != "input_audio_buffer.cleared":
                pass

    asyncio.run(asyncio.wait_for(scene(), 60))
    test_text_in_text_out(port)


def test_there_is_room_for_so_many(port: int) -> None:
    url = f"ws://127.0.0.1:{port}/v1/realtime"
    headers = {"Authorization": f"Bearer {KEY}"}

    async def scene() -> None:
        held = [await websockets.connect(url, additional_headers=headers) for _ in range(8)]
        for one in held:
            await one.recv()
        refused = await websockets.connect(url, additional_headers=headers)
        with pytest.raises(websockets.exceptions.ConnectionClosed) as closed:
            await refused.recv()
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1013
        for one in held:
            await one.close()

    asyncio.run(asyncio.wait_for(scene(), 30))
