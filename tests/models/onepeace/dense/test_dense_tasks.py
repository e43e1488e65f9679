"""Detector, image and video classification, learning rates; conversion of what is not official."""

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_dense import noise, tiny_segmenter, tiny_vision, tiny_whole
from tiny_onepeace import randomised
from transformers import AutoConfig, AutoModel

from unisono.errors import ModelConfigError
from unisono.models.onepeace.convert import convert
from unisono.models.onepeace.dense import (
    DENSE_MODELS,
    Detector,
    OnePeaceDetectionConfig,
    OnePeaceForDetection,
    OnePeaceForImageClassification,
    OnePeaceForVideoClassification,
    OnePeaceImageClassificationConfig,
    OnePeaceVideoClassificationConfig,
    OnePeaceWindowedBackbone,
    Things,
)
from unisono.models.onepeace.dense.convert import dense_from_official, dense_task, our_name
from unisono.models.onepeace.dense.learning_rates import published_groups, published_rates

HEAD = {
    "width": 32,
    "queries": 8,
    "decoder_layers": 2,
    "decoder_ffn_width": 32,
    "self_attention_heads": 2,
    "cross_attention_heads": 2,
    "points": 2,
    "groups": 2,
    "blocks": 1,
    "image_px": 64,
    "num_labels": 3,
}


@pytest.fixture
def detector() -> OnePeaceForDetection:
    torch.manual_seed(0)
    return OnePeaceForDetection.from_onepeace(tiny_whole(), vision_config={"window": 2}, **HEAD)


def corner() -> Things:
    mask = torch.zeros(1, 64, 64)
    mask[0, :32, :32] = 1
    return Things(torch.tensor([1]), torch.tensor([[0.25, 0.25, 0.5, 0.5]]), mask)


def nothing() -> Things:
    return Things(torch.zeros(0), torch.zeros(0, 4), torch.zeros(0, 64, 64))


def test_a_detector_has_the_encoder_of_the_model(detector: OnePeaceForDetection) -> None:
    name = "encoder.layers.2.ffn.image.up_proj.weight"
    assert torch.equal(detector.backbone.state_dict()[name], tiny_whole().state_dict()[name])
    assert detector.backbone.config.image_config.position_grid == 4


def test_a_detector_learns_with_every_parameter(detector: OnePeaceForDetection) -> None:
    detector.train()
    pixels = noise(2, 3, 64, 64)
    optimizer = torch.optim.AdamW(detector.parameters(), lr=5e-3)
    losses = []
    touched: set[str] = set()
    for _ in range(8):
        optimizer.zero_grad()
        loss = detector(pixels, things=[corner(), nothing()]).loss
        loss.backward()
        losses.append(loss.item())
        touched |= {
            n for n, p in detector.named_parameters() if p.grad is not None and p.grad.any()
        }
        optimizer.step()
    assert losses[-1] < 0.8 * losses[0]
    silent = {n for n, _ in detector.named_parameters()} - touched
    assert not {n for n in silent if not n.endswith(("row_bias", "column_bias"))}


def test_a_detector_saved_and_loaded(detector: OnePeaceForDetection, tmp_path: Path) -> None:
    randomised(detector)
    detector.save_pretrained(tmp_path)
    again = AutoModel.from_pretrained(tmp_path)
    assert isinstance(again, OnePeaceForDetection)
    own, loaded = detector.state_dict(), again.state_dict()
    assert own.keys() == loaded.keys()
    assert all(torch.equal(own[name], loaded[name]) for name in own)
    values = np.random.default_rng(0).integers(0, 256, (30, 70, 3), dtype=np.uint8)
    given = [Image.fromarray(values)]
    wrapped = Detector.from_pretrained(tmp_path)
    (found,) = wrapped.detect(given, threshold=0.0, limit=5)
    assert len(found) == 5
    for one in found:
        assert one.mask is not None
        assert one.mask.shape == (30, 70)
        x1, y1, x2, y2 = one.box
        assert 0 <= x1 <= x2 <= 70
        assert 0 <= y1 <= y2 <= 30
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)


def image_classifier(**fields: Any) -> OnePeaceForImageClassification:
    config = OnePeaceImageClassificationConfig(vision_config=tiny_vision(), num_labels=4, **fields)
    model: OnePeaceForImageClassification = randomised(OnePeaceForImageClassification(config))
    return model


