"""ViT-Adapter, Mask2Former head and sliding window against the official segmentation models."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import pytest
import torch
from golden import Golden, GoldenFile
from torch import Tensor

from unisono.models.onepeace import OnePeaceBackbone
from unisono.models.onepeace.adapter import Part
from unisono.models.onepeace.bias import grid_index, look_up, resized_table
from unisono.models.onepeace.dense import OnePeaceForSegmentation
from unisono.models.onepeace.dense.convert import dense_from_official
from unisono.models.onepeace.dense.deformable import cell_centres
from unisono.models.onepeace.dense.mask_head import Segments, class_scores
from unisono.models.onepeace.dense.sliding import probabilities, sliding_scores
from unisono.models.onepeace.dense.vit_adapter import Grids, as_maps, as_tokens
from unisono.models.onepeace.image import PATCH_PX, patchify


@pytest.fixture(scope="module")
def io(golden: Golden) -> GoldenFile:
    return golden.file("onepeace_vision_io")


@pytest.fixture(scope="module")
def model(golden: Golden) -> OnePeaceForSegmentation:
    """Through the names that a released file should have."""
    file, facts = golden.file("onepeace_vision"), golden.facts("onepeace_vision")
    state = {f"backbone.{k}": v for k, v in file.under("adapter.").items()}
    state |= file.under("mask2former.")
    groups = facts["models"]["mask2former"]["decode_head"]["pixel_decoder"]["norm_cfg"]
    changes = {"groups": groups["num_groups"]}
    model = dense_from_official(state, mask_config=changes)
    assert isinstance(model, OnePeaceForSegmentation)
    return model


@pytest.fixture(scope="module")
def images(io: GoldenFile) -> Tensor:
    return pixels(io, "adapter")


@pytest.fixture(scope="module")
def maps(model: OnePeaceForSegmentation, images: Tensor) -> tuple[Tensor, ...]:
    with torch.no_grad():
        return model.pyramid(model.backbone, images)


@pytest.fixture(scope="module")
def segments(model: OnePeaceForSegmentation, maps: tuple[Tensor, ...]) -> Segments:
    with torch.no_grad():
        return model.head(maps)


def pixels(io: GoldenFile, name: str) -> Tensor:
    return io.read(f"in.{name}_i8").float() / 40


@contextmanager
def outputs_of(*modules: torch.nn.Module) -> Iterator[list[Any]]:
    """What modules return while the context lasts, in the order of their calls."""
    seen: list[Any] = []
    hooks = [m.register_forward_hook(lambda _, __, out: seen.append(out)) for m in modules]
    yield seen
    for hook in hooks:
        hook.remove()


def test_the_config_is_read_off_the_weights(golden: Golden, model: OnePeaceForSegmentation) -> None:
    facts = golden.facts("onepeace_vision")
    official, sizes = facts["models"]["adapter"]["kwargs"], facts["sizes"]["m2f"]
    ours, mask = model.config.adapter_config, model.config.mask_config
    assert ours.heads == official["deform_num_heads"]
    assert ours.points == official["n_points"]
    assert ours.stem_width == official["conv_inplane"]
    assert (ours.value_ratio, ours.ffn_ratio) == (official["deform_ratio"], official["cffn_ratio"])
    assert [[s[0], s[-1]] for s in model.pyramid.stretches] == official["interaction_indexes"]
    assert model.config.num_labels == sizes["things"] + sizes["stuff"]
    found = (mask.heads, mask.queries, mask.encoder_layers, mask.decoder_layers)
    assert found == (sizes["heads"], sizes["Q"], sizes["enc"], sizes["dec"])


def test_the_maps(maps: tuple[Tensor, ...], io: GoldenFile) -> None:
    io.check("adapter.f1_image0", maps[0][:1], "maps")
    for i, one in enumerate(maps[1:], start=2):
        io.check(f"adapter.f{i}", one, "maps")


def test_every_interaction(model: OnePeaceForSegmentation, images: Tensor, io: GoldenFile) -> None:
    steps = model.pyramid.interactions
    with outputs_of(*steps, steps[0].injector) as seen, torch.no_grad():
        model.pyramid(model.backbone, images)
    first, *rest = seen
    io.check("adapter.injector_0.out", first[:1], "maps")
    for i, (tokens, c) in enumerate(rest):
        io.check(f"adapter.interaction_{i}.x", tokens[:1, 1:], "maps")
        io.check(f"adapter.interaction_{i}.cls", tokens[:1, :1], "maps")
        io.check(f"adapter.interaction_{i}.c", c[:1], "maps")


def test_the_spatial_prior_and_where_is_looked(
    model: OnePeaceForSegmentation, images: Tensor, io: GoldenFile
) -> None:
    with torch.no_grad():
        finest, *coarser = model.pyramid.spatial_prior(images[:1])
    io.check("adapter.spm.c1_first4channels", finest[:, :4], "onepeace")
    for i, one in enumerate(coarser, start=2):
        io.check(f"adapter.spm.c{i}", as_tokens([one]), "onepeace")
    grids = Grids(images)
    io.check("adapter.ref_points_injector", cell_centres([grids.patches], images), "normalised")
    io.check("adapter.ref_points_extractor", cell_centres(grids.stem, images), "normalised")


def test_the_table_that_was_loaded(golden: Golden, io: GoldenFile) -> None:
    """Before every layer got numbers of its own."""
    learned = golden.file("onepeace_vision").read(
        "pretrained.image_adapter.rel_pos_table_list.0.weight"
    )
    facts = golden.facts("onepeace_vision")["sizes"]
    grid = facts["adapter"]["b"]
    table = resized_table(learned.float(), facts["b"], (grid, grid))
    io.check("adapter.rel_pos_table_interp", table, "normalised")


def test_a_wide_image_in_the_official_disorder(
    model: OnePeaceForSegmentation, io: GoldenFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The official adapter gives a wide image the positions of the square with as many patches.
    Everything else, not least which side is which, must be as there.
    """
    wide = pixels(io, "adapter_wide")
    ours = model.pyramid(model.backbone, wide)[0]

    def embed(backbone: OnePeaceBackbone, images: Tensor) -> Part:
        adapter = backbone.adapters["image"]
        tokens = adapter.behind_cls(adapter.stem(patchify(images))) + adapter.position_embedding
        index = grid_index((adapter.config.bias_grid,) * 2)
        bias = lambda layer: look_up(adapter.relative_bias.table(layer), index)  # noqa: E731
        square = torch.zeros(1, 3, *(PATCH_PX * adapter.config.bias_grid,) * 2)
        return replace(adapter(square), tokens=tokens, bias=bias)

    monkeypatch.setattr(OnePeaceBackbone, "embed", embed)
    with torch.no_grad():
        finest, *coarser = model.pyramid(model.backbone, wide)
    io.check("adapter_wide.f1_first16channels", finest[:, :16], "maps")
    for i, one in enumerate(coarser, start=2):
        io.check(f"adapter_wide.f{i}", one, "maps")
    assert ours.shape == finest.shape


