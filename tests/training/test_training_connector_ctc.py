"""Connector pre-alignment: the loss is CTC's, the connector learns to say tokens."""

import json
from pathlib import Path

import numpy as np
import olas
import pytest
import torch
from torch import Tensor

from unisono.errors import ConversationError, MediaTooLargeError, RecipeError
from unisono.manifests.row import PairRow
from unisono.models.ola import OlaForConditionalGeneration, OlaProcessor
from unisono.training import goals
from unisono.training.feature_cache import EncoderCache, FeatureStore
from unisono.training.objectives.connector_ctc import (
    ConnectorCtc,
    CtcAlignment,
    Utterance,
    occurring_tokens,
)

QUESTIONS = Path(__file__).parents[2] / "examples" / "questions"
SIZES = {"audio_stack": 5, "audio_connector_width": 256}
WORDS = ("sky", "week", "earth", "bees", "moon", "bread", "why", "sea")


def spoken() -> list[PairRow]:
    """A second of eight real recordings, each with a word to be learned by heart."""
    names = [json.loads(line)["id"] for line in (QUESTIONS / "questions.jsonl").open()]
    pairs = zip(names, WORDS, strict=False)
    return [PairRow(f"q:{n}", text=word, audio=QUESTIONS / f"{n}.ogg") for n, word in pairs]


def setting(**fields: float) -> tuple[OlaForConditionalGeneration, OlaProcessor, ConnectorCtc]:
    model, processor = olas.ola(speech=True, audio_chunk_s=1.0, **SIZES)
    model.requires_grad_(False)
    model.encoders.audio_connector.requires_grad_(True)
    tokens = occurring_tokens(spoken(), processor)
    return (
        model,
        processor,
        ConnectorCtc(processor, goals.ConnectorCtc(**fields), tokens),
    )


def examples_of(work: ConnectorCtc) -> list[Utterance]:
    return [work.prepare(row) for row in spoken()]


def explicit_loss(model: CtcAlignment, examples: list[Utterance], work: ConnectorCtc) -> Tensor:
    """One utterance after the other, the distances as they are defined."""
    losses = []
    embeddings = model.model.get_input_embeddings().weight[list(work.tokens)]
    for one in examples:
        media = work.processor.media_tensors([one.span])
        every = model.model.encoders(**media)[model.model.config.audio_token_id]
        row = model.model.config.audio_tokens_per_chunk
        at = [i for i in range(len(every)) if 0 < i < len(every) - 1 and i % row]
        frames = every[at][: one.frames]
        distances = (frames[:, None] - embeddings[None]).square().sum(-1)
        said = -model.log_scale.exp() * distances
        log_probs = torch.cat([model.blank(frames), said], dim=-1).log_softmax(-1)
        targets = torch.tensor(one.classes)
        lengths = torch.tensor(len(frames)), torch.tensor(len(targets))
        losses.append(torch.nn.functional.ctc_loss(log_probs, targets, *lengths, reduction="sum"))
    return torch.stack(losses).sum()


def test_loss_is_that_of_explicit_logits() -> None:
    base, _, work = setting(scale=0.3)
    model = work.wrap(base)
    examples = examples_of(work)
    inputs, weight = work.collate(examples)
    assert weight == len(WORDS)
    trained = [p for p in model.parameters() if p.requires_grad]
    found, expected = work.loss(model, inputs, draw=0).loss, explicit_loss(model, examples, work)
    torch.testing.assert_close(found, expected)
    pairs = [torch.autograd.grad(one, trained, allow_unused=True) for one in (found, expected)]
    for mine, theirs in zip(*pairs, strict=True):
        if theirs is not None:
            torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4 * theirs.abs().max())


def test_only_the_connector_and_the_stages_own_parameters_learn() -> None:
    base, _, work = setting()
    model = work.wrap(base)
    inputs, _ = work.collate(examples_of(work))
    work.loss(model, inputs, draw=0).loss.backward()
    named = dict(model.named_parameters())
    learning = {name for name, p in named.items() if p.grad is not None}
    own = {"blank.weight", "blank.bias", "log_scale"}
    connector = {n for n in named if n.startswith("model.encoders.audio_connector.")}
    assert learning == own | connector
    assert model.log_scale.grad.abs() > 0
    assert model.model is base
    assert not {n for n in base.state_dict() if "blank" in n or "scale" in n}


