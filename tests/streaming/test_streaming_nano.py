"""The real model with the real voice: sound before the last text."""

import pytest

from unisono import Assistant, Finished, SpeechChunk, TextDelta

QUESTIONS = [
    "Tell me three facts about the moon, in three sentences.",
    "Describe a day at the beach in four short sentences.",
    "What is bread? Explain it in three sentences.",
]


@pytest.mark.parametrize("question", QUESTIONS)
def test_it_speaks_while_it_writes(nano: Assistant, question: str) -> None:
    nano.warm_up(speech=True)
    events = list(nano.stream(question, speech=True, max_new_tokens=64))
    finished = events[-1]
    assert isinstance(finished, Finished)
    sounds = [i for i, event in enumerate(events) if isinstance(event, SpeechChunk)]
    texts = [i for i, event in enumerate(events) if isinstance(event, TextDelta)]
    spoken = [event for event in events if isinstance(event, SpeechChunk)]
    assert len({chunk.sentence for chunk in spoken}) > 1, f"one sentence only: {finished.text!r}"
    assert sounds[0] < texts[-1]
    assert finished.timings.first_speech_s is not None
    assert finished.timings.first_speech_s < finished.timings.total_s
    assert "".join(events[i].text for i in texts) == finished.text  # type: ignore[union-attr]
    assert max(abs(chunk.pcm).max() for chunk in spoken) > 0.05, "it is not silence"
