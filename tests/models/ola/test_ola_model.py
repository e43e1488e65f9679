"""The model reads text and sound, generates, trains, and is the same after a round trip."""

from pathlib import Path
from unittest.mock import Mock

import pytest
import tiny
import torch
from fakes import tone
from transformers import AutoModelForCausalLM, AutoProcessor

from unisono.conversation import AudioPart, Message, TextPart
from unisono.errors import (
    ModelConfigError,
    PlaceholderMismatchError,
    UnsupportedModalityError,
)
from unisono.models.ola import OlaForConditionalGeneration, OlaProcessor

BOTH = {"speech": True, "sound": True}
KINDS = [{}, {"speech": True}, {"sound": True}, BOTH]


def heard(text: str, *durations_s: float) -> list[Message]:
    audio = [AudioPart(audio=tone(d, hz=200 + 300 * d)) for d in durations_s]
    return [Message(role="user", content=(*audio, TextPart(text=text)))]


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_left_padded_batch_generates_what_each_would_alone(seed: int) -> None:
    model, processor = tiny.ola(seed=seed, **BOTH)
    questions = [
        "hi",
        heard("What is it?", 0.7),
        "a much longer question, indeed",
        heard("And?", 1.5, 0.4),
    ]
    options = {"max_new_tokens": 12, "do_sample": False, "eos_token_id": -1}
    batch = processor(questions)
    length = batch["input_ids"].shape[1]
    together = model.generate(**batch, **options)[:, length:]
    assert together.shape == (4, 12)
    for row, one in zip(together, questions, strict=True):
        alone = processor(one)
        found = model.generate(**alone, **options)[0, alone["input_ids"].shape[1] :]
        assert row.tolist() == found.tolist()
    assert len({tuple(row.tolist()) for row in together}) > 1, "the questions must matter"


def test_a_sound_changes_the_answer() -> None:
    model, processor = tiny.ola(**BOTH)
    logits = [
        model(**processor(heard("?", duration_s))).logits[0, -1] for duration_s in (0.5, 0.6, 0.6)
    ]
    assert not torch.allclose(logits[0], logits[1], atol=1e-3)
    assert torch.equal(logits[1], logits[2])


def test_generating_without_a_cache_still_hears() -> None:
    model, processor = tiny.ola(**BOTH)
    batch = processor(heard("What?", 0.7))
    options = {"max_new_tokens": 5, "do_sample": False, "eos_token_id": -1}
    with_cache = model.generate(**batch, **options)
    assert torch.equal(model.generate(**batch, use_cache=False, **options), with_cache)


@pytest.mark.parametrize("kinds", KINDS)
def test_saving_and_loading_keeps_every_logit(kinds: dict[str, bool], tmp_path: Path) -> None:
    model, processor = tiny.ola(**kinds)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    question = heard("What?", 0.7) if kinds else "What?"
    expected = model(**processor(question)).logits
    classes = ((OlaForConditionalGeneration, OlaProcessor), (AutoModelForCausalLM, AutoProcessor))
    for model_class, processor_class in classes:
        again = model_class.from_pretrained(tmp_path).eval()
        assert type(again) is OlaForConditionalGeneration
        batch = processor_class.from_pretrained(tmp_path)(question)
        assert torch.equal(again(**batch).logits, expected)
        table, head = again.get_input_embeddings().weight, again.get_output_embeddings().weight
        assert table is head, "tied embeddings stay tied"
    assert set(again.state_dict()) == set(model.state_dict())


def test_untied_embeddings_stay_untied(tmp_path: Path) -> None:
    config = tiny.ola_config()
    config.text_config.tie_word_embeddings = config.tie_word_embeddings = False
    model = OlaForConditionalGeneration(config).eval()
    model.save_pretrained(tmp_path)
    again = OlaForConditionalGeneration.from_pretrained(tmp_path)
    assert again.get_input_embeddings().weight is not again.get_output_embeddings().weight
    ids = torch.tensor([[1, 2, 3]])
    assert torch.equal(again(input_ids=ids).logits, model(input_ids=ids).logits)


