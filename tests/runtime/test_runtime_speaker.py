"""The speaker speaks in order, in a thread of its own, and stops when told."""

import random
import threading
import time

import numpy as np
import pytest
from fakes import FakeVoice

from unisono.runtime.speaker import Speaker


def _wait_for_the_end(speaker: Speaker) -> None:
    speaker._thread.join(timeout=5)
    assert not speaker._thread.is_alive()


def test_order_is_kept_whatever_the_voice_takes() -> None:
    random.seed(0)
    voice = FakeVoice(chunk_s=lambda: random.random() / 200, chunks=3)
    speaker = Speaker(voice)
    sentences = [f"Sentence {index}." for index in range(8)]
    chunks = []
    for sentence in sentences:
        speaker.say(sentence)
        chunks += speaker.ready()
        time.sleep(random.random() / 100)
    speaker.finish()
    chunks += speaker.rest()
    assert voice.said == sentences
    assert [chunk.sentence for chunk in chunks] == [i for i in range(8) for _ in range(3)]
    assert [chunk.text for chunk in chunks if chunk.text] == sentences
    assert [bool(chunk.text) for chunk in chunks] == [True, False, False] * 8
    assert all(np.allclose(chunk.pcm, chunk.sentence / 100) for chunk in chunks)
    assert all(chunk.sample_rate_hz == 8000 for chunk in chunks)
    assert threading.get_ident() not in voice.threads
    _wait_for_the_end(speaker)


def test_ready_never_waits() -> None:
    speaker = Speaker(FakeVoice(chunk_s=lambda: 0.2, chunks=1))
    speaker.say("Slow.")
    started = time.perf_counter()
    assert list(speaker.ready()) == []
    assert time.perf_counter() - started < 0.1
    assert speaker.busy
    speaker.finish()
    assert len(list(speaker.rest())) == 1
    assert not speaker.busy


def test_nothing_to_say() -> None:
    speaker = Speaker(FakeVoice())
    assert not speaker.busy
    speaker.finish()
    _wait_for_the_end(speaker)
    assert list(speaker.ready()) == []
    assert list(speaker.rest()) == []


@pytest.mark.parametrize("how", ["ready", "rest"])
def test_an_error_of_the_voice_reaches_the_consumer(how: str) -> None:
    speaker = Speaker(FakeVoice(chunks=1, fails_at=1))
    speaker.say("One.")
    speaker.say("Two.")
    speaker.finish()
    _wait_for_the_end(speaker)
    chunks = getattr(speaker, how)()
    assert next(chunks).sentence == 0
    with pytest.raises(RuntimeError, match=r"the voice broke at 'Two\.'"):
        next(chunks)


def test_closing_stops_before_the_next_chunk() -> None:
    voice = FakeVoice(chunk_s=lambda: 0.02, chunks=50)
    speaker = Speaker(voice)
    speaker.say("Long.")
    speaker.say("Never.")
    while not (chunks := list(speaker.ready())):
        time.sleep(0.005)
    assert chunks
    started = time.perf_counter()
    speaker.close()
    assert time.perf_counter() - started < 0.02, "closing does not wait"
    computed = len(voice.intervals)
    _wait_for_the_end(speaker)
    assert len(voice.intervals) <= computed + 1
    assert voice.said == ["Long."]
