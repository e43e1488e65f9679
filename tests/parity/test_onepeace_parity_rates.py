"""Published learning rates of the dense tasks: the tables of the official optimizers."""

from collections.abc import Mapping
from typing import Any

import pytest
import torch
from golden import Golden
from torch import Tensor, nn

from unisono.models.onepeace.dense.convert import bare, dense_from_official, our_name, separated
from unisono.models.onepeace.dense.learning_rates import Rate, published_rates

State = Mapping[str, Tensor]


def official(golden: Golden, *prefixes: tuple[str, str]) -> dict[str, Tensor]:
    file = golden.file("onepeace_vision")
    return {
        start + key: value
        for prefix, start in prefixes
        for key, value in file.under(prefix).items()
    }


def by_our_names(table: Mapping[str, Any], task: str) -> dict[str, Any]:
    found = {}
    for key, entry in table.items():
        for name in separated({bare(key): torch.zeros(3)}):
            found[our_name(name, task)] = entry
    return found


def check(model: nn.Module, rates: Mapping[str, Rate], expected: Mapping[str, Any]) -> None:
    assert set(rates) == {name for name, _ in model.named_parameters()}
    told = {name: (pytest.approx(lr), decays) for name, (lr, decays) in expected.items()}
    assert {name: (rate.factor, rate.decays) for name, rate in rates.items()} == told


def test_segmentation(golden: Golden) -> None:
    facts = golden.facts("onepeace_vision")["seg_layer_decay"]
    state = official(golden, ("adapter.", "backbone."), ("mask2former.", ""))
    model = dense_from_official(state)
    table = by_our_names(facts["table"], "segmentation")
    expected = {n: (e["lr_scale"], e["weight_decay"] > 0) for n, e in table.items()}
    check(model, published_rates(model), expected)
    assert facts["decay_rate"] == 0.95


def test_image_classification(golden: Golden) -> None:
    facts = golden.facts("onepeace_vision")["cls_layer_decay"]
    model = dense_from_official(official(golden, ("cls.", "")))
    table = by_our_names(facts["table"], "image_classification")
    expected = {n: (e["lr_scale"], e["weight_decay"] > 0) for n, e in table.items()}
    check(model, published_rates(model, facts["layer_decay"]), expected)


def test_video_classification(golden: Golden) -> None:
    facts = golden.facts("onepeace_vision")["video_optimizer"]
    state = official(golden, ("video.", "backbone."), ("video_head.", "cls_head."))
    model = dense_from_official(state)
    lr, table = facts["base_lr"], by_our_names(facts["table"], "video_classification")
    expected = {n: (e["lr"] / lr, e["weight_decay"] > 0) for n, e in table.items()}
    check(model, published_rates(model), expected)


def test_detection(golden: Golden) -> None:
    """The table has rates only."""
    facts = golden.facts("onepeace_vision")["det_layer_decay"]
    model = dense_from_official(official(golden, ("det.", "")))
    rates = published_rates(model)
    official_table = dict(facts["table"])
    assert official_table.pop("roi_heads.x") == 1.0  # a name that stands for all heads
    table = by_our_names(official_table, "detection")
    assert {n: rate.factor for n, rate in rates.items()} == pytest.approx(table)
    undecayed = {n for n, rate in rates.items() if not rate.decays}
    norms = {
        f"{name}.{p}"
        for name, module in model.named_modules()
        if isinstance(module, nn.LayerNorm)
        for p in ("weight", "bias")
    }
    assert undecayed == norms | {"adapters.image.position_embedding"}
    assert facts["lr_decay_rate"] == 0.9