def test_the_mean_leaves_cls_out_and_cls_the_patches() -> None:
    pixels = noise(2, 3, 48, 48)
    with torch.no_grad():
        mean, cls = image_classifier(), image_classifier(pooling="cls")
        tokens = mean(pixels).last_hidden_states["image"]
        expected = mean.classifier(mean.norm(tokens[:, 1:].mean(1)))
        torch.testing.assert_close(mean(pixels).logits, expected)
        expected = cls.classifier(cls.norm(tokens)[:, 0])
        torch.testing.assert_close(cls(pixels).logits, expected)


def test_a_new_classifier_begins_near_zero_and_learns() -> None:
    model = OnePeaceForImageClassification.from_onepeace(tiny_whole(), num_labels=2)
    pixels, labels = noise(4, 3, 32, 48), torch.tensor([0, 1, 1, 0])
    before = model(pixels, labels=labels)
    assert before.logits.abs().max() < 1e-2
    groups = published_groups(model, lr=1e-2)
    optimizer = torch.optim.AdamW(groups)
    for _ in range(10):
        optimizer.zero_grad()
        model(pixels, labels=labels).loss.backward()
        optimizer.step()
    assert model(pixels, labels=labels).loss < 0.5 * before.loss


def video(**fields: Any) -> OnePeaceForVideoClassification:
    torch.manual_seed(0)
    return OnePeaceForVideoClassification.from_onepeace(
        tiny_whole(), num_labels=3, **{"frames": 4, **fields}
    )


@pytest.mark.parametrize("before", [False, True])
def test_at_first_a_clip_is_its_frames(before: bool) -> None:
    model = video(adapter_before=before).eval()
    clips = noise(2, 3, 4, 32, 48)
    frames = clips.transpose(1, 2).flatten(0, 1)
    with torch.no_grad():
        tokens = model.backbone.encode(model.backbone.embed(frames)).sequences["image"]
        found = model.encode(clips).flatten(0, 1)
    torch.testing.assert_close(found, model.norm(tokens))


def test_trained_adapters_see_the_order_of_frames_and_clips_do_not_mix() -> None:
    model = randomised(video())
    clips = noise(2, 3, 4, 32, 32)
    other = clips.clone()
    other[1] += 1
    with torch.no_grad():
        plain, turned = model(clips).logits, model(clips.flip(2)).logits
        assert (plain - turned).abs().max() > 1e-3
        torch.testing.assert_close(model(other).logits[0], plain[0])
        assert (model(other).logits[1] - plain[1]).abs().max() > 1e-3


def test_only_adapters_and_head_train() -> None:
    model = video()
    model(noise(1, 3, 4, 32, 32), labels=torch.tensor([2])).loss.backward()
    trained = {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}
    assert trained == {"temporal_embedding", "video_layers", "norm", "classifier"}
    assert all(p.grad is None for p in model.backbone.parameters())
    assert len(published_groups(model, lr=1.0)) == 3
    with pytest.raises(ModelConfigError, match="must have 4 frames, but have 3"):
        model(noise(1, 3, 3, 32, 32))


def test_every_dense_model_is_known_to_the_auto_classes() -> None:
    for config, model in DENSE_MODELS:
        assert AutoConfig.for_model(config.model_type).__class__ is config
        assert AutoModel._model_mapping[config] is model


def test_rates_of_a_segmenter_by_layer() -> None:
    model = tiny_segmenter()
    rates = published_rates(model, 0.5)
    assert rates["backbone.adapters.image.stem.conv1.weight"].factor == 0.5**5
    assert rates["backbone.adapters.image.relative_bias.0"].factor == 0.5**5
    assert rates["backbone.encoder.layers.3.attention.shared.q_proj.weight"].factor == 0.5
    assert rates["pyramid.up.weight"].factor == 1
    assert rates["head.classifier.weight"].factor == 0.5**5
    assert not rates["pyramid.up.bias"].decays
    groups = published_groups(model, lr=2.0, layer_decay=0.5)
    assert sum(len(group["params"]) for group in groups) == len(rates)
    assert max(group["lr"] for group in groups) == 2.0
    with pytest.raises(ModelConfigError, match="no learning rates are published for a Linear"):
        published_rates(torch.nn.Linear(1, 1))


