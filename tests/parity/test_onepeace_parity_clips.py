"""Image and video classification against the official models."""

import pytest
import torch
from golden import Golden, GoldenFile
from torch import Tensor

from unisono.models.onepeace.bias import resized_table
from unisono.models.onepeace.dense import (
    OnePeaceForImageClassification,
    OnePeaceForVideoClassification,
)
from unisono.models.onepeace.dense.convert import dense_from_official
from unisono.models.onepeace.image import PATCH_PX, resized_positions

State = dict[str, Tensor]


@pytest.fixture(scope="module")
def io(golden: Golden) -> GoldenFile:
    return golden.file("onepeace_vision_io")


@pytest.fixture(scope="module")
def pictures(golden: Golden) -> State:
    return golden.file("onepeace_vision").under("cls.")


@pytest.fixture(scope="module")
def clips(golden: Golden) -> State:
    """By the names that a released file should have."""
    file = golden.file("onepeace_vision")
    state = {f"backbone.{k}": v for k, v in file.under("video.").items()}
    return state | {f"cls_head.{k}": v for k, v in file.under("video_head.").items()}


def pixels(io: GoldenFile, name: str) -> Tensor:
    return io.read(f"in.{name}_i8").float() / 40


def by_cls(state: State) -> State:
    """The same numbers in a model that pools [CLS]."""
    return {k.replace("fc_norm.", "encoder.layer_norm."): v for k, v in state.items()}


@pytest.mark.parametrize("pooling", ["mean", "cls"])
@pytest.mark.parametrize("size", ["5", "7"])
def test_pictures_with_both_poolings_and_at_another_size(
    golden: Golden, io: GoldenFile, pictures: State, pooling: str, size: str
) -> None:
    sizes = golden.facts("onepeace_vision")["sizes"]
    assert {"5", "7"} == {str(sizes["b"]), str(sizes["cls"]["big"])}
    model = dense_from_official(pictures if pooling == "mean" else by_cls(pictures))
    assert isinstance(model, OnePeaceForImageClassification)
    assert model.config.pooling == pooling
    name = "cls" if pooling == "mean" else "cls_token"
    name += "" if size == str(sizes["b"]) else f"_grid{size}"
    with torch.no_grad():
        out = model(pixels(io, f"cls_grid{size}"))
    io.check(f"{name}.features", out.last_hidden_states["image"], "onepeace")
    io.check(f"{name}.logits", out.logits, "onepeace")


@pytest.mark.parametrize("name", ["cls_grid7", "video_grid6"])
def test_what_is_interpolated(golden: Golden, io: GoldenFile, name: str) -> None:
    state = golden.file("onepeace_vision").under("pretrained.image_adapter.")
    source = golden.facts("onepeace_vision")["sizes"]["b"]
    side = golden.facts("onepeace_vision")["models"][name]["bucket_size"]
    table = resized_table(state["rel_pos_table_list.0.weight"].float(), source, (side, side))
    io.check(f"{name}.rel_pos_table_interp", table, "normalised")
    positions = resized_positions(state["pos_embed"].float(), (side, side))
    io.check(f"{name}.pos_embed_interp", positions, "normalised")


def test_clips(io: GoldenFile, clips: State) -> None:
    model = dense_from_official(clips)
    assert isinstance(model, OnePeaceForVideoClassification)
    given = pixels(io, "video")
    check_layers(io, "video", model, given)
    with torch.no_grad():
        out = model(given)
    io.check("video.out", cell(out.last_hidden_states["image"]), "onepeace")
    io.check("video.cls_score", out.logits, "onepeace")
    mean = out.logits.softmax(-1).mean(dim=0, keepdim=True)
    io.check("video.prob_averaged_over_clips", mean, "onepeace")


def test_a_further_adapter_before_the_attention_over_time(golden: Golden, io: GoldenFile) -> None:
    model = with_any_head(golden.file("onepeace_vision").under("video_t2."))
    assert model.config.adapter_before
    given = pixels(io, "video")[:1]
    check_layers(io, "video_t2", model, given)
    with torch.no_grad():
        io.check("video_t2.out", cell(model.encode(given)[:, :, 0]), "onepeace")


def test_larger_clips(golden: Golden, io: GoldenFile, clips: State) -> None:
    """The pretrained encoder resized, with adapters and norm of the video model.

    This model of the set was rounded to bfloat16 after the resizing, as if it had been stored.
    """
    file = golden.file("onepeace_vision")
    given = pixels(io, "video_grid6")
    grid = (given.shape[-2] // PATCH_PX, given.shape[-1] // PATCH_PX)
    source = golden.facts("onepeace_vision")["sizes"]["b"]
    pretrained = file.under("pretrained.")
    table = pretrained.pop("image_adapter.rel_pos_table_list.0.weight").float()
    positions = pretrained.pop("image_adapter.pos_embed").float()
    resized = {
        "image_adapter.rel_pos_table.weight": resized_table(table, source, grid),
        "image_adapter.pos_embed": resized_positions(positions, grid),
    }
    changed = pretrained | {name: value.bfloat16() for name, value in resized.items()}
    model = dense_from_official(clips | {f"backbone.{k}": v for k, v in changed.items()})
    assert model.config.vision_config.image_config.position_grid == grid[0]
    with torch.no_grad():
        found = model.encode(given)[:, :, 0]
    io.check("video_grid6.out", cell(found), "onepeace")


def check_layers(
    io: GoldenFile, name: str, model: OnePeaceForVideoClassification, given: Tensor
) -> None:
    seen: list[Tensor] = []
    hooks = [
        layer.register_forward_hook(lambda _, __, out: seen.append(out))
        for layer in model.video_layers
    ]
    with torch.no_grad():
        model.encode(given)
        io.check(f"{name}.adapter_x", model.embed(given).tokens, "onepeace")
    for hook in hooks:
        hook.remove()
    known = [i for i in range(len(seen)) if f"{name}.layer_{i}" in io]
    assert known
    for i in known:
        io.check(f"{name}.layer_{i}", seen[i].transpose(0, 1), "onepeace")


def with_any_head(state: State) -> OnePeaceForVideoClassification:
    width = state["encoder.image_layer_norm.weight"].shape[0]
    head = {"fc_cls.weight": torch.zeros(2, width), "fc_cls.bias": torch.zeros(2)}
    model = dense_from_official({**state, **head})
    assert isinstance(model, OnePeaceForVideoClassification)
    return model


def cell(frames: Tensor) -> Tensor:
    """[N, F, D] -> [N, D, F, 1, 1], as the official backbone gives them."""
    return frames.mT[..., None, None]
