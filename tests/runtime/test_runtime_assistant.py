"""What an assistant's stream yields, in which order, with which numbers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
from fakes import FakeListener, FakeVoice, ScriptedEngine, assistant, scripted, tone

from unisono import Finished, SpeechChunk, TextDelta, load
from unisono.conversation import AudioPart, Message
from unisono.engines import GenerationSettings, TorchEngine
from unisono.errors import (
    ContextLengthError,
    ConversationError,
    NothingHeardError,
    UnisonoError,
    UnknownModelError,
    UnsupportedModalityError,
    VoiceError,
)
from unisono.runtime import Assistant
from unisono.runtime.events import Event

STORY = "Once there was a fox. It was red! Was it wise? It was, they say."


def _text(events: list[Event]) -> str:
    return "".join(event.text for event in events if isinstance(event, TextDelta))


def test_silent_events() -> None:
    events = list(scripted(ScriptedEngine(STORY)).stream("Tell."))
    *deltas, finished = events
    assert all(isinstance(event, TextDelta) and event.text for event in deltas)
    assert isinstance(finished, Finished)
    assert _text(events) == finished.text == STORY
    assert finished.reason == "stop"
    assert finished.heard == ()
    assert finished.timings.first_speech_s is None


def test_spoken_events() -> None:
    voice = FakeVoice()
    events = list(scripted(ScriptedEngine(STORY), voice).stream("Tell.", speech=True))
    assert isinstance(events[-1], Finished)
    assert sum(isinstance(event, Finished) for event in events) == 1
    chunks = [event for event in events if isinstance(event, SpeechChunk)]
    assert "".join(chunk.text for chunk in chunks) == STORY == _text(events)
    assert [chunk.sentence for chunk in chunks] == sorted(chunk.sentence for chunk in chunks)
    assert len(voice.said) >= 4
    for index, event in enumerate(events):
        if isinstance(event, SpeechChunk) and event.text:
            assert event.text.strip() in _text(events[:index]), "spoken before it was written"


def test_a_reply_is_the_stream_collected(tmp_path: Path) -> None:
    voice = FakeVoice()
    reply = scripted(ScriptedEngine(STORY), voice).chat("Tell.", speech=True)
    assert reply.text == STORY
    assert reply.speech is not None
    assert len(reply.speech.pcm) == 100 * voice.chunks * len(voice.said)
    assert reply.speech.duration_s == pytest.approx(len(reply.speech.pcm) / 8000)
    reply.speech.save(tmp_path / "a.wav")
    assert (tmp_path / "a.wav").read_bytes()[:4] == b"RIFF"
    assert scripted(ScriptedEngine(STORY)).chat("Tell.").speech is None
    assert scripted(ScriptedEngine(""), voice).chat("Tell.", speech=True).speech is None


def test_usage_and_timings() -> None:
    ours = assistant()
    events = list(ours.stream("How are you?", max_new_tokens=9))
    finished = events[-1]
    assert isinstance(finished, Finished)
    prompt = ours.reader.processor.prompt("How are you?")
    engine = ours.reader.engine
    assert finished.usage.prompt_tokens == len(prompt.ids)
    assert finished.usage.cached_tokens == 0
    assert finished.usage.completion_tokens == engine.steps + 1  # type: ignore[attr-defined]
    assert finished.reason == ("length" if finished.usage.completion_tokens == 9 else "stop")
    times = finished.timings
    assert times.first_text_s is not None
    assert 0 <= times.listening_s <= times.first_text_s <= times.total_s
    assert times.tokens_per_s is not None
    assert times.tokens_per_s > 0


def test_the_answer_is_that_of_generate() -> None:
    """Through messages, template, sound, engine and text stream: what transformers gives."""
    for seed in range(3):
        model, processor = tiny.ola(speech=True, sound=True, seed=seed)
        ours = assistant(speech=True, sound=True, seed=seed)
        message = Message(role="user", content=(AudioPart(audio=tone(1.3)),))
        batch = processor([message])
        expected = model.generate(**batch, max_new_tokens=16, do_sample=False)
        expected = expected[0, batch["input_ids"].shape[1] :]
        reply = ours.chat(audio=tone(1.3), max_new_tokens=16)
        assert reply.text == processor.tokenizer.decode(expected, skip_special_tokens=True)
        assert reply.text


def test_length_and_stop() -> None:
    ours = scripted(ScriptedEngine(STORY))
    cut = ours.chat("Tell.", max_new_tokens=5)
    assert (cut.text, cut.usage.completion_tokens) == (STORY[:5], 5)
    events = list(scripted(ScriptedEngine(STORY)).stream("Tell.", stop=("red!", "Once upon")))
    finished = events[-1]
    assert isinstance(finished, Finished)
    assert finished.reason == "stop"
    assert _text(events) == finished.text == STORY[: STORY.index("red!")]
    assert finished.usage.completion_tokens == STORY.index("red!") + len("red!")


def test_a_stop_token_that_the_tokenizer_takes_for_text_is_not_shown() -> None:
    engine = ScriptedEngine("ab#cd")
    engine.stop_ids |= {tiny.byte_tokenizer().convert_tokens_to_ids("#")}
    assert scripted(engine).chat("q").text == "ab"


def test_seeds() -> None:
    ours = assistant()
    sampled = {"temperature": 3.0, "max_new_tokens": 16}
    first, same, other = (ours.chat("hi", seed=s, **sampled).text for s in (1, 1, 2))
    assert first == same != other


def test_defaults_of_the_model_give_way_to_the_callers() -> None:
    ours = scripted(ScriptedEngine(STORY))
    ours.defaults = GenerationSettings(max_new_tokens=4)
    assert ours.chat("q").text == STORY[:4]
    assert ours.chat("q", max_new_tokens=6).text == STORY[:6]


def test_a_listener_hears_what_the_model_cannot() -> None:
    listener = FakeListener("What is your name?")
    ours = assistant(listener=listener, hearing="listener")
    heard = ours.chat(audio=tone(), max_new_tokens=6)
    assert heard.heard == ("What is your name?",)
    assert heard.text == ours.chat("What is your name?", max_new_tokens=6).text
    assert listener.calls == 1
    typed = Message(role="user", content=(AudioPart(audio=tone(), transcript="Hi"),))
    *_, finished = ours.stream([typed], max_new_tokens=2)
    assert isinstance(finished, Finished)
    assert finished.heard == ("Hi",)
    assert listener.calls == 1, "what was heard is not heard again"


def test_nothing_heard() -> None:
    with pytest.raises(NothingHeardError, match="no words"):
        assistant(listener=FakeListener(""), hearing="listener").chat(audio=tone())
    both = assistant(listener=FakeListener(""), hearing="both", speech=True)
    assert both.chat(audio=tone(), max_new_tokens=3).heard == ("",)
    texts = assistant(listener=FakeListener(""), hearing="listener")
    assert texts.chat("What?", audio=tone(), max_new_tokens=3).heard == ("",)


def test_a_model_that_hears_needs_no_listener() -> None:
    listener = FakeListener("words")
    assistant(listener=listener, speech=True).chat(audio=tone(), max_new_tokens=2)
    assert listener.calls == 0


@pytest.mark.parametrize(
    ("options", "question", "error", "said"),
    [
        ({}, {"text": "hi", "speech": True}, UnsupportedModalityError, "without a voice"),
        (
            {"hearing": "listener"},
            {"audio": tone()},
            UnsupportedModalityError,
            "without a listener",
        ),
        ({}, {"audio": tone()}, UnsupportedModalityError, "no hearing encoder"),
        ({}, {"image": "a.png"}, UnsupportedModalityError, "no vision encoder"),
        ({}, {}, ConversationError, "but has none"),
        ({}, {"text": "hi", "temperature": -1}, ConversationError, "temperature"),
        ({}, {"text": "x" * 3000}, ContextLengthError, "at most 2048"),
    ],
)
def test_questions_that_cannot_be_answered(
    options: dict[str, Any], question: dict[str, Any], error: type[UnisonoError], said: str
) -> None:
    with pytest.raises(error, match=said):
        assistant(**options).chat(**question)


def test_an_error_of_the_voice_ends_the_stream() -> None:
    voice = FakeVoice(fails_at=1)
    stream = scripted(ScriptedEngine(STORY), voice).stream("Tell.", speech=True)
    with pytest.raises(RuntimeError, match="the voice broke"):
        list(stream)


def test_parts_are_loaded_when_they_are_needed() -> None:
    made: list[str] = []

    def make(name: str, part: Any) -> Any:
        made.append(name)
        return part

    base = scripted(ScriptedEngine("Hello."))
    ours = Assistant(
        base.reader,
        make_voice=lambda: make("voice", FakeVoice()),
        make_listener=lambda: make("listener", FakeListener("a")),
    )
    ours.chat("hi")
    assert made == []
    ours.chat("hi", speech=True)
    ours.chat("hi", speech=True)
    assert made == ["voice"]
    assert ours.warm_up(listening=True, speech=True) is ours
    assert made == ["voice", "listener"]


def test_a_saved_model_is_loaded_from_its_folder(tmp_path: Path) -> None:
    model, processor = tiny.ola(speech=True)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    ours = load(tmp_path, listener=FakeListener("a"), voice=FakeVoice())
    assert isinstance(ours.reader.engine, TorchEngine)
    options = {"audio": tone(), "max_new_tokens": 8}
    assert ours.chat(**options).text == assistant(speech=True).chat(**options).text
    assert ours.chat("hi", speech=True, max_new_tokens=40).usage.completion_tokens > 0


def test_names_that_cannot_be_loaded(tmp_path: Path) -> None:
    with pytest.raises(UnknownModelError):
        load("no-such-model")
    with pytest.raises(UnknownModelError, match="no Ola model"):
        load(tmp_path)
    with pytest.raises(UnisonoError):
        load("ola-nano", listener="no-such-part")
    with pytest.raises(VoiceError, match="there is no voice file"):
        load("ola-nano", voice=tmp_path / "a.onnx")
    with pytest.raises(VoiceError, match="not a Piper voice"):
        load("ola-nano", voice="whisper-base-ct2")


def test_speech_of_a_story_is_float32() -> None:
    reply = scripted(ScriptedEngine(STORY), FakeVoice()).chat("Tell.", speech=True)
    assert reply.speech is not None
    assert reply.speech.pcm.dtype == np.float32
