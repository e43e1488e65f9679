"""Heads: candidates are scored one by one, pairs of images in their order, padding not at all."""

import pytest
import torch
from tiny_onepeace import images, randomised, texts, tiny_config

from unisono.errors import ModelConfigError
from unisono.models.onepeace import (
    OnePeaceForClassification,
    OnePeaceForGrounding,
    OnePeaceForRanking,
)
from unisono.models.onepeace.heads import AttentionPooling


@torch.no_grad()
def test_each_candidate_is_scored_as_if_alone() -> None:
    model: OnePeaceForRanking = randomised(OnePeaceForRanking(tiny_config()))
    candidates = texts(6).view(2, 3, -1)
    together = model(candidates, pixel_values=images(2), labels=torch.tensor([0, 2]))
    assert together.logits.shape == (2, 3)
    for i in range(3):
        alone = model(candidates[:, i : i + 1], pixel_values=images(2)).logits
        torch.testing.assert_close(together.logits[:, i : i + 1], alone, atol=1e-5, rtol=0)


@torch.no_grad()
def test_two_images_are_told_apart() -> None:
    fields = {"image_config": {"position_grid": 3, "bias_grid": 3, "type_embeddings": 2}}
    head = {"modality": "text", "images": 2}
    model = randomised(OnePeaceForClassification(tiny_config(**fields, head_config=head)))
    a, b = images(2), images(2, seed=5)
    straight = model(input_ids=texts(2), pixel_values=a, pixel_values_2=b).logits
    swapped = model(input_ids=texts(2), pixel_values=b, pixel_values_2=a).logits
    assert not torch.allclose(straight, swapped)
    with pytest.raises(ModelConfigError, match=r"expects 2 image\(s\), but got 1"):
        model(input_ids=texts(2), pixel_values=a)


@torch.no_grad()
def test_padding_is_not_pooled() -> None:
    pooling: AttentionPooling = randomised(AttentionPooling(32, 2))
    tokens = torch.randn(3, 6, 32)
    padding = torch.zeros(3, 6, dtype=torch.bool)
    padding[:, 4:] = True
    torch.testing.assert_close(pooling(tokens, padding), pooling(tokens[:, :4], None))


@torch.no_grad()
def test_without_attention_pooling_cls_is_taken() -> None:
    head = {"modality": "image", "attention_pooling": False}
    config = tiny_config(head_config=head, num_labels=5)
    model = randomised(OnePeaceForClassification(config))
    out = model(pixel_values=images(2))
    cls = out.last_hidden_states["image"][:, 0]
    torch.testing.assert_close(out.logits, model.head.classifier(cls))
    assert out.logits.shape == (2, 5)


def test_a_few_steps_find_the_boxes() -> None:
    config = tiny_config(head_config={"modality": "image"})
    model = randomised(OnePeaceForGrounding(config)).train()
    boxes = torch.tensor([[0.1, 0.1, 0.4, 0.5], [0.5, 0.2, 0.9, 0.9]])
    given = {"input_ids": texts(2), "pixel_values": images(2), "boxes": boxes}
    optimiser = torch.optim.AdamW(model.parameters(), lr=3e-3)
    first = model(**given).loss.item()
    for _ in range(40):
        optimiser.zero_grad()
        model(**given).loss.backward()
        optimiser.step()
    assert model(**given).loss.item() < 0.2 * first


def test_a_head_over_a_modality_the_model_lacks() -> None:
    with pytest.raises(ModelConfigError, match=r"one of .*but is 'audio'"):
        OnePeaceForGrounding(tiny_config(audio_config=None, head_config={"modality": "audio"}))


@pytest.mark.parametrize("several", [False, True])
def test_loss_is_a_mean_over_the_batch(several: bool) -> None:
    config = tiny_config(head_config={"modality": "text", "multi_label": several}, num_labels=4)
    model = randomised(OnePeaceForClassification(config))
    labels = torch.eye(4) if several else torch.arange(4)
    given = {"input_ids": texts(), "labels": labels}
    whole = model(**given).loss
    halves = [
        model(**{k: v[part] for k, v in given.items()}).loss for part in (slice(2), slice(2, 4))
    ]
    torch.testing.assert_close(whole, sum(halves) / 2)
