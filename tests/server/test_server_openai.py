"""OpenAI's unmodified Python client against a running server."""

import base64
import io
from collections.abc import Iterator

import numpy as np
import openai
import pytest
import recordings
from fake_embedder import FakeEmbedder
from fakes import FakeListener, FakeVoice, ScriptedEngine, scripted
from PIL import Image
from running_server import running

from unisono.media import load_audio
from unisono.runtime import Assistant
from unisono.server import ServerSettings, make_app

SAYS = "The first sentence is here. And this is the second one."
KEY = "a-secret-key"


def talker() -> Assistant:
    return scripted(ScriptedEngine(SAYS), FakeVoice(), FakeListener("what was heard"))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    app = make_app(
        {"talker": talker}, {"vectors": FakeEmbedder}, ServerSettings(api_keys=frozenset({KEY}))
    )
    for port in running(app):
        yield f"http://127.0.0.1:{port}/v1"


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=url, api_key=KEY, max_retries=0) as one:
        yield one


def png(colour: str) -> str:
    buffer = io.BytesIO()
    Image.new("RGB", (20, 20), colour).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def test_models(client: openai.OpenAI) -> None:
    assert [one.id for one in client.models.list()] == ["talker", "vectors"]


def test_a_key_is_needed(url: str) -> None:
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=url, api_key="wrong", max_retries=0).models.list()


def test_chat(client: openai.OpenAI) -> None:
    answer = client.chat.completions.create(
        model="talker",
        messages=[
            {"role": "system", "content": "You are kind."},
            {"role": "user", "content": [{"type": "text", "text": "Hello?"}]},
        ],
    )
    assert answer.choices[0].message.content == SAYS
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_chat_is_cut_and_stopped(client: openai.OpenAI) -> None:
    hello = [{"role": "user", "content": "Hello?"}]
    cut = client.chat.completions.create(model="talker", messages=hello, max_tokens=5)
    assert cut.choices[0].finish_reason == "length"
    assert cut.choices[0].message.content == SAYS[:5]
    stopped = client.chat.completions.create(model="talker", messages=hello, stop=["sentence"])
    assert stopped.choices[0].message.content == "The first "


def test_chat_streams_text_and_sound_in_one_choice(client: openai.OpenAI) -> None:
    chunks = list(
        client.chat.completions.create(
            model="talker",
            messages=[{"role": "user", "content": "Hello?"}],
            modalities=["text", "audio"],
            audio={"voice": "alloy", "format": "pcm16"},
            stream=True,
            stream_options={"include_usage": True},
        )
    )
    deltas = [chunk.choices[0].delta for chunk in chunks if chunk.choices]
    assert "".join(delta.content or "" for delta in deltas) == SAYS
    sounds = [delta.audio for delta in deltas if getattr(delta, "audio", None)]
    assert len({sound.id for sound in sounds}) == 1
    said = "".join(sound.transcript for sound in sounds if sound.transcript)
    assert said == SAYS
    pcm = b"".join(base64.b64decode(sound.data) for sound in sounds)
    assert len(pcm) == 2 * 4 * 100 * 3  # 16 bits, 4 chunks of 100 samples at 8 kHz, at 24 kHz
    assert chunks[-1].usage is not None
    assert chunks[-1].choices == []


def test_a_spoken_answer_is_named_in_a_later_turn(client: openai.OpenAI) -> None:
    ask = {"role": "user", "content": "Hello?"}
    first = client.chat.completions.create(
        model="talker",
        messages=[ask],
        modalities=["text", "audio"],
        audio={"voice": "alloy", "format": "wav"},
    )
    audio = first.choices[0].message.audio
    assert audio is not None
    assert audio.transcript == SAYS
    assert len(load_audio(base64.b64decode(audio.data))) == 800
    turns = [ask, {"role": "assistant", "audio": {"id": audio.id}}, ask]
    again = client.chat.completions.create(model="talker", messages=turns)
    assert again.choices[0].message.content == SAYS
    turns[1]["audio"] = {"id": "nothing"}
    with pytest.raises(openai.BadRequestError, match="nothing"):
        client.chat.completions.create(model="talker", messages=turns)


def test_a_spoken_question(client: openai.OpenAI) -> None:
    data = base64.b64encode(recordings.make_audio(seconds=1)).decode()
    part = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
    answer = client.chat.completions.create(
        model="talker", messages=[{"role": "user", "content": [part]}]
    )
    assert answer.choices[0].message.content == SAYS


@pytest.mark.parametrize("form", ["wav", "mp3", "flac", "opus"])
def test_speech(client: openai.OpenAI, form: str) -> None:
    made = client.audio.speech.create(
        model="talker", voice="alloy", input="One. Two.", response_format=form
    )
    seconds = len(load_audio(made.content)) / 16_000
    assert 0.02 <= seconds < 0.3


def test_transcriptions(client: openai.OpenAI) -> None:
    sound = ("a.wav", recordings.make_audio(seconds=1))
    heard = client.audio.transcriptions.create(model="talker", file=sound)
    assert heard.text == "what was heard"
    text = client.audio.transcriptions.create(model="talker", file=sound, response_format="text")
    assert text.strip() == "what was heard"


def test_embeddings(client: openai.OpenAI) -> None:
    found = client.embeddings.create(model="vectors", input=["red", "blue"])
    expected = FakeEmbedder().embed(text=["red", "blue"])
    assert np.allclose([one.embedding for one in found.data], expected, atol=1e-6)
    short = client.embeddings.create(model="vectors", input="red", dimensions=8)
    vector = np.array(short.data[0].embedding)
    assert vector.shape == (8,)
    assert np.linalg.norm(vector) == pytest.approx(1)
    both = client.embeddings.create(model="vectors", input=[{"image": png("red")}, {"text": "red"}])
    first, second = (np.array(one.embedding) for one in both.data)
    assert float(first @ second) > 0.9


@pytest.mark.parametrize(
    ("messages", "says"),
    [
        ([], "messages"),
        ([{"role": "king", "content": "x"}], "role"),
        ([{"role": "user", "content": [{"type": "text"}]}], "text"),
        (
            [
                {
                    "role": "user",
                    "content": [{"type": "image_url", "image_url": {"url": "/etc/passwd"}}],
                }
            ],
            "data: URL",
        ),
        (
            [{"role": "user", "content": [{"type": "input_audio", "input_audio": {"data": "?"}}]}],
            "base64",
        ),
    ],
)
def test_bad_requests_say_why(
    client: openai.OpenAI, messages: list[dict[str, object]], says: str
) -> None:
    with pytest.raises(openai.BadRequestError, match=says):
        client.chat.completions.create(model="talker", messages=messages)


@pytest.mark.parametrize("address", ["http://127.0.0.1/a.png", "/etc/passwd", "file:///etc/passwd"])
def test_no_address_is_opened(client: openai.OpenAI, address: str) -> None:
    part = {"type": "image_url", "image_url": {"url": address}}
    with pytest.raises(openai.BadRequestError, match="data: URL"):
        client.chat.completions.create(
            model="talker", messages=[{"role": "user", "content": [part]}]
        )


def test_an_unknown_model(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="no model 'x'"):
        client.embeddings.create(model="x", input="a")
