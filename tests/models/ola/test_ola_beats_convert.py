"""Official BEATs checkpoints become ours and back, or the error names the keys."""

from typing import Any

import pytest
import torch
from test_ola_beats import SHAPES, noise, small
from torch import Tensor

from unisono.errors import ModelConfigError
from unisono.models.ola.beats import BeatsConfig, BeatsModel
from unisono.models.ola.convert_beats import (
    beats_config_from_official,
    beats_config_from_shapes,
    beats_from_official,
    beats_to_official,
    load_official_beats,
)

TABLE = "encoder.layers.1.self_attn.relative_attention_bias.weight"


def official_of(model: BeatsModel) -> dict[str, Tensor]:
    return beats_to_official(model.state_dict(), model.config.num_hidden_layers)


@pytest.mark.parametrize("changes", SHAPES)
def test_round_trip(changes: dict[str, Any]) -> None:
    model = small(**changes)
    official, other = official_of(model), BeatsModel(model.config).eval()
    load_official_beats(other, official)
    samples = noise(1, 5000)
    assert torch.equal(other(samples).last_hidden_state, model(samples).last_hidden_state)
    again = official_of(other)
    assert again.keys() == official.keys()
    assert all(torch.equal(again[key], official[key]) for key in official)


def test_every_layer_has_the_shared_table_officially_and_one_is_enough() -> None:
    model = small()
    official = official_of(model)
    assert sum("relative_attention_bias" in key for key in official) == 2
    del official[TABLE]
    assert beats_from_official(official).keys() == model.state_dict().keys()


def _without(tensors: dict[str, Tensor], *keys: str) -> dict[str, Tensor]:
    return {key: tensor for key, tensor in tensors.items() if key not in keys}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: _without(t, "layer_norm.bias"), "missing: patch_norm.bias"),
        (lambda t: t | {"teacher.bias": torch.zeros(1)}, "unexpected keys: teacher.bias"),
        (lambda t: t | {"patch_embedding.bias": torch.zeros(12)}, "unexpected: patch_embedding"),
        (
            lambda t: t | {"predictor.bias": torch.zeros(6)},
            r"predictor.bias \[6\] instead of \[5\]",
        ),
        (lambda t: t | {TABLE: t[TABLE] + 1}, f"{TABLE} must equal"),
        (lambda t: {}, "missing: .* and [0-9]+ more"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_refused_and_leaves_no_trace(
    change: Any, message: str
) -> None:
    model, other = small(), BeatsModel(small().config)
    before = {key: tensor.clone() for key, tensor in other.state_dict().items()}
    with pytest.raises(ModelConfigError, match=message):
        load_official_beats(other, change(official_of(model)))
    assert all(torch.equal(tensor, before[key]) for key, tensor in other.state_dict().items())


def test_our_unknown_keys_have_no_way_back() -> None:
    with pytest.raises(ModelConfigError, match="mystery has no place"):
        beats_to_official({"mystery": torch.zeros(1)}, 2)


@pytest.mark.parametrize("changes", [{}, {"gated_relative_bias": False}, {"patch_bias": True}])
def test_shapes_tell_the_config(changes: dict[str, Any]) -> None:
    model = small(max_distance=800, **changes)
    shapes = {key: tensor.shape for key, tensor in official_of(model).items()}
    assert beats_config_from_shapes(shapes).to_dict() == model.config.to_dict()
    del shapes["encoder.pos_conv.0.weight_v"]
    with pytest.raises(ModelConfigError, match="has no encoder.pos_conv.0.weight_v"):
        beats_config_from_shapes(shapes)


def test_the_official_cfg_of_the_released_file_makes_the_default_config() -> None:
    cfg = {
        **{"encoder_layers": 12, "encoder_embed_dim": 768, "encoder_ffn_embed_dim": 3072},
        **{"encoder_attention_heads": 12, "input_patch_size": 16, "embed_dim": 512},
        **{"deep_norm": True, "relative_position_embedding": True, "gru_rel_pos": True},
        **{"num_buckets": 320, "max_distance": 800, "conv_pos": 128, "conv_pos_groups": 16},
        **{"finetuned_model": True, "predictor_class": 527, "encoder_layerdrop": 0.05},
    }
    assert beats_config_from_official(cfg).to_dict() == BeatsConfig().to_dict()
    assert beats_config_from_official(cfg | {"finetuned_model": False}).num_classes == 0


def test_an_official_cfg_that_cannot_be_used_is_refused() -> None:
    with pytest.raises(ModelConfigError, match="input_patch_size"):
        beats_config_from_official({})
    with pytest.raises(ModelConfigError, match="activation_fn must be one of .*but is glu"):
        beats_config_from_official({"input_patch_size": 16, "activation_fn": "glu"})
