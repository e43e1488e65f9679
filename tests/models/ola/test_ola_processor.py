"""The processor counts as many placeholders as the encoders make embeddings."""

from typing import Any

import numpy as np
import pytest
import tiny
from fakes import tone

from unisono.conversation import AudioPart, Message, TextPart
from unisono.errors import ConversationError, UnsupportedModalityError
from unisono.models.ola import OlaProcessor
from unisono.models.ola.prompt import AudioSpan, Prompt


def question(*sounds: np.ndarray, text: str = "What is it?", **part: Any) -> list[Message]:
    audio = [AudioPart(audio=sound, **part) for sound in sounds]
    return [Message(role="user", content=(*audio, TextPart(text=text)))]


@pytest.mark.parametrize(
    "kinds", [{"speech": True}, {"sound": True}, {"speech": True, "sound": True}]
)
@pytest.mark.parametrize("durations_s", [(0.3,), (1.0,), (1.01, 2.5), (0.1, 3.0, 0.9)])
def test_placeholders_are_as_many_as_features(
    kinds: dict[str, bool], durations_s: tuple[float, ...]
) -> None:
    model, processor = tiny.ola(**kinds)
    batch = processor(question(*map(tone, durations_s)))
    chunks = [int(np.ceil(duration_s)) for duration_s in durations_s]
    assert batch["audio_chunk_counts"].tolist() == chunks
    media = {k: v for k, v in batch.items() if k.startswith("audio_")}
    ((kind, features),) = model.encoders(**media).items()
    assert kind == processor.config.audio_token_id
    assert int((batch["input_ids"] == kind).sum()) == len(features)
    assert len(features) == sum(count * 6 + 2 for count in chunks)


def test_the_last_chunk_is_padded_with_silence() -> None:
    _, processor = tiny.ola(sound=True)
    sound = tone(1.5)
    samples = processor(question(sound))["audio_samples"].numpy()
    assert samples.shape == (2, 16_000)
    np.testing.assert_allclose(samples.reshape(-1)[:24_000], sound, atol=1e-6)
    assert not samples.reshape(-1)[24_000:].any()


def test_too_long_a_sound_is_cut_and_that_is_said() -> None:
    _, processor = tiny.ola(speech=True, audio_max_chunks=2)
    assert processor.prompt(question(tone(2.0))).notices == ()
    prompt = processor.prompt(question(tone(2.5)))
    assert len(prompt.spans[0].arrays()[0]) == 2
    (notice,) = prompt.notices
    assert "lasts 2 s" in notice or "lasts 3 s" in notice
    assert "at most 2 s" in notice


def _text_of(processor: OlaProcessor, prompt: Prompt) -> str:
    known = [token for token in prompt.ids if token < len(processor.tokenizer)]
    return str(processor.tokenizer.decode(known))


def test_hearing_by_connector_leaves_words_out() -> None:
    _, processor = tiny.ola(speech=True, hearing="connector")
    prompt = processor.prompt(question(tone(), transcript="a tone"))
    assert len(prompt.spans) == 1
    assert "tone" not in _text_of(processor, prompt)


def test_hearing_by_listener_reads_words_only() -> None:
    _, processor = tiny.ola(speech=True, hearing="listener")
    prompt = processor.prompt(question(tone(), transcript="a tone"))
    assert not prompt.spans
    assert 'user\nWords heard: "a tone"\nWhat is it?<|im_end|>' in _text_of(processor, prompt)
    alone = [Message(role="user", content=(AudioPart(audio=tone(), transcript="Who is it?"),))]
    assert "user\nWho is it?<|im_end|>" in _text_of(processor, processor.prompt(alone))


def test_hearing_both_ways() -> None:
    _, processor = tiny.ola(speech=True, hearing="both")
    prompt = processor.prompt(question(tone(), tone(2.0), transcript="a tone"))
    assert len(prompt.spans) == 2
    assert _text_of(processor, prompt).count('\nWords heard: "a tone"') == 2


@pytest.mark.parametrize("hearing", ["listener", "both"])
def test_a_sound_nobody_listened_to_is_refused(hearing: str) -> None:
    _, processor = tiny.ola(speech=True, hearing=hearing)
    with pytest.raises(ConversationError, match="transcript"):
        processor.prompt(question(tone()))


def test_media_the_model_has_no_encoder_for() -> None:
    _, processor = tiny.ola()
    with pytest.raises(UnsupportedModalityError, match="no hearing encoder"):
        processor.prompt(question(tone()))
    for kind in ("image", "video"):
        parts = [{"type": kind, kind: "a.png"}, {"type": "text", "text": "what?"}]
        with pytest.raises(UnsupportedModalityError, match=f"vision encoder.*{kind}"):
            processor.prompt([{"role": "user", "content": parts}])


def test_a_batch_is_padded_on_the_left() -> None:
    _, processor = tiny.ola(speech=True)
    batch = processor(["hi", "a longer question", question(tone())])
    for row, one in enumerate(["hi", "a longer question", question(tone())]):
        alone = processor(one)["input_ids"][0]
        length = len(alone)
        assert batch["input_ids"][row, -length:].equal(alone)
        assert batch["attention_mask"][row].sum() == length
        assert batch["attention_mask"][row, -length:].all()
        assert (batch["input_ids"][row, :-length] == processor.tokenizer.pad_token_id).all()


def test_the_models_system_prompt_gives_way_to_the_callers() -> None:
    _, processor = tiny.ola(system_prompt="Be kind.")
    assert "<|im_start|>system\nBe kind.<|im_end|>" in _text_of(processor, processor.prompt("hi"))
    messages = [{"role": "system", "content": "Rhyme."}, {"role": "user", "content": "hi"}]
    text = _text_of(processor, processor.prompt(messages))
    assert "Rhyme." in text
    assert "Be kind." not in text


def _span(start: int, length: int, value: float) -> AudioSpan:
    return AudioSpan(start, length, np.full((1, 4), value, dtype=np.float32))


def test_prompts_agree_up_to_a_different_sound() -> None:
    ids = (1, 2, 9, 9, 9, 3)
    prompt = Prompt(ids, (_span(2, 3, 0.5),))
    assert prompt.common_prefix(Prompt(ids, (_span(2, 3, 0.5),)).keys()) == 6
    assert prompt.common_prefix(Prompt(ids, (_span(2, 3, 0.6),)).keys()) == 2
    assert prompt.common_prefix(Prompt((1, 5), ()).keys()) == 1


def test_a_prefix_never_ends_inside_a_sound() -> None:
    prompt = Prompt((1, 2, 9, 9, 9, 3), (_span(2, 3, 0.5),))
    lengths = [prompt.common_prefix(prompt.keys()[:held]) for held in range(7)]
    assert lengths == [0, 1, 2, 2, 2, 5, 6]


def test_a_tail_keeps_the_sounds_behind_it() -> None:
    prompt = Prompt((9, 9, 1, 9, 9, 3), (_span(0, 2, 0.5), _span(3, 2, 0.6)))
    tail = prompt.tail(2)
    assert tail.ids == (1, 9, 9, 3)
    assert [(span.start, span.digest) for span in tail.spans] == [(1, prompt.spans[1].digest)]
