"""`unisono serve` as a process, and the conversation that every way of serving must pass."""

import base64
import io
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import jiwer
import openai
from PIL import Image

from unisono.media import load_audio

EXAMPLES = Path(__file__).parents[2] / "examples"


@dataclass(frozen=True)
class Served:
    """A running server.

    Attributes:
        url: without a path.
        process: to be killed and listened to.
        log: what it wrote.
        certificate: that it has, if it speaks TLS.
    """

    url: str
    process: "subprocess.Popen[bytes]"
    log: Path
    certificate: Path | None = None

    def client(self) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key="none", timeout=300, max_retries=0)


@contextmanager
def serve(
    place: Path, *options: str, ready_s: float = 300, certificate: Path | None = None
) -> Iterator[Served]:
    """Start the command, wait until it is well, and end it."""
    command = [sys.executable, "-m", "unisono", "serve", *options]
    with launched(place, command, ready_s=ready_s, certificate=certificate) as served:
        yield served


@contextmanager
def launched(
    place: Path, command: list[str], *, ready_s: float = 300, certificate: Path | None = None
) -> Iterator[Served]:
    """The same, for any command that takes `--port`."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = place / "serve.log"
    command = [*command, "--port", str(port)]
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=file, env=dict(os.environ))
    url = f"{'https' if certificate else 'http'}://127.0.0.1:{port}"
    served = Served(url, process, log, certificate)
    try:
        _wait_until_well(served, ready_s)
        yield served
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_well(served: Served, ready_s: float) -> None:
    deadline = time.monotonic() + ready_s
    while time.monotonic() < deadline:
        if served.process.poll() is not None:
            raise RuntimeError(f"the server ended: {served.log.read_text()[-2000:]}")
        try:
            verify = str(served.certificate) if served.certificate else True
            if httpx.get(f"{served.url}/health", verify=verify).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise RuntimeError(f"the server is not ready: {served.log.read_text()[-2000:]}")


def picture(colour: str) -> str:
    """A `data:` URL."""
    buffer = io.BytesIO()
    Image.new("RGB", (64, 64), colour).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def converse(client: openai.OpenAI) -> dict[str, object]:
    """The scripted conversation; what was said, for the curious. Fails where something is wrong."""
    said: dict[str, object] = {}
    names = [one.id for one in client.models.list()]
    assert names == ["ola-nano", "onepeace-nano"]
    said["typed"] = typed(client)
    said["spoken"] = spoken(client)
    said["streamed"] = streamed(client)
    said["heard"] = transcribed(client)
    said["made"] = synthesised(client)
    embedded(client)
    return said


def typed(client: openai.OpenAI) -> list[str]:
    """Three turns, greedy, the same each time; stop and length end an answer."""
    turns: list[dict[str, object]] = [
        {"role": "system", "content": "You answer briefly."},
        {"role": "user", "content": "What do bees make?"},
    ]
    first = client.chat.completions.create(model="ola-nano", messages=turns, temperature=0)
    text = first.choices[0].message.content
    assert "honey" in text.lower()
    again = client.chat.completions.create(model="ola-nano", messages=turns, temperature=0)
    assert again.choices[0].message.content == text
    turns += [
        {"role": "assistant", "content": text},
        {"role": "user", "content": "Who are you talking about? One word."},
    ]
    second = client.chat.completions.create(
        model="ola-nano", messages=turns, max_completion_tokens=12
    )
    assert second.usage.completion_tokens <= 12
    cut = client.chat.completions.create(model="ola-nano", messages=turns[:2], stop=["oney"])
    assert "oney" not in cut.choices[0].message.content
    drawn = [
        client.chat.completions.create(
            model="ola-nano", messages=turns[:2], temperature=1, top_p=0.9, seed=7, max_tokens=16
        )
        for _ in range(2)
    ]
    assert drawn[0].choices[0].message.content == drawn[1].choices[0].message.content
    return [text, second.choices[0].message.content]


def spoken(client: openai.OpenAI) -> list[str]:
    """A spoken question, a spoken answer, and a turn that names that answer by its id."""
    sound = base64.b64encode((EXAMPLES / "questions" / "05-bees.ogg").read_bytes()).decode()
    asked: dict[str, object] = {
        "role": "user",
        "content": [{"type": "input_audio", "input_audio": {"data": sound, "format": "wav"}}],
    }
    answer = client.chat.completions.create(
        model="ola-nano",
        messages=[asked],
        modalities=["text", "audio"],
        audio={"voice": "alloy", "format": "wav"},
        max_tokens=40,
    )
    audio = answer.choices[0].message.audio
    assert "honey" in audio.transcript.lower()
    content = base64.b64decode(audio.data)
    assert len(load_audio(content)) > 16_000
    heard = client.audio.transcriptions.create(model="ola-nano", file=("answer.wav", content))
    # The small voice is not the same twice, and the small listener mishears a word of it at times.
    assert word_errors(audio.transcript, heard.text) < 0.35
    turns = [asked, {"role": "assistant", "audio": {"id": audio.id}}]
    turns.append({"role": "user", "content": "Say that again in other words."})
    again = client.chat.completions.create(model="ola-nano", messages=turns, max_tokens=24)
    return [audio.transcript, heard.text, again.choices[0].message.content]


def word_errors(said: str, heard: str) -> float:
    """Of the words said, the share that was heard as others; punctuation aside."""
    plain = [re.sub(r"[^a-z ]", "", text.lower()) for text in (said, heard)]
    return float(jiwer.wer(*plain))


def streamed(client: openai.OpenAI) -> str:
    """Text and sound in one stream; the sound says the text."""
    stream = client.chat.completions.create(
        model="ola-nano",
        messages=[{"role": "user", "content": "What is the capital of France?"}],
        modalities=["text", "audio"],
        audio={"voice": "alloy", "format": "pcm16"},
        stream=True,
        stream_options={"include_usage": True},
        max_tokens=40,
    )
    text, transcript, pcm, usage, reason = "", "", b"", None, None
    for chunk in stream:
        usage = chunk.usage or usage
        for choice in chunk.choices:
            text += choice.delta.content or ""
            sound = getattr(choice.delta, "audio", None) or {}
            sound = sound if isinstance(sound, dict) else sound.model_dump()
            pcm += base64.b64decode(sound.get("data") or "")
            transcript += sound.get("transcript") or ""
            reason = choice.finish_reason or reason
    assert "paris" in text.lower()
    assert "".join(transcript.split()) == "".join(text.split())
    assert len(pcm) > 24_000
    assert usage.completion_tokens > 0
    assert reason in ("stop", "length")
    return text


def transcribed(client: openai.OpenAI) -> str:
    """A question's words, in all five forms."""
    sound = ("q.ogg", (EXAMPLES / "questions" / "01-sky.ogg").read_bytes())

    def hear(form: str, **more: object) -> object:
        return client.audio.transcriptions.create(
            model="ola-nano", file=sound, language="en", response_format=form, **more
        )

    text = hear("json").text
    assert "sky" in text.lower()
    assert hear("text").strip() == text
    assert " --> " in hear("srt")
    assert hear("vtt").startswith("WEBVTT\n")
    long = hear("verbose_json", timestamp_granularities=["word", "segment"])
    assert " ".join(one.word for one in long.words) == " ".join(long.text.split())
    assert 0 <= long.segments[0].start < long.segments[-1].end <= long.duration
    return str(text)