def test_the_pixel_decoder(
    model: OnePeaceForSegmentation, maps: tuple[Tensor, ...], io: GoldenFile
) -> None:
    decoder = model.head.pixel_decoder
    with torch.no_grad():
        out = decoder(list(maps))
    for i, one in enumerate(out.multi_scale_features):
        io.check(f"mask2former.pixel_decoder.ms{i}_image0", one[:1], "onepeace")
    io.check("mask2former.pixel_decoder.mask_feature_image0", out.mask_features[:1], "onepeace")
    lowest = out.multi_scale_features[0][:1]
    positions = decoder.position_embedding(lowest.shape, lowest.device, lowest.dtype)
    io.check("mask2former.pos_embed_ms0", positions, "normalised")


def test_the_queries_before_and_behind_every_layer(segments: Segments, io: GoldenFile) -> None:
    count = sum(name.startswith("mask2former.cls_pred_") for name in io.names)
    assert len(segments.class_logits) == len(segments.mask_logits) == count
    for i, (classes, masks) in enumerate(
        zip(segments.class_logits, segments.mask_logits, strict=True)
    ):
        io.check(f"mask2former.cls_pred_{i}", classes, "masks")
        io.check(f"mask2former.mask_pred_{i}_image0", masks[:1], "masks")


def test_the_semantic_map(segments: Segments, io: GoldenFile) -> None:
    found = class_scores(segments.class_logits[-1], segments.mask_logits[-1])
    io.check("mask2former.semantic", found, "onepeace")


def test_the_sliding_window(golden: Golden, model: OnePeaceForSegmentation, io: GoldenFile) -> None:
    test = golden.facts("onepeace_vision")["models"]["mask2former"]["test_cfg"]
    images = pixels(io, "mask2former_slide")
    crop, stride = tuple(test["crop_size"]), tuple(test["stride"])

    def score(view: Tensor) -> Tensor:
        scores = model(view).scores
        assert scores is not None
        return scores

    with torch.no_grad():
        scores = sliding_scores(score, images, crop=crop, stride=stride)
    found = probabilities(scores, (images.shape[-2], images.shape[-1]))
    io.check("mask2former.slide_softmax_stride4", found[..., ::4, ::4], "onepeace")
    first, second = found.topk(2, dim=1).values.unbind(dim=1)
    clear = first - second > 2e-4  # twice the tolerance of the softmax
    assert clear.float().mean() > 0.9
    expected = io.read("mask2former.slide_argmax").long()
    assert torch.equal(found.argmax(dim=1)[clear], expected[clear])


def test_maps_to_tokens_and_back() -> None:
    grids = [(3, 5), (2, 1)]
    tokens = torch.randn(2, 17, 4)
    assert torch.equal(as_tokens(as_maps(tokens, grids)), tokens)
