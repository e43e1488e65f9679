"""Speech is made while text is written, and closing stops both. By time stamps, not by belief."""

import time

import pytest
from fakes import FakeVoice, Interval, ScriptedEngine, scripted

from unisono import Finished, SpeechChunk, TextDelta
from unisono.runtime.events import Event

STEP_S = 0.004
STORY = (
    "Once there was a small red fox. It lived in a wood near the sea. Every day it went out "
    "to fish. One day it met a crab. They are friends now."
)


def _slow(text: str = STORY, chunk_s: float = 0.03) -> tuple[ScriptedEngine, FakeVoice]:
    return ScriptedEngine(text, step_s=STEP_S), FakeVoice(chunk_s=lambda: chunk_s, chunks=2)


def _overlap_s(first: list[Interval], second: list[Interval]) -> float:
    """Seconds during which work of both kinds was going on."""
    return sum(
        max(0.0, min(end, other_end) - max(start, other_start))
        for start, end in first
        for other_start, other_end in second
    )


def _positions(events: list[Event]) -> tuple[int, int]:
    """Where the first sound and the last text stand."""
    first_sound = next(i for i, event in enumerate(events) if isinstance(event, SpeechChunk))
    last_text = max(i for i, event in enumerate(events) if isinstance(event, TextDelta))
    return first_sound, last_text


def test_sound_comes_before_the_text_ends() -> None:
    engine, voice = _slow()
    events = list(scripted(engine, voice).stream("Tell.", speech=True))
    first_sound, last_text = _positions(events)
    assert first_sound < last_text / 2
    assert isinstance(events[-1], Finished)
    timings = events[-1].timings
    assert timings.first_text_s is not None
    assert timings.first_speech_s is not None
    assert timings.first_text_s < timings.first_speech_s < timings.total_s / 2


def test_the_voice_works_while_tokens_are_decoded() -> None:
    """The model waits for the first chunk only: while each later one is made, tokens come."""
    engine = ScriptedEngine(STORY, step_s=STEP_S)
    decoded_meanwhile: list[bool] = []

    def until_two_more_tokens() -> float:
        """Lasts until the model took two more steps, or for ten seconds: then it never will."""
        if not voice.intervals or len(decoded_meanwhile) == 5:
            return 0.0
        wanted, deadline = len(engine.intervals) + 2, time.perf_counter() + 10
        while len(engine.intervals) < wanted and time.perf_counter() < deadline:
            time.sleep(0.001)
        decoded_meanwhile.append(len(engine.intervals) >= wanted)
        return 0.0

    voice = FakeVoice(chunk_s=until_two_more_tokens, chunks=2)
    list(scripted(engine, voice).stream("Tell.", speech=True))
    assert decoded_meanwhile == [True] * 5


def test_the_first_chunk_comes_before_the_next_token() -> None:
    """However short the second sentence is, its text comes after the first sound."""
    engine = ScriptedEngine("One is here. Two.", step_s=0.001)
    voice = FakeVoice(chunk_s=lambda: 0.1)
    first_sound, last_text = _positions(list(scripted(engine, voice).stream("Tell.", speech=True)))
    assert first_sound < last_text


def test_a_slow_voice_does_not_hold_the_text_back() -> None:
    engine, voice = _slow(chunk_s=0.2)
    stream = scripted(engine, voice).stream("Tell.", speech=True)
    stamps = [(time.perf_counter(), event) for event in stream]
    text_done = max(stamp for stamp, event in stamps if isinstance(event, TextDelta))
    decoded = engine.intervals[-1][1]
    assert text_done - decoded < 0.2
    assert stamps[-1][0] - decoded > 1.0, "the voice was the slow one"


def test_one_sentence_is_spoken_after_it_was_written() -> None:
    """The guard: what has no second sentence cannot overlap."""
    engine, voice = _slow("Just this.")
    events = list(scripted(engine, voice).stream("Tell.", speech=True))
    first_sound, last_text = _positions(events)
    assert first_sound > last_text
    assert _overlap_s(engine.intervals, voice.intervals) == 0


@pytest.mark.parametrize("after", ["first text", "first sound", "second sentence"])
@pytest.mark.parametrize("how", ["close", "drop", "break"])
def test_closing_stops_the_model_and_the_voice(after: str, how: str) -> None:
    engine, voice = _slow()
    stream = scripted(engine, voice).stream("Tell.", speech=True)
    for event in stream:
        is_sound = isinstance(event, SpeechChunk)
        if after == "first text" or (is_sound and (after == "first sound" or event.sentence > 0)):
            break
    steps, speaking = len(engine.intervals), len(voice.said)
    chunks = len(voice.intervals)
    if how == "close":
        stream.close()
    elif how == "drop":
        del stream
    else:
        with pytest.raises(KeyboardInterrupt):
            stream.throw(KeyboardInterrupt)
    time.sleep(0.15)
    assert len(engine.intervals) == steps, "no further token is computed"
    assert len(voice.intervals) <= chunks + 1, "at most the chunk that was being computed"
    assert len(voice.said) <= speaking + 1


def test_a_silent_stream_stops_too() -> None:
    engine, _ = _slow()
    stream = scripted(engine).stream("Tell.")
    for _ in range(5):
        next(stream)
    steps = len(engine.intervals)
    assert steps == 5
    stream.close()
    assert len(engine.intervals) == steps


def test_a_slow_reader_slows_the_model_and_not_the_voice() -> None:
    engine, voice = _slow(chunk_s=0.001)
    stream = scripted(engine, voice).stream("Tell.", speech=True)
    written = ""
    while not voice.said:
        event = next(stream)
        written += event.text if isinstance(event, TextDelta) else ""
    steps = len(engine.intervals)
    time.sleep(0.1)
    assert len(engine.intervals) == steps, "the model waits for its reader"
    assert len(voice.intervals) >= 2, "the voice does not"
    assert voice.said[0] == STORY[: len(voice.said[0])]
    assert len(written) <= len(voice.said[0]) + 8, "a sentence is spoken when its end is known"