def test_eight_utterances_are_learned_by_heart(tmp_path: Path) -> None:
    base, processor, work = setting(scale=3.0, window_s=0.0)
    work = ConnectorCtc(
        processor,
        work.settings,
        work.tokens,
        cache=EncoderCache(base.encoders, FeatureStore(tmp_path, 10**8)),
    )
    model = work.wrap(base)
    examples = examples_of(work)
    expected = [tuple(work.tokens[i - 1] for i in one.classes) for one in examples]
    assert heard(model, work, examples) != expected
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, 500)
    for step in range(500):
        inputs, weight = work.collate(examples)
        optimizer.zero_grad()
        (work.loss(model, inputs, draw=step).loss / weight).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 20 == 19 and heard(model, work, examples) == expected:
            break
    assert heard(model, work, examples) == expected
    check_soft_embeddings(model, work, examples, expected)


def heard(
    model: CtcAlignment, work: ConnectorCtc, examples: list[Utterance]
) -> list[tuple[int, ...]]:
    return [model.transcribed(frames) for frames in frames_of(model, work, examples)]


def frames_of(model: CtcAlignment, work: ConnectorCtc, examples: list[Utterance]) -> list[Tensor]:
    media = work.processor.media_tensors([one.span for one in examples])
    with torch.no_grad():
        frames = model.frames(**media)
    return [one[: example.frames] for one, example in zip(frames, examples, strict=True)]


def check_soft_embeddings(
    model: CtcAlignment,
    work: ConnectorCtc,
    examples: list[Utterance],
    expected: list[tuple[int, ...]],
) -> None:
    """Each is nearest to the embedding of the token that was said."""
    table = model.model.get_input_embeddings().weight
    for frames, said in zip(frames_of(model, work, examples), expected, strict=True):
        soft = model.soft_embeddings(frames)
        assert len(soft) == len(said)
        assert torch.cdist(soft, table).argmin(-1).tolist() == list(said)


def test_soft_embeddings_by_hand() -> None:
    base, _, work = setting()
    model = CtcAlignment(base, work.tokens, scale=50.0)
    words = model.words
    with torch.no_grad():
        model.blank.weight.zero_()
        model.blank.bias.fill_(-40.0)  # a frame far from all tokens is a blank
    away = torch.full((1, words.shape[1]), 9.0)
    frames = torch.cat([words[2:3], words[2:3], away, words[2:3], words[5:6] + 1e-3, away, away])
    with torch.no_grad():
        model.blank.bias.fill_(float(model.logits(away)[0, 1:].max()) + 1.0)
        soft = model.soft_embeddings(frames)
        assert model.transcribed(frames) == tuple(work.tokens[i] for i in (2, 2, 5))
    torch.testing.assert_close(soft, words[[2, 2, 5]], atol=1e-3, rtol=1e-3)
    assert model.soft_embeddings(away).shape == (0, words.shape[1])
    warm = model.soft_embeddings(words[2:3], temperature=1e6)
    torch.testing.assert_close(warm, words.mean(0, keepdim=True), atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("window_s", [0.0, 0.2, 5.0])
def test_frames_end_with_the_window(window_s: float) -> None:
    _, _, work = setting(window_s=window_s)
    sound = olas.tone(1.35)  # 2 chunks of 10 frames
    example = work.prepare(PairRow("u:1", text="sky", audio=sound))
    assert example.frames == min(20, int(np.ceil((1.35 + window_s) * 10)))


def test_rows_of_no_use() -> None:
    _, processor, work = setting(window_s=0.0)
    sound = olas.tone(0.5)
    for row in (olas.row("a", "b"), PairRow("u:1", audio=sound), PairRow("u:1", text="sky")):
        with pytest.raises(ConversationError, match="pairs of a sound and its text"):
            work.prepare(row)
    with pytest.raises(ConversationError, match="none of the announced texts has: .*'Z'"):
        work.prepare(PairRow("u:1", text="skZ", audio=sound))
    with pytest.raises(ConversationError, match="but is empty"):
        work.prepare(PairRow("u:1", text=" ", audio=sound))
    assert work.prepare(PairRow("u:1", text="skysk", audio=sound)).frames == 5
    with pytest.raises(ConversationError, match="needs a sound of 6 frames, but it has 5"):
        work.prepare(PairRow("u:1", text="kkyyh"[1:] + "a", audio=sound))
    with pytest.raises(MediaTooLargeError, match="the model hears at most 25 s"):
        work.prepare(PairRow("u:1", text="sky", audio=olas.tone(26.0)))
    with pytest.raises(RecipeError, match="rows with a text"):
        ConnectorCtc(processor, goals.ConnectorCtc(), ())
    deaf, _ = olas.ola(vision=True)
    with pytest.raises(RecipeError, match="with an audio connector"):
        CtcAlignment(deaf, (1, 2))