def synthesised(client: openai.OpenAI) -> dict[str, float]:
    """A sentence in every format; the voice takes its time, a little more or less each time."""
    seconds = {}
    for form in ("wav", "mp3", "flac", "opus", "aac", "pcm"):
        content = client.audio.speech.create(
            model="ola-nano", voice="alloy", input="The sky is blue.", response_format=form
        ).content
        seconds[form] = (
            len(content) / 48_000 if form == "pcm" else len(load_audio(content)) / 16_000
        )
    assert all(0.6 < one < 3 for one in seconds.values()), seconds
    with client.audio.speech.with_streaming_response.create(
        model="ola-nano", voice="alloy", input="One. Two.", stream_format="sse"
    ) as answer:
        events = [json.loads(x[6:]) for x in answer.iter_lines() if x.startswith("data: ")]
    assert events[-1]["type"] == "speech.audio.done"
    assert len(base64.b64decode(events[0]["audio"])) > 0
    return seconds


def embedded(client: openai.OpenAI) -> None:
    """Texts and pictures in one space: red words are nearer to red."""
    items = [{"image": picture("red")}, {"text": "a dog"}]
    found = client.embeddings.create(model="onepeace-nano", input=items)
    assert len(found.data) == 2
    one, two = (
        client.embeddings.create(model="onepeace-nano", input="a dog", dimensions=d)
        for d in (64, 128)
    )
    assert len(one.data[0].embedding) == 64
    assert len(two.data[0].embedding) == 128
    # The same text among other items is the same vector, whichever way it is asked for.
    plain = client.embeddings.create(model="onepeace-nano", input=["a dog"])
    assert dot(plain.data[0].embedding, found.data[1].embedding) > 0.999
    messages = [{"role": "user", "content": [{"type": "text", "text": "a dog"}]}]
    said = client.post("/embeddings", body={"messages": messages}, cast_to=dict[str, object])
    assert dot(said["data"][0]["embedding"], plain.data[0].embedding) > 0.999


def dot(one: list[float], other: list[float]) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))
