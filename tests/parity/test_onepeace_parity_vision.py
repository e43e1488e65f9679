"""The vision branch's plain backbone: its own checkpoint and one cut out of a whole model."""

import pytest
import torch
from golden import Golden, GoldenFile
from official_onepeace import inputs
from torch import Tensor

from unisono.models.onepeace import OnePeaceBackbone
from unisono.models.onepeace.bias import grid_index, look_up, resized_table
from unisono.models.onepeace.convert import from_official
from unisono.models.onepeace.image import PATCH_PX, resized_positions


@pytest.fixture(scope="module")
def io(golden: Golden) -> GoldenFile:
    return golden.file("onepeace_vision_io")


@pytest.fixture(scope="module")
def backbone(golden: Golden) -> OnePeaceBackbone:
    state = golden.file("onepeace_vision").under("pretrained.")
    model = from_official(state, bias_per_layer=True)  # as the segmentation models have it
    assert isinstance(model, OnePeaceBackbone)
    return model


def pixels(io: GoldenFile, name: str) -> Tensor:
    return io.read(f"in.{name}_i8").float() / 40


def run(backbone: OnePeaceBackbone, images: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
    """Feature map, and all stages' tokens."""
    with torch.no_grad():
        out = backbone(images, output_hidden_states=True)
    return out.feature_maps[-1], out.hidden_states


def test_every_layer_at_the_grid_of_pretraining(backbone: OnePeaceBackbone, io: GoldenFile) -> None:
    features, (stem, *layers) = run(backbone, pixels(io, "seg"))
    io.check("seg.adapter_x", stem, "onepeace")
    for i, layer in enumerate(layers):
        io.check(f"seg.layer_{i}", layer.transpose(0, 1), "onepeace")
    io.check("seg.out", layers[-1].transpose(0, 1), "onepeace")
    io.check("seg.feature_map", features, "onepeace")


def test_the_relative_bias(backbone: OnePeaceBackbone, io: GoldenFile) -> None:
    image = backbone.adapters["image"]
    index = grid_index((image.config.bias_grid,) * 2)
    io.check("seg.rp_bucket", index, "exact")
    io.check("seg.rel_pos_bias", look_up(image.relative_bias.table(0), index)[0], "normalised")


def test_other_grids_larger_and_smaller(backbone: OnePeaceBackbone, io: GoldenFile) -> None:
    image = backbone.adapters["image"]
    names = [
        n.removesuffix(".out") for n in io.names if n.startswith("seg_grid") and n.endswith(".out")
    ]
    assert names
    for name in names:
        images = pixels(io, name)
        grid = (images.shape[-2] // PATCH_PX, images.shape[-1] // PATCH_PX)
        table = resized_table(image.relative_bias.table(0), image.config.bias_grid, grid)
        io.check(f"{name}.rel_pos_table_interp", table, "normalised")
        positions = resized_positions(image.position_embedding, grid)
        io.check(f"{name}.pos_embed_interp", positions, "normalised")
        io.check(f"{name}.out", run(backbone, images)[1][-1].transpose(0, 1), "onepeace")


def test_the_official_wide_image_is_a_square_one_in_disorder(
    backbone: OnePeaceBackbone, io: GoldenFile
) -> None:
    """The official backbone gives a wide image the positions of the square with as many patches,
    row after row; ours interpolates. Its numbers are those of the patches put into that square.
    """
    wide = pixels(io, "seg_wide")
    rows, columns = wide.shape[-2] // PATCH_PX, wide.shape[-1] // PATCH_PX
    side = round((rows * columns) ** 0.5)
    patches = wide.unflatten(2, (rows, PATCH_PX)).unflatten(4, (columns, PATCH_PX))
    patches = patches.transpose(3, 4).flatten(2, 3).unflatten(2, (side, side)).transpose(3, 4)
    square = patches.flatten(4, 5).flatten(2, 3)
    features, (stem, *layers) = run(backbone, square)
    io.check("seg_wide.adapter_x", stem, "onepeace")
    io.check("seg_wide.out", layers[-1].transpose(0, 1), "onepeace")
    io.check("seg_wide.feature_map", features.flatten(2).unflatten(2, (rows, columns)), "onepeace")
    ours, _ = run(backbone, wide)
    assert ours.shape[-2:] == (rows, columns)


def test_a_backbone_out_of_a_whole_checkpoint(golden: Golden, io: GoldenFile) -> None:
    state = golden.file("onepeace_tiny").under("")
    facts = golden.facts("onepeace_vision")["conversion_of_onepeace_tiny"]
    cut = {k: v for k, v in state.items() if "image" in k and k.startswith("encoder_wrapper")}
    shared = {k: v for k, v in state.items() if k.startswith("encoder_wrapper.fusion_model.layers")}
    shared = {k: v for k, v in shared.items() if "text_ffn" not in k and "audio_ffn" not in k}
    official = {
        vision_name(k): v
        for k, v in {**cut, **shared}.items()
        if "_layer_norm" not in k or "layers." in k
    }
    assert sorted(official) == sorted(facts["output_keys"])
    backbone = from_official(official)
    images = inputs(golden.file("onepeace_tiny_io"), "image")["pixel_values"]
    assert isinstance(backbone, OnePeaceBackbone)
    tokens = run(backbone, images)[1][-1]
    io.check("convert.onepeace_tiny.backbone_out", tokens.transpose(0, 1), "onepeace")
    norm = torch.nn.functional.layer_norm(
        tokens,
        tokens.shape[-1:],
        state["encoder_wrapper.fusion_model.image_layer_norm.weight"],
        state["encoder_wrapper.fusion_model.image_layer_norm.bias"],
    )
    golden.file("onepeace_tiny_io").check("retrieval.image.encoder", norm, "onepeace")


def vision_name(key: str) -> str:
    return key.removeprefix("encoder_wrapper.").replace("fusion_model.", "encoder.")
