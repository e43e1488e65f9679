"""Media in conversations: opened once, encoded once, the same answer as from nothing."""

from unittest.mock import Mock

import numpy as np
import pytest
import recordings
from fakes import assistant, tone
from PIL import Image

from unisono import Assistant, Finished, TextDelta
from unisono.models.ola import processor_media

SETTINGS = {"max_new_tokens": 8}
FILM = recordings.make_video((30, 90, 150, 210, 40), audio="aac")


def picture(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture
def seeing() -> Assistant:
    return assistant(speech=True, sound=True, vision=True)


def test_a_second_turn_opens_and_encodes_nothing(
    seeing: Assistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = Mock(wraps=processor_media.load_video)
    monkeypatch.setattr(processor_media, "load_video", opened)
    encoders = seeing.reader.encoders
    assert encoders is not None
    encoders.each = Mock(wraps=encoders.each)  # type: ignore[method-assign]
    session = seeing.session()
    first = session.chat("What happens?", video=FILM, **SETTINGS)
    encoded = encoders.each.call_count
    second = session.chat("And then?", **SETTINGS)
    assert (opened.call_count, encoders.each.call_count) == (1, encoded)
    assert second.usage.cached_tokens >= first.usage.prompt_tokens


def test_the_same_picture_in_another_conversation_is_not_encoded_again(seeing: Assistant) -> None:
    encoders = seeing.reader.encoders
    assert encoders is not None
    encoders.each = Mock(wraps=encoders.each)  # type: ignore[method-assign]
    fresh = seeing.chat("What is it?", image=picture(0), **SETTINGS)
    kept = seeing.chat("What is it?", image=picture(0), **SETTINGS)
    assert encoders.each.call_count == 1
    assert kept.text == fresh.text
    seeing.chat("What is it?", image=picture(1), **SETTINGS)
    assert encoders.each.call_count == 2


def test_a_stream_is_what_generate_gives(seeing: Assistant) -> None:
    """Streaming over kept features equals the model's own `generate` in one go."""
    model, processor = seeing.reader.engine.model, seeing.reader.processor  # type: ignore[attr-defined]
    question = [
        {
            "role": "user",
            "content": [
                {"type": "image", "image": picture(0)},
                {"type": "audio", "audio": tone(0.8)},
                {"type": "text", "text": "?"},
            ],
        }
    ]
    for _ in range(2):  # the second time from kept features
        *deltas, finished = seeing.stream(question, **SETTINGS)
        assert isinstance(finished, Finished)
        text = "".join(delta.text for delta in deltas if isinstance(delta, TextDelta))
        prompt = processor.prompt(question)
        embeddings = seeing.reader.embed(prompt)[None]
        ids = model.generate(inputs_embeds=embeddings, do_sample=False, **SETTINGS)[0]
        assert text == finished.text == processor.tokenizer.decode(ids, skip_special_tokens=True)


def test_what_the_model_does_not_get_is_said(seeing: Assistant) -> None:
    silent = recordings.make_video((30, 90))
    assert seeing.chat("?", video=silent, **SETTINGS).notices == ("the video has no sound",)
    assert seeing.chat("?", video=FILM, **SETTINGS).notices == ()
