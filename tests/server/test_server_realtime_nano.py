"""The real ola-nano over the WebSocket: asked by voice, heard, answered by voice, heard back."""

import asyncio
import base64
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import openai
import pytest
from running_server import running
from test_server_realtime import RATE_HZ, pcm, until

from unisono import Assistant
from unisono.evaluation.metrics.words import word_error_rate
from unisono.media import load_audio
from unisono.server import ServerSettings, make_app

pytestmark = pytest.mark.slow
QUESTIONS = Path(__file__).parents[2] / "examples" / "questions"


@pytest.fixture(scope="module")
def port(nano: Assistant) -> Iterator[int]:
    yield from running(make_app({"ola-nano": lambda: nano}, {}, ServerSettings()))


def test_a_spoken_question_is_answered_aloud(port: int, nano: Assistant) -> None:
    told = json.loads((QUESTIONS / "questions.jsonl").read_text().splitlines()[0])
    spoken = load_audio(QUESTIONS / f"{told['id']}.ogg")
    silence = np.zeros(8000, np.float32)
    asked = np.concatenate([silence, spoken, silence, silence])

    async def scene() -> list[Any]:
        client = openai.AsyncOpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none")
        async with client.realtime.connect(model="ola-nano") as connection:
            await connection.session.update(session={"type": "realtime", "max_output_tokens": 40})
            for start in range(0, len(asked), 3200):
                await connection.input_audio_buffer.append(audio=pcm(asked[start : start + 3200]))
            return await until(connection, "response.done")

    events = asyncio.run(asyncio.wait_for(scene(), 240))
    (heard,) = [e for e in events if e.type.endswith("input_audio_transcription.completed")]
    assert word_error_rate([told["text"]], [heard.transcript]).value < 0.3
    data = b"".join(
        base64.b64decode(e.delta) for e in events if e.type == "response.output_audio.delta"
    )
    answer = np.frombuffer(data, "<i2").astype(np.float32) / 32768
    shown = "".join(e.delta for e in events if e.type == "response.output_audio_transcript.delta")
    back = nano.listener.listen(load_audio((answer, RATE_HZ)), language="en", word_times=False)
    assert word_error_rate([shown], [back.text]).value < 0.25
