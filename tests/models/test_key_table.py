"""Patterns of key tables, and the tables of the vision encoder and its connector."""

import pytest
import torch

from unisono.errors import ModelConfigError
from unisono.models.key_table import KeyRule, rename, reversed_rules, under
from unisono.models.ola.connector_vision import VisionConnector
from unisono.models.ola.convert_vision import (
    VISION_CONNECTOR_KEYS,
    VISION_KEYS,
    vision_config_from_official,
)
from unisono.models.ola.vision import OryxVisionConfig, OryxVisionModel

RULES = (
    KeyRule("blocks.{n}.w", "layers.{n}.weight", torch.neg, torch.neg),
    KeyRule("head.{rest}", "output.{rest}"),
    KeyRule("pair.{n}.{n}.x", "pair.{n}"),
)


def test_fields_are_carried_over() -> None:
    assert rename(RULES, "blocks.12.w") == ("layers.12.weight", torch.neg)
    assert rename(RULES, "head.norm.weight") == ("output.norm.weight", None)
    assert rename(RULES, "pair.3.3.x") == ("pair.3", None)


@pytest.mark.parametrize(
    "key", ["blocks.a.w", "blocks.1.ww", "blocks.1xw", "x.blocks.1.w", "head.", "pair.3.4.x"]
)
def test_what_no_row_is_about_is_none(key: str) -> None:
    assert rename(RULES, key) is None


def test_a_table_that_contradicts_itself_is_refused() -> None:
    rules = (*RULES, KeyRule("blocks.{rest}", "other.{rest}"))
    with pytest.raises(ModelConfigError, match=r"blocks.1.w .*blocks\.\{n\}.*blocks\.\{rest\}"):
        rename(rules, "blocks.1.w")


def test_a_table_within_a_whole_and_read_backwards() -> None:
    rules = reversed_rules(under(RULES[:2], official="model.", ours="encoders."))
    assert rename(rules, "encoders.layers.3.weight") == ("model.blocks.3.w", torch.neg)
    with pytest.raises(ModelConfigError, match="no inverse"):
        reversed_rules((KeyRule("a", "b", torch.neg),))


def test_the_vision_tables_name_every_parameter_and_lead_there_and_back() -> None:
    config = OryxVisionConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, patch_size=4, position_grid=8
    )
    model, connector = OryxVisionModel(config), VisionConnector(32, 16)
    ours = {f"encoders.vision.{k}": v for k, v in model.state_dict().items()}
    ours |= {f"encoders.vision_connector.{k}": v for k, v in connector.state_dict().items()}
    rules = (*VISION_KEYS, *VISION_CONNECTOR_KEYS)
    official = {}
    for key, tensor in ours.items():
        name, inverse = rename(reversed_rules(rules), key) or pytest.fail(key)
        official[name] = inverse(tensor) if inverse else tensor
    assert len(official) == len(ours)
    for name, tensor in official.items():
        key, transform = rename(rules, name) or pytest.fail(name)
        assert torch.equal(transform(tensor) if transform else tensor, ours[key])
    shapes = {name: tensor.shape for name, tensor in official.items()}
    read = vision_config_from_official(shapes, num_attention_heads=4)
    assert read.to_dict() == config.to_dict()


def test_a_checkpoint_without_vision_is_refused() -> None:
    with pytest.raises(ModelConfigError, match=r"no model\.vision_tower.*patch_embed"):
        vision_config_from_official({"lm_head.weight": (8, 4)})
