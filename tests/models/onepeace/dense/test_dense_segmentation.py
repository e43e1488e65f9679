"""Segmentation models: every pyramid with every head, any size, losses, saving."""

import itertools
from pathlib import Path

import pytest
import torch
from tiny_dense import (
    LABELS,
    noise,
    segmentation_config,
    tiny_segmenter,
    tiny_vision,
    tiny_whole,
)
from torch import Tensor

from unisono.errors import ModelConfigError
from unisono.models.onepeace.backbone import OnePeaceBackbone
from unisono.models.onepeace.dense import OnePeaceAdapterConfig, OnePeaceForSegmentation
from unisono.models.onepeace.dense.config import stretches
from unisono.models.onepeace.dense.mask_head import class_scores
from unisono.models.onepeace.dense.segmentation import segments_of
from unisono.models.onepeace.dense.vit_adapter import as_maps

KINDS = list(itertools.product(("adapter", "simple"), ("mask2former", "upernet")))


@pytest.fixture(params=KINDS, ids="-".join)
def model(request: pytest.FixtureRequest) -> OnePeaceForSegmentation:
    pyramid, head = request.param
    return tiny_segmenter(pyramid=pyramid, head=head)


def random_labels(*shape: int) -> Tensor:
    return torch.randint(LABELS, shape, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", [(64, 64), (70, 45), (32, 129), (1, 1)])
def test_images_of_any_size(model: OnePeaceForSegmentation, size: tuple[int, int]) -> None:
    with torch.no_grad():
        scores = model(noise(2, 3, *size)).scores
    assert scores.shape == (2, LABELS, *size)
    assert scores.isfinite().all()


def test_gradients_reach_every_parameter(model: OnePeaceForSegmentation) -> None:
    torch.manual_seed(0)
    with torch.no_grad():  # as after some training: what begins as zero would stop gradients
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    model(noise(2, 3, 64, 96), labels=random_labels(2, 64, 96)).loss.backward()
    without = {n for n, p in model.named_parameters() if p.grad is None or not p.grad.any()}
    # No softmax changes with a key's bias.
    assert not {name for name in without if not name.endswith("k_proj.bias")}


def test_a_few_steps_learn_a_picture(model: OnePeaceForSegmentation) -> None:
    """The left half is one class, the right another; batch statistics stay as they are."""
    torch.manual_seed(0)
    labels = torch.zeros(1, 32, 32, dtype=torch.long)
    labels[..., 16:] = 3
    pixels = noise(1, 3, 32, 32) * 0.2 + labels[:, None] - 1.5
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    losses = []
    for _ in range(10):
        optimizer.zero_grad()
        loss = model(pixels, labels=labels).loss
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
    assert losses[-1] < 0.7 * losses[0]


def test_saved_and_loaded_it_is_the_same(model: OnePeaceForSegmentation, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    again = OnePeaceForSegmentation.from_pretrained(tmp_path).eval()
    own, loaded = model.state_dict(), again.state_dict()
    assert own.keys() == loaded.keys()
    assert all(torch.equal(own[name], loaded[name]) for name in own)
    pixels = noise(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(again(pixels).scores, model(pixels).scores)
    assert again.config.head == model.config.head
    assert type(again.config.vision_config) is type(model.config.vision_config)


def test_ignored_pixels_teach_nothing() -> None:
    model = tiny_segmenter(pyramid="simple", head="upernet")
    pixels, labels = noise(1, 3, 32, 32), random_labels(1, 32, 32)
    hidden = labels.clone()
    hidden[:, 16:] = 255
    garbled = torch.where(hidden == 255, 255, labels)
    assert torch.equal(model(pixels, labels=hidden).loss, model(pixels, labels=garbled).loss)
    assert not torch.equal(model(pixels, labels=hidden).loss, model(pixels, labels=labels).loss)


def test_labels_become_a_mask_of_each_class() -> None:
    labels = torch.tensor([[0, 0, 255], [3, 3, 0]])
    masks, classes = segments_of(labels, 255)
    assert classes.tolist() == [0, 3]
    assert masks.tolist() == [[[1, 1, 0], [0, 0, 1]], [[0, 0, 0], [1, 1, 0]]]


@pytest.mark.parametrize("empty", [(0,), (0, 1)])
def test_images_with_nothing_in_them(empty: tuple[int, ...]) -> None:
    """Some of a batch, or all."""
    model = tiny_segmenter(pyramid="simple")
    labels = random_labels(2, 64, 64)
    labels[list(empty)] = 255
    loss = model(noise(2, 3, 64, 64), labels=labels).loss
    assert loss.isfinite()
    loss.backward()


def test_instances_that_overlap_can_be_learned_from() -> None:
    model = tiny_segmenter(pyramid="simple")
    masks = [torch.zeros(2, 50, 60), torch.zeros(0, 50, 60)]
    masks[0][0, :30], masks[0][1, 20:] = 1, 1
    classes = [torch.tensor([1, 1]), torch.zeros(0, dtype=torch.long)]
    assert model(noise(2, 3, 50, 60), masks=masks, classes=classes).loss.isfinite()
    with pytest.raises(ModelConfigError, match="masks and classes must be given together"):
        model(noise(2, 3, 50, 60), masks=masks)
    upernet = tiny_segmenter(pyramid="simple", head="upernet")
    with pytest.raises(ModelConfigError, match="not from masks"):
        upernet(noise(2, 3, 50, 60), masks=masks, classes=classes)


def test_class_scores_are_the_sum_over_queries() -> None:
    classes, masks = noise(1, 3, 5), noise(1, 3, 2, 2, seed=1)
    expected = torch.zeros(1, 4, 2, 2)
    for query in range(3):
        share = classes[0, query].exp() / classes[0, query].exp().sum()
        for label in range(4):
            expected[0, label] += share[label] / (1 + (-masks[0, query]).exp())
    torch.testing.assert_close(class_scores(classes, masks), expected)


def test_the_encoder_of_a_whole_model() -> None:
    whole = tiny_whole()
    fields = segmentation_config().to_dict()
    kept = {k: fields[k] for k in ("adapter_config", "mask_config", "pyramid_width")}
    model = OnePeaceForSegmentation.from_onepeace(
        whole, num_labels=3, vision_config={"bias_per_layer": True, "drop_path_rate": 0.1}, **kept
    )
    assert model.config.num_labels == 3
    assert model.backbone.config.drop_path_rate == 0.1
    tables = list(model.backbone.adapters["image"].relative_bias)
    assert len(tables) == 4
    assert all(torch.equal(tables[0], other) for other in tables[1:])
    plain = OnePeaceBackbone(tiny_vision()).eval()
    own = plain.state_dict().keys()
    plain.load_state_dict({k: v for k, v in whole.state_dict().items() if k in own})
    pixels = noise(1, 3, 64, 32)
    with torch.no_grad():
        expected = plain(pixels).feature_maps[-1]
        found = model.eval().backbone(pixels).feature_maps[-1]
    torch.testing.assert_close(found, expected)


def test_a_new_adapter_leaves_the_encoder_as_it_is() -> None:
    """What is injected begins next to nothing, so that training starts from the encoder."""
    model = tiny_segmenter()
    pixels, seen = noise(1, 3, 64, 64), []
    last = model.pyramid.interactions[-1]
    last.register_forward_hook(lambda _, __, out: seen.append(out[0]))
    with torch.no_grad():
        model(pixels)
        plain = model.backbone(pixels).feature_maps[-1]
    torch.testing.assert_close(as_maps(seen[0][:, 1:], [(4, 4)])[0], plain, rtol=1e-3, atol=1e-4)


def test_checkpointing_gradients_changes_nothing() -> None:
    model = tiny_segmenter().train()
    pixels, labels = noise(2, 3, 64, 64), random_labels(2, 64, 64)

    def gradient() -> Tensor:
        torch.manual_seed(3)
        model.zero_grad()
        model(pixels, labels=labels).loss.backward()
        found = model.backbone.adapters["image"].stem.conv1.weight.grad
        assert found is not None
        return found.clone()

    expected = gradient()
    model.activation_checkpointing_enable()
    torch.testing.assert_close(gradient(), expected)


def test_stretches_must_make_up_the_encoder() -> None:
    assert [list(s) for s in stretches(OnePeaceAdapterConfig(), 6)] == [[0], [1, 2], [3], [4, 5]]
    published = OnePeaceAdapterConfig(stretches=[[0, 9], [10, 19], [20, 29], [30, 39]])
    assert [len(s) for s in stretches(published, 40)] == [10] * 4
    assert stretches(published, 40) == stretches(OnePeaceAdapterConfig(), 40)
    with pytest.raises(ModelConfigError, match="at least 4 layers"):
        stretches(OnePeaceAdapterConfig(), 3)
    for wrong in (
        [[0, 1], [2, 3]],
        [[0, 0], [1, 1], [1, 2], [3, 3]],
        [[0, 0], [1, 1], [2, 2], [3, 4]],
    ):
        with pytest.raises(ModelConfigError, match="follow on one another"):
            stretches(OnePeaceAdapterConfig(stretches=wrong), 4)


def test_a_width_that_the_mask_head_cannot_have() -> None:
    with pytest.raises(ModelConfigError, match="width must be a multiple of 32"):
        tiny_segmenter(mask_config={"width": 48})


def test_new_modules_begin_as_published() -> None:
    """transformers forgets modules without parameters of their own; see `initialisation`."""
    model = tiny_segmenter()
    attention = model.pyramid.interactions[0].injector.attention
    assert not attention.sampling_offsets.weight.any()
    offsets = attention.sampling_offsets.bias.view(2, 3, 2, 2)  # heads, levels, points
    torch.testing.assert_close(offsets[0, 0, 0], torch.tensor([1.0, 0.0]))
    theirs = model.head.pixel_decoder.encoder.layers[0].self_attn
    assert not theirs.sampling_offsets.weight.any()
    assert theirs.sampling_offsets.bias.abs().max() == 4  # the farthest of four points
    assert model.head.decoder.queries_embedder.weight.std() > 0.5
