"""ONE-PEACE's losses as an objective: pairs in, the loss of the model out, repeatable."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest
import tiny
import tiny_onepeace
import torch
from PIL import Image

from unisono.conversation import Message
from unisono.errors import BadRowError, MediaError
from unisono.manifests.row import ConversationRow, PairRow
from unisono.models.onepeace import AUDIO_LANGUAGE, AUDIO_VISION, OnePeaceForPretraining
from unisono.training.goals import Contrastive
from unisono.training.objectives.onepeace import OnePeaceContrast

WORDS = ("a red square", "a blue dog barks loudly", "rain", "two bells and a drum")
COLOURS = ("red", "blue", "grey", "yellow")


@pytest.fixture(scope="module")
def processor() -> Iterator[object]:
    return tiny.onepeace()[1]


def pictures() -> list[PairRow]:
    draws = np.random.default_rng(0)
    rows = []
    for i, (words, colour) in enumerate(zip(WORDS, COLOURS, strict=True)):
        picture = Image.new("RGB", (64, 40), colour)
        picture.paste(Image.fromarray(draws.integers(0, 255, (9, 9, 3), dtype=np.uint8)), (i, i))
        rows.append(PairRow(f"rows:{i}", text=words, image=picture))
    return rows


def sounds() -> list[PairRow]:
    times = np.arange(24_000, dtype=np.float32) / 16_000
    tones = [
        np.sin(2 * np.pi * f * times[: 16_000 + 2000 * i])
        for i, f in enumerate((220, 330, 440, 550))
    ]
    return [
        PairRow(f"rows:{i}", text=w, audio=(x, 16_000))
        for i, (w, x) in enumerate(zip(WORDS, tones, strict=True))
    ]


def model_of(processor: object, *, train: bool = False) -> OnePeaceForPretraining:
    config = tiny.onepeace()[0].config
    torch.manual_seed(0)
    model = tiny_onepeace.randomised(OnePeaceForPretraining(config))
    return model.train(train)


def batch(objective: OnePeaceContrast, rows: Sequence[PairRow]) -> dict[str, torch.Tensor]:
    inputs, weight = objective.collate([objective.prepare(row) for row in rows])
    assert weight == 1
    return dict(inputs)


STAGES = {"vision_language": pictures, "audio_language": sounds}


@pytest.mark.parametrize("stage", STAGES)
def test_a_draw_repeats_and_another_draw_differs(stage: str, processor: object) -> None:
    objective = OnePeaceContrast(processor, Contrastive(stage=stage))
    inputs, model = batch(objective, STAGES[stage]()), model_of(processor)
    first, again, other = (objective.loss(model, inputs, draw=d) for d in (7, 7, 8))
    assert torch.equal(first.loss, again.loss)
    assert not torch.equal(first.loss, other.loss)
    expected = {"contrast", *objective.stage.alone, *(f"joint_{m}" for m in objective.stage.joint)}
    assert expected <= first.terms.keys()
    weighed = sum(objective.stage.weight(n) * first.terms[n] for n in expected)
    torch.testing.assert_close(first.loss.detach(), weighed)
    assert 0 <= first.terms["found_by_text"] <= 1


@pytest.mark.parametrize("stage", STAGES)
def test_mixed_precision_is_close(stage: str, processor: object) -> None:
    objective = OnePeaceContrast(processor, Contrastive(stage=stage))
    inputs, model = batch(objective, STAGES[stage]()), model_of(processor, train=True)
    full = objective.loss(model, inputs, draw=0).loss
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = objective.loss(model, inputs, draw=0).loss
    assert half.item() == pytest.approx(full.item(), rel=0.02)
    half.backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)


@pytest.mark.parametrize("left_out", ["contrast", "alone", "joint"])
def test_terms_may_be_left_out(left_out: str, processor: object) -> None:
    settings = Contrastive(stage="vision_language", without=(left_out,))
    objective = OnePeaceContrast(processor, settings)
    found = objective.loss(model_of(processor), batch(objective, pictures()), draw=0)
    gone = {
        "contrast": {"contrast"},
        "alone": {"text", "image"},
        "joint": {"joint_text", "joint_image"},
    }
    assert not gone[left_out] & found.terms.keys()
    assert found.loss.isfinite()


def test_lengths_count_every_token(processor: object) -> None:
    objective = OnePeaceContrast(processor, Contrastive(stage="vision_language"))
    example = objective.prepare(pictures()[0])
    patches = (processor.image_size // 16) ** 2
    assert objective.length(example) == (len(" a red square") + 1) + 1 + patches + 1
    assert objective.kind(example) == "text+image"


def test_a_row_of_no_use_is_named(processor: object) -> None:
    objective = OnePeaceContrast(processor, Contrastive(stage="audio_language"))
    said = (Message(role="user", content="a"), Message(role="assistant", content="b"))
    for row, what in (
        (ConversationRow("c.jsonl:3", said), "c.jsonl:3: .*conversation"),
        (PairRow("c.jsonl:4", text="words alone"), "c.jsonl:4: .*audio"),
        (PairRow("c.jsonl:5", text="a picture", image=Image.new("RGB", (8, 8))), "c.jsonl:5"),
    ):
        with pytest.raises(BadRowError, match=what):
            objective.prepare(row)
    with pytest.raises(MediaError):
        objective.prepare(PairRow("c.jsonl:6", text="torn", audio=b"RIFF"))


def test_a_step_of_stage_two_changes_audio_alone(processor: object) -> None:
    objective = OnePeaceContrast(processor, Contrastive(stage="audio_language"))
    model = model_of(processor, train=True)
    model.set_trainable(AUDIO_LANGUAGE)
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.1)
    objective.loss(model, batch(objective, sounds()), draw=0).loss.backward()
    optimizer.step()
    changed = {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}
    assert changed
    kept_out = ("onepeace.adapters.text", "onepeace.adapters.image", "onepeace.projections.text")
    assert not [name for name in changed if name.startswith(kept_out)]
    in_encoder = [name for name in changed if name.startswith("onepeace.encoder.")]
    assert in_encoder
    assert all(".audio." in name for name in in_encoder)


def test_pictures_and_sounds_without_words(processor: object) -> None:
    objective = OnePeaceContrast(processor, Contrastive(stage="audio_vision"))
    seen, heard = pictures(), sounds()
    rows = [PairRow(a.name, image=a.image, audio=b.audio) for a, b in zip(seen, heard, strict=True)]
    model = model_of(processor, train=True)
    model.set_trainable(AUDIO_VISION)
    found = objective.loss(model, batch(objective, rows), draw=0)
    assert found.terms.keys() == {"contrast", "found_by_image", "found_by_audio", "logit_scale"}
    found.loss.backward()
    trained = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    assert any(".audio." in name for name in trained)
    assert not any(".image." in name or ".text." in name for name in trained)
    patches = (processor.image_size // 16) ** 2
    example = objective.prepare(rows[0])
    assert objective.length(example) == patches + 1 + processor.frames(16_000) + 1
    with pytest.raises(BadRowError, match="a contrast needs image and audio"):
        objective.prepare(heard[0])


def test_it_learns_who_belongs_together(processor: object) -> None:
    """Guard against a loss that shuffled pairs would pass too: these four are learnt, by heart."""
    objective = OnePeaceContrast(processor, Contrastive(stage="vision_language"))
    torch.manual_seed(0)
    model = OnePeaceForPretraining(tiny.onepeace()[0].config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    inputs = batch(objective, pictures())
    for draw in range(40):
        optimizer.zero_grad()
        found = objective.loss(model, inputs, draw=draw)
        found.loss.backward()
        optimizer.step()
    assert found.terms["found_by_text"] == 1
    assert found.terms["found_by_image"] == 1