def official_pictures() -> dict[str, torch.Tensor]:
    """An image classifier's weights by official names, random."""
    names = {
        "image_adapter.cls_embedding": (1, 1, 32),
        "image_adapter.pos_embed": (10, 32),
        "image_adapter.rel_pos_table.weight": (28, 2),
        "image_adapter.rp_bucket": (10, 10),
        "image_adapter.embed_images.0.weight": (8, 3, 4, 4),
        "image_adapter.embed_images.3.weight": (8, 8, 2, 2),
        "image_adapter.embed_images.6.weight": (32, 8, 2, 2),
        "image_adapter.embed_images.0.bias": (8,),
        "image_adapter.embed_images.3.bias": (8,),
        "image_adapter.embed_images.6.bias": (32,),
        "fc_norm.weight": (32,),
        "fc_norm.bias": (32,),
        "head.weight": (4, 32),
        "head.bias": (4,),
    }
    for i in (1, 4):
        names |= {
            f"image_adapter.embed_images.{i}.layer_norm.{p}": (8,) for p in ("weight", "bias")
        }
    layer = "encoder.layers.0."
    names |= {f"{layer}gamma_{i}": (32,) for i in (1, 2)}
    names |= {f"{layer}self_attn.{x}_proj.weight": (32, 32) for x in ("q", "k", "v", "out")}
    names |= {f"{layer}self_attn.{x}_proj.bias": (32,) for x in ("q", "v", "out")}
    for norm in ("self_attn.ln", "self_attn_layer_norm", "final_layer_norm"):
        names |= {f"{layer}{norm}.{p}": (32,) for p in ("weight", "bias")}
    names |= {f"{layer}image_ffn.0.wi_{i}.weight": (48, 32) for i in (0, 1)}
    names |= {f"{layer}image_ffn.2.{p}": (48,) for p in ("weight", "bias")}
    names |= {f"{layer}image_ffn.3.weight": (32, 48), f"{layer}image_ffn.3.bias": (32,)}
    return {name: noise(*shape, seed=i) for i, (name, shape) in enumerate(names.items())}


def test_a_file_of_weights_becomes_a_folder(tmp_path: Path) -> None:
    state = official_pictures()
    source = tmp_path / "finetuned.pkl"
    source.write_bytes(pickle.dumps({"model": state}))
    model = convert(source, tmp_path / "ours")
    assert isinstance(model, OnePeaceForImageClassification)
    again = AutoModel.from_pretrained(tmp_path / "ours")
    pixels = noise(1, 3, 48, 48)
    with torch.no_grad():
        torch.testing.assert_close(again(pixels).logits, model(pixels).logits)
    ours = model.state_dict()
    for key in ("head.weight", "fc_norm.bias", "image_adapter.pos_embed"):
        assert torch.equal(ours[our_name(key, "image_classification")], state[key])


def test_what_does_not_fit_is_named() -> None:
    state = official_pictures()
    lacking = {k: v for k, v in state.items() if k != "fc_norm.bias"}
    with pytest.raises(ModelConfigError, match=r"lacks norm\.bias"):
        dense_from_official(lacking)
    with pytest.raises(ModelConfigError, match=r"unexpected keys: head\.extra"):
        dense_from_official({**state, "head.extra": torch.zeros(1)})
    with pytest.raises(ModelConfigError, match="another shape norm"):
        dense_from_official({**state, "fc_norm.bias": torch.zeros(3)})
    with pytest.raises(ModelConfigError, match="task must be one of"):
        dense_from_official({"x": torch.zeros(1)})
    assert dense_task(state) == "image_classification"
    assert dense_task({"backbone.image_adapter.temporal_embedding": torch.zeros(1)}) is not None


def test_configs_are_made_of_plain_fields() -> None:
    config = OnePeaceDetectionConfig(**HEAD)
    assert OnePeaceDetectionConfig(**config.to_dict()).width == 32
    video_config = OnePeaceVideoClassificationConfig(frames=3)
    assert OnePeaceVideoClassificationConfig(**video_config.to_dict()).frames == 3
    with pytest.raises(ModelConfigError, match="least 32 px"):
        OnePeaceWindowedBackbone.from_onepeace(tiny_whole(), grid=2, pyramid_width=8)(
            noise(1, 3, 16, 16)
        )