def test_training_reaches_every_part_that_hears() -> None:
    model, processor = tiny.ola(**BOTH)
    model.train()
    batch = processor([heard("What?", 0.7), "hello"])
    labels = batch["input_ids"].clone()
    labels[
        (labels >= processor.config.text_config.vocab_size) | (batch["attention_mask"] == 0)
    ] = -100
    loss = model(**batch, labels=labels).loss
    assert torch.isfinite(loss)
    loss.backward()
    connector = model.encoders.audio_connector
    assert connector is not None
    for name, parameter in connector.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name
    assert model.encoders.hearing is not None
    for encoder in (model.encoders.hearing.speech, model.encoders.hearing.sound):
        assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in encoder.parameters())


def test_a_few_steps_of_training_lower_the_loss() -> None:
    model, processor = tiny.ola(speech=True)
    batch = processor(heard("What?", 0.7))
    labels = batch["input_ids"].clone()
    labels[labels >= processor.config.text_config.vocab_size] = -100
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(8):
        loss = model(**batch, labels=labels).loss
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert losses[-1] < losses[0] / 2


def test_absent_media_cost_nothing() -> None:
    model, processor = tiny.ola(**BOTH)
    assert model.encoders.hearing is not None
    model.encoders.hearing.forward = Mock(wraps=model.encoders.hearing.forward)
    model.generate(**processor("hi"), max_new_tokens=3, do_sample=False)
    assert model.encoders.hearing.forward.call_count == 0
    model.generate(**processor(heard("?", 0.5)), max_new_tokens=3, do_sample=False)
    assert model.encoders.hearing.forward.call_count == 1, "with the prompt, not with each token"


@pytest.mark.parametrize("kinds", [{"speech": True}, {"sound": True}])
def test_an_encoder_that_makes_too_many_frames_is_refused(kinds: dict[str, bool]) -> None:
    model, processor = tiny.ola(audio_frames_per_chunk=40, **kinds)
    with pytest.raises(ModelConfigError, match=r"at least (49|50).*but is 40"):
        model(**processor(heard("?", 0.5)))


def test_mistakes_are_named() -> None:
    model, processor = tiny.ola(speech=True)
    batch = processor(heard("?", 0.5))
    with pytest.raises(PlaceholderMismatchError, match=r"8 placeholders.*0 embeddings"):
        model(input_ids=batch["input_ids"])
    one_fewer = batch["input_ids"].clone()
    one_fewer[one_fewer == processor.config.audio_token_id] = 1
    with pytest.raises(PlaceholderMismatchError, match=r"0 placeholders.*8 embeddings"):
        model(**{**batch, "input_ids": one_fewer})
    deaf, _ = tiny.ola()
    with pytest.raises(UnsupportedModalityError, match="no hearing encoder"):
        deaf(**{**batch, "input_ids": one_fewer})
    with pytest.raises(ValueError, match="audio_mels"):
        model(input_ids=batch["input_ids"], audio_chunk_counts=batch["audio_chunk_counts"])
    with pytest.raises(ValueError, match="input_ids or inputs_embeds"):
        model()


def test_embeddings_in_are_ids_in() -> None:
    model, processor = tiny.ola(**BOTH)
    batch = processor(heard("What?", 0.7))
    media = {name: value for name, value in batch.items() if name.startswith("audio_")}
    embeddings = model.embed(batch["input_ids"], **media)
    assert torch.equal(model(inputs_embeds=embeddings).logits, model(**batch).logits)


def test_bfloat16() -> None:
    model, processor = tiny.ola(**BOTH)
    expected = model(**processor(heard("?", 0.5))).logits
    found = model.to(torch.bfloat16)(**processor(heard("?", 0.5))).logits
    assert found.dtype == torch.bfloat16
    similarity = torch.cosine_similarity(found.float(), expected, dim=-1)
    assert similarity.min() > 0.99
    generated = model.generate(**processor(heard("?", 0.5)), max_new_tokens=3, do_sample=False)
    assert generated.shape[1] > 3
