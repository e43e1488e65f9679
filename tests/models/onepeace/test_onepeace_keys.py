"""The key table and what is read off a checkpoint."""

import pytest
import torch
from tiny_onepeace import randomised, tiny_config

from unisono.errors import ModelConfigError
from unisono.models.key_table import reversed_rules
from unisono.models.onepeace import OnePeaceForClassification, OnePeaceForPretraining
from unisono.models.onepeace.convert import from_official, to_official_state
from unisono.models.onepeace.convert_config import parse_conv_spec
from unisono.models.onepeace.convert_keys import KEYS, to_ours

CONV_SPEC = "[(8, 10, 5), (8,3,2)] + [(8, 2, 2)]"


def test_no_two_rules_claim_a_key() -> None:
    model = OnePeaceForPretraining(tiny_config())
    for name in model.state_dict():
        ours = name.removeprefix("onepeace.")
        claims = [r for r in reversed_rules(KEYS) if r.renamed(ours) is not None]
        assert len(claims) == 1, name
        official = claims[0].renamed(ours)
        assert official is not None
        assert [r.renamed(official) for r in KEYS if r.renamed(official)] == [ours]


def test_ours_to_official_to_ours() -> None:
    model = randomised(OnePeaceForPretraining(tiny_config()))
    official = to_official_state(model)
    cfg = {
        "encoder": {"audio_adapter": {"feature_encoder_spec": CONV_SPEC}},
        "decoder": {"attention_heads": 2},
    }
    again = from_official(official, cfg)
    assert again.config.image_config.stem_width == 8
    for name, value in model.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), name


def test_one_table_is_copied_to_every_layer() -> None:
    model = randomised(OnePeaceForPretraining(tiny_config()))
    copied = from_official(to_official_state(model), bias_per_layer=True)
    tables = copied.onepeace.adapters["text"].relative_bias
    shared = model.onepeace.adapters["text"].relative_bias[0]
    assert len(tables) == model.config.num_hidden_layers
    assert all(torch.equal(table, shared) for table in tables)


def test_what_the_original_cannot_be_is_refused() -> None:
    model = OnePeaceForClassification(tiny_config(shared="nothing"))
    with pytest.raises(ModelConfigError, match=r"no official name for: .*attention\.text\.q_proj"):
        to_official_state(model)


def test_unknown_tasks_and_keys_are_refused() -> None:
    official = to_official_state(OnePeaceForPretraining(tiny_config()))
    with pytest.raises(ModelConfigError, match="task must be one of"):
        from_official(official, task="juggling")
    with pytest.raises(ModelConfigError, match=r"unexpected keys: smell_proj\.weight"):
        to_ours(["text_proj.weight", "smell_proj.weight"])
    with pytest.raises(ModelConfigError, match="no text, image or audio adapter"):
        from_official({"text_proj.weight": torch.zeros(2, 2)})


def test_conv_specs() -> None:
    spec = "[(512, 10, 5)] + [(512, 3, 2)] * 2 + [(512,2,2)]"
    assert parse_conv_spec(spec) == [(512, 10, 5), (512, 3, 2), (512, 3, 2), (512, 2, 2)]


@pytest.mark.parametrize("text", ["__import__('os')", "[(1, 2, 3)] ** 9", "[x]", "[1", "7"])
def test_a_conv_spec_is_not_a_program(text: str) -> None:
    with pytest.raises(ModelConfigError, match="not understood"):
        parse_conv_spec(text)
