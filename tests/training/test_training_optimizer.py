"""Groups of parameters: learning rates by part and layer, decay by shape and name."""

import pytest
import torch
from torch import nn
from torch.testing import assert_close

from unisono.errors import CheckpointError, RecipeError
from unisono.training.distributed import trained_parameters
from unisono.training.optimizer import (
    decays,
    lr_factor,
    make_optimizer,
    moments,
    restore_moments,
    set_lr,
)
from unisono.training.recipe import OptimizerSettings


def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.ModuleDict({name: nn.Linear(3, 2) for name in ("vision", "text", "sound")})


def part_of(name: str) -> str:
    return name.partition(".")[0]


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("layers.0.linear.weight", (4, 3), True),
        ("conv.weight", (8, 3, 5), True),
        ("layers.0.linear.bias", (4,), False),
        ("norm.weight", (4,), False),
        ("logit_scale", (), False),
        ("adapters.text.cls_embedding", (1, 1, 8), False),
        ("vision_connector.newline", (8,), False),
        ("decoder.mask_tokens.image", (1, 8), False),
        ("encoders.vision.position_embedding", (1, 36, 16), False),
        ("speech.embed_positions.weight", (50, 16), False),
        ("adapters.text.bias.0", (32, 4), False),
        ("heads.pool.query", (1, 1, 4, 8), False),
        ("layers.0.attention.query.weight", (8, 8), True),
    ],
)
def test_what_decays(name: str, shape: tuple[int, ...], expected: bool) -> None:
    assert decays(name, torch.zeros(shape)) is expected


def test_groups_have_their_parts_factor() -> None:
    parameters = trained_parameters(model())
    settings = OptimizerSettings(lr=0.1, weight_decay=0.05, lr_factors={"vision": 0.5, "sound": 0})
    optimizer = make_optimizer(parameters, settings, part_of=part_of)
    names = {parameter: name for name, parameter in parameters.items()}
    seen = {
        names[parameter]: (group["lr"], group["weight_decay"])
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    for part, lr in (("vision", 0.05), ("text", 0.1), ("sound", 0.0)):
        assert seen[f"{part}.weight"] == (lr, 0.05)
        assert seen[f"{part}.bias"] == (lr, 0.0)
    set_lr(optimizer, 0.02)
    assert sorted({group["lr"] for group in optimizer.param_groups}) == [0.0, 0.01, 0.02]


def test_layer_decay_leaves_the_top_layer_alone() -> None:
    settings = OptimizerSettings(lr=1.0, layer_decay=0.5, lr_factors={"low": 0.1})

    def depth_of(name: str) -> tuple[int, int] | None:
        return {"low.x": (0, 3), "middle.x": (1, 3), "top.x": (2, 3)}.get(name)

    found = [
        lr_factor(name, settings, part_of=part_of, depth_of=depth_of)
        for name in ("top.x", "middle.x", "low.x", "connector.x")
    ]
    assert found == pytest.approx([1.0, 0.5, 0.025, 1.0])


def test_frozen_parameters_are_left_out() -> None:
    one = model()
    one.text.requires_grad_(False)
    assert set(map(part_of, trained_parameters(one))) == {"vision", "sound"}
    one.requires_grad_(False)
    with pytest.raises(RecipeError, match="all parameters are frozen"):
        make_optimizer(trained_parameters(one), OptimizerSettings(lr=1.0), part_of=part_of)


def stepped(one: nn.Module, optimizer: torch.optim.Optimizer, steps: int) -> None:
    for step in range(steps):
        optimizer.zero_grad()
        # Parts that had no gradient yet have no moments either.
        part = one.text if step % 2 else one.vision
        part(torch.ones(1, 3) * (step + 1)).square().sum().backward()
        optimizer.step()


def test_moments_go_on_where_they_were() -> None:
    settings = OptimizerSettings(lr=0.1, weight_decay=0.1)
    ones = [model(), model()]
    optimizers = [
        make_optimizer(trained_parameters(one), settings, part_of=part_of) for one in ones
    ]
    stepped(ones[0], optimizers[0], 3)
    saved = moments(optimizers[0], trained_parameters(ones[0]))
    assert {name.split("/")[1].split(".")[0] for name in saved} == {"vision", "text"}
    saved = {name: value.clone() for name, value in saved.items()}
    ones[1].load_state_dict(ones[0].state_dict())
    restore_moments(optimizers[1], trained_parameters(ones[1]), saved)
    for one, optimizer in zip(ones, optimizers, strict=True):
        stepped(one, optimizer, 4)
    assert_close(ones[1].state_dict(), ones[0].state_dict(), rtol=0, atol=0)
    plain = make_optimizer(trained_parameters(ones[1]), settings, part_of=part_of)
    stepped(ones[1], plain, 1)
    stepped(ones[0], optimizers[0], 1)
    assert not torch.equal(ones[1].vision.weight, ones[0].vision.weight)  # moments matter


def test_moments_of_other_shapes_are_refused() -> None:
    one = model()
    optimizer = make_optimizer(trained_parameters(one), OptimizerSettings(lr=0.1), part_of=part_of)
    stepped(one, optimizer, 1)
    saved = moments(optimizer, trained_parameters(one))
    saved["exp_avg/vision.weight"] = torch.zeros(7)
    with pytest.raises(CheckpointError, match=r"vision.weight must be \[2, 3\], but is \[7\]"):
        restore_moments(optimizer, trained_parameters(one), saved)
