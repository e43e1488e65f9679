"""Packed = padded = alone, in loss and gradients; rows that cannot be learned are refused."""

from collections.abc import Sequence

import olas
import pytest
import torch
from olas import image, row
from torch import Tensor

from unisono.conversation import AudioPart, ImagePart
from unisono.errors import (
    ContextLengthError,
    ConversationError,
    ModelConfigError,
    UnsupportedModalityError,
)
from unisono.manifests.row import PairRow
from unisono.models import packed_attention
from unisono.models.ola import OlaForConditionalGeneration, OlaProcessor
from unisono.training import goals
from unisono.training.objectives.next_token import INSTRUCTIONS, NextToken
from unisono.training.packing import LabelledPrompt, packed

Gradients = dict[str, Tensor]


def objective(processor: OlaProcessor, *, loss_chunk: int = 7, **fields: object) -> NextToken:
    return NextToken(processor, goals.NextToken(**fields), loss_chunk=loss_chunk)


def learned(
    model: OlaForConditionalGeneration, work: NextToken, examples: Sequence[LabelledPrompt]
) -> tuple[Tensor, Gradients]:
    inputs, _ = work.collate(examples)
    return backward(model, work.loss(model, inputs, draw=0).loss)


def backward(model: OlaForConditionalGeneration, loss: Tensor) -> tuple[Tensor, Gradients]:
    model.zero_grad(set_to_none=True)
    loss.backward()
    named = model.named_parameters()
    return loss.detach(), {n: p.grad.clone() for n, p in named if p.grad is not None}


def alone(
    model: OlaForConditionalGeneration, processor: OlaProcessor, examples: Sequence[LabelledPrompt]
) -> tuple[Tensor, Gradients]:
    """One conversation after the other through transformers' own loss, whose mean is undone."""
    losses = []
    for one in examples:
        batch = processor.collate([one.prompt], labels=[one.labels])
        losses.append(model(**batch).loss * one.learned)
    return backward(model, torch.stack(losses).sum())


def assert_equal(found: tuple[Tensor, Gradients], expected: tuple[Tensor, Gradients]) -> None:
    torch.testing.assert_close(found[0], expected[0], rtol=2e-5, atol=0.0)
    assert found[1].keys() == expected[1].keys()
    for name, gradient in expected[1].items():
        scale = float(gradient.abs().max())
        torch.testing.assert_close(found[1][name], gradient, rtol=1e-3, atol=1e-4 * scale + 1e-6)


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_packed_and_padded_are_each_alone(family: str) -> None:
    model, processor = olas.ola(family, speech=True, vision=True)
    both = {pack: objective(processor, pack=pack) for pack in (True, False)}
    examples = [both[True].prepare(one) for one in olas.rows()]
    expected = alone(model, processor, examples)
    assert expected[1].keys() == {n for n, p in model.named_parameters() if p.requires_grad}
    for work in both.values():
        assert_equal(learned(model, work, examples), expected)


@pytest.mark.parametrize("family", ["llama", "qwen2"])
def test_without_beginning_anew_packed_conversations_see_each_other(family: str) -> None:
    model, processor = olas.ola(family)
    work = objective(processor)
    examples = [work.prepare(row("Hello", word)) for word in ("one", "two")]
    inputs = packed(examples)
    apart = model(**inputs, loss_chunk=8).loss
    inputs["position_ids"] = torch.arange(inputs["input_ids"].shape[1])[None]
    assert (model(**inputs, loss_chunk=8).loss - apart).abs() > 1e-3


