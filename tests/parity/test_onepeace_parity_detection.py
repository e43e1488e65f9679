"""The encoder of detection and its feature pyramid against the official ones."""

import pytest
import torch
from golden import Golden, GoldenFile
from torch import Tensor

from unisono.models.onepeace.dense import OnePeaceWindowedBackbone
from unisono.models.onepeace.dense.convert import dense_from_official
from unisono.models.onepeace.image import PATCH_PX


@pytest.fixture(scope="module")
def io(golden: Golden) -> GoldenFile:
    return golden.file("onepeace_vision_io")


def converted(golden: Golden, name: str, prefix: str) -> OnePeaceWindowedBackbone:
    state = golden.file("onepeace_vision").under(f"{name}.")
    model = dense_from_official({prefix + key: value for key, value in state.items()})
    assert isinstance(model, OnePeaceWindowedBackbone)
    facts = golden.facts("onepeace_vision")["sizes"][name]
    assert model.config.window == facts["win"]
    assert model.config.windowed == facts["widx"]
    assert model.config.image_config.position_grid == facts["b"]
    return model


def run(model: OnePeaceWindowedBackbone, images: Tensor) -> tuple[tuple[Tensor, ...], list[Tensor]]:
    """Feature maps, and every layer's [B, h, w, D]."""
    side = images.shape[-1] // PATCH_PX
    with torch.no_grad():
        out = model(images, output_hidden_states=True)
    return out.feature_maps, [x.unflatten(1, (side, side)) for x in out.hidden_states]


def test_windows_that_do_not_divide_the_image(golden: Golden, io: GoldenFile) -> None:
    """And the pyramid, by the names that a released file should have."""
    model = converted(golden, "det", "backbone.")
    maps, layers = run(model, io.read("in.det_i8").float() / 40)
    io.check("det.last_feat", layers[-1].permute(0, 3, 1, 2), "onepeace")
    assert len(maps) == 5
    for i, one in enumerate(maps, start=2):
        io.check(f"det.p{i}", one, "onepeace")


def test_small_windows_and_a_small_image(golden: Golden, io: GoldenFile) -> None:
    model = converted(golden, "det_small", "")
    (last,), layers = run(model, io.read("in.det_small_i8").float() / 40)
    io.check("det_small.last_feat", last, "onepeace")
    for i, layer in enumerate(layers):
        io.check(f"det_small.layer_{i}", layer, "onepeace")
    grid = model.config.image_config.position_grid
    window, over_all = model.biases((grid, grid))
    io.check("det_small.rel_bias_window", window[0], "normalised")
    io.check("det_small.rel_bias_global", over_all[0], "normalised")
