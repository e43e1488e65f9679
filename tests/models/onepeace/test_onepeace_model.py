"""Configs and models as transformers knows them: sizes, saving, loading, backbones."""

from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_onepeace import images, randomised, texts, tiny_config

from unisono.errors import ModelConfigError
from unisono.models.onepeace import (
    OnePeaceBackbone,
    OnePeaceConfig,
    OnePeaceForClassification,
    OnePeaceForGrounding,
    OnePeaceForPretraining,
    OnePeaceForRanking,
    OnePeaceModel,
)

CLASSES = [
    OnePeaceBackbone,
    OnePeaceForClassification,
    OnePeaceForGrounding,
    OnePeaceForPretraining,
    OnePeaceForRanking,
    OnePeaceModel,
]


def test_the_default_is_the_released_4b_model() -> None:
    with torch.device("meta"):
        model = OnePeaceModel(OnePeaceConfig())
    assert list(model.adapters) == ["text", "image", "audio"]
    assert 3.8e9 < sum(p.numel() for p in model.parameters()) < 4.1e9
    assert model.config.audio_config.frames(15 * 16_000) == 749


@pytest.mark.parametrize("cls", CLASSES)
def test_saving_and_loading_keeps_every_weight(cls: Any, tmp_path: Path) -> None:
    model = randomised(cls(tiny_config()))
    model.save_pretrained(tmp_path)
    again, info = cls.from_pretrained(tmp_path, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    assert model.state_dict().keys() == again.state_dict().keys()
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


@pytest.mark.parametrize("absent", ["text", "image", "audio"])
def test_a_model_without_a_modality(absent: str, tmp_path: Path) -> None:
    config = tiny_config(**{f"{absent}_config": None})
    model = OnePeaceModel(config)
    assert not [name for name in model.state_dict() if absent in name.split(".")]
    config.save_pretrained(tmp_path)
    again = OnePeaceConfig.from_pretrained(tmp_path)
    assert getattr(again, f"{absent}_config") is None
    assert list(again.modalities) == [m for m in ("text", "image", "audio") if m != absent]


def test_a_new_model_begins_as_the_paper_says() -> None:
    model = OnePeaceForPretraining(tiny_config(layer_scale_init=1e-6))
    state = model.state_dict()
    assert not state["onepeace.adapters.image.relative_bias.0"].any()
    assert state["onepeace.encoder.layers.0.ffn_branch.gamma"].eq(1e-6).all()
    assert model.onepeace.scale().item() == pytest.approx(1 / 0.07)
    for name in ("onepeace.adapters.text.position_embedding", "decoder.mask_tokens.image"):
        assert float(state[name].std()) == pytest.approx(0.2, rel=0.5)


@torch.no_grad()
def test_a_backbone_takes_the_weights_of_a_whole_model(tmp_path: Path) -> None:
    whole: OnePeaceModel = randomised(OnePeaceModel(tiny_config()))
    whole.save_pretrained(tmp_path)
    features = ["stem", "stage1", "stage2"]
    backbone = OnePeaceBackbone.from_pretrained(tmp_path, out_features=features)
    assert backbone.channels == [32] * 3
    for side in (48, 80):
        maps = backbone(images(side=side)).feature_maps
        hidden = whole(pixel_values=images(side=side), output_hidden_states=True).hidden_states
        assert len(maps) == 3
        for found, tokens in zip(maps, hidden["image"], strict=True):
            assert found.shape == (4, 32, side // 16, side // 16)
            torch.testing.assert_close(found.flatten(2).mT, tokens[:, 1:])


def test_a_backbone_needs_eyes() -> None:
    with pytest.raises(ModelConfigError, match="image_config"):
        OnePeaceBackbone(tiny_config(image_config=None))


@torch.no_grad()
def test_tables_per_layer_differ_per_layer() -> None:
    model: OnePeaceModel = randomised(OnePeaceModel(tiny_config(bias_per_layer=True)))
    tables = model.adapters["text"].relative_bias
    assert len(tables) == 2
    before = model(input_ids=texts()).embeddings["text"]
    tables[1].add_(torch.randn(tables[1].shape))
    assert not torch.allclose(model(input_ids=texts()).embeddings["text"], before)


def test_an_unknown_modality_is_refused() -> None:
    with pytest.raises(ModelConfigError, match="registered"):
        tiny_config(more_configs={"smell": {"model_type": "nose"}})