def test_packed_conversations_are_attended_to_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """No attention is as long as the row; afterwards the model answers as before."""
    model, processor = olas.ola("qwen2", speech=True, vision=True)
    work = objective(processor)
    examples = [work.prepare(one) for one in olas.rows()]
    question = processor(["Hello"])
    with torch.no_grad():
        before = model(**question).logits
    lengths: list[int] = []
    attend = packed_attention.scaled_dot_product_attention

    def watched(query: Tensor, *others: Tensor, **kwargs: object) -> Tensor:
        lengths.append(query.shape[2])
        assert kwargs["is_causal"]
        return attend(query, *others, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(packed_attention, "scaled_dot_product_attention", watched)
    learned(model, work, examples)
    assert sorted(set(lengths)) == sorted({len(one.labels) for one in examples})
    with torch.no_grad():
        assert torch.equal(model(**question).logits, before)


def test_a_model_that_sees_a_window_only_gets_its_mask() -> None:
    model, _ = olas.ola("qwen2")
    places = torch.tensor([[0, 1, 2, 0, 1]])
    text = model.language_model.model
    assert packed_attention.segment_arguments(text, places, None)["segment_lengths"] == [3, 2]
    text.config.layer_types = ["full_attention", "sliding_attention"]
    assert packed_attention.segment_arguments(text, places, None) == {}
    text.config.layer_types = None
    assert packed_attention.segment_arguments(text, places[:, :3], None) == {}
    assert packed_attention.segment_arguments(text, places, torch.ones(1, 5)) == {}


@pytest.mark.parametrize("supervision", ["answers", "answers and controls"])
def test_weight_is_what_the_loss_sums(supervision: str) -> None:
    _, processor = olas.ola(speech=True, vision=True)
    for pack in (True, False):
        work = objective(processor, pack=pack, supervision=supervision)
        examples = [work.prepare(one) for one in olas.rows()]
        inputs, weight = work.collate(examples)
        assert weight == int((inputs["labels"][:, 1:] != -100).sum())
        assert weight == sum(one.learned for one in examples)
    work = objective(processor)
    assert work.collate([work.prepare(olas.rows()[0])])[1] == len("a cat") + 1


def test_kind_and_length() -> None:
    _, processor = olas.ola(speech=True, vision=True)
    work = objective(processor)
    examples = [work.prepare(one) for one in olas.rows()]
    assert [work.kind(one) for one in examples] == ["image", "text", "audio", "audio+image"]
    assert [work.length(one) for one in examples] == [len(one.prompt.ids) for one in examples]


@pytest.mark.parametrize("kind", ["image", "audio"])
def test_a_pair_becomes_a_conversation(kind: str) -> None:
    _, processor = olas.ola(speech=True, vision=True)
    work = objective(processor)
    media = {"image": image(), "audio": olas.tone(0.5)}
    pair = PairRow("pairs.jsonl:1", text="a caption", **{kind: media[kind]})
    part = ImagePart(image=media[kind]) if kind == "image" else AudioPart(audio=media[kind])
    expected = work.prepare(row(INSTRUCTIONS[kind], "a caption", part))
    assert work.prepare(pair) == expected
    asked = PairRow("p:1", text="a caption", image=image(), fields={"instruction": "Name it."})
    ids = [token for token in work.prepare(asked).prompt.ids if token < 256]
    assert "Name it." in processor.tokenizer.decode(ids)


def test_rows_of_no_use() -> None:
    _, processor = olas.ola(vision=True)
    work = objective(processor, max_tokens=60)
    with pytest.raises(ContextLengthError, match=r"at most 60 tokens .*, but has \d+"):
        work.prepare(row("x" * 60, "y"))
    with pytest.raises(ConversationError, match="one medium .* but has text instead"):
        work.prepare(PairRow("p:1", text="alone"))
    with pytest.raises(ConversationError, match="but has text and image and audio instead"):
        work.prepare(PairRow("p:1", text="a", image=image(), audio=olas.tone(0.1)))
    with pytest.raises(ConversationError, match="but has image instead"):
        work.prepare(PairRow("p:1", image=image()))
    with pytest.raises(UnsupportedModalityError):
        work.prepare(row("?", "!", AudioPart(audio=olas.tone(0.1))))


def test_every_trainable_parameter_has_a_gradient_whatever_the_media() -> None:
    """Ranks whose batches differ in media would wait for each other forever."""
    model, processor = olas.ola(speech=True, vision=True)
    model.requires_grad_(False)
    model.encoders.audio_connector.requires_grad_(True)
    model.encoders.vision.requires_grad_(True)
    work = objective(processor)
    _, found = learned(model, work, [work.prepare(row("Hello", "you"))])
    trainable = {name for name, p in model.named_parameters() if p.requires_grad}
    assert found.keys() == trainable
    assert not any(gradient.any() for gradient in found.values())
    model.eval()
    assert model.encoders() == {}, "but serving pays nothing for it"


def test_dropout_of_a_frozen_encoder_is_off() -> None:
    model, processor = olas.ola(speech=True)
    hearing = model.encoders.hearing
    hearing.speech.config.dropout = hearing.speech.dropout = 0.5
    work = objective(processor)
    examples = [work.prepare(olas.rows()[2])]
    inputs, _ = work.collate(examples)
    losses = [work.loss(model, inputs, draw=0).loss for _ in range(2)]
    assert losses[0] != losses[1]
    hearing.requires_grad_(False)
    losses = [work.loss(model, inputs, draw=0).loss for _ in range(2)]
    assert losses[0] == losses[1]
    assert hearing.training
    assert all(module.training for module in hearing.modules())


def test_checkpointed_layers_change_nothing() -> None:
    model, processor = olas.ola(speech=True, vision=True)
    work = objective(processor)
    examples = [work.prepare(one) for one in olas.rows()]
    expected = learned(model, work, examples)
    model.gradient_checkpointing_enable({"use_reentrant": False})
    assert_equal(learned(model, work, examples), expected)


def test_it_learns() -> None:
    model, processor = olas.ola(speech=True, vision=True)
    work = objective(processor)
    inputs, weight = work.collate([work.prepare(one) for one in olas.rows()])
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for step in range(60):
        optimizer.zero_grad()
        loss = work.loss(model, inputs, draw=step).loss / weight
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.1 * losses[0]


def test_logits_that_change_behind_the_head_have_no_chunked_loss() -> None:
    model, processor = olas.ola()
    work = objective(processor)
    inputs, _ = work.collate([work.prepare(row("Hello", "you"))])
    model.config.text_config.final_logit_softcapping = 30.0
    with pytest.raises(ModelConfigError, match="final_logit_softcapping"):
        work.loss(model, inputs, draw=0)


def test_known_features_must_be_those_of_the_known_media() -> None:
    model, processor = olas.ola(speech=True)
    work = objective(processor)
    inputs, _ = work.collate([work.prepare(olas.rows()[2])])
    known = {"audio_known": torch.tensor([True]), "audio_features": torch.zeros(2, 50, 16)}
    with pytest.raises(ValueError, match="audio_features must be 1, but are 2 instead"):
        model(**inputs, **known)
