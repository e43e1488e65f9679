"""OryxViT: packing changes nothing but the speed."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from unisono.errors import ModelConfigError
from unisono.models.ola import vision
from unisono.models.ola.vision import OryxVisionConfig, OryxVisionModel, patchify

GRIDS = [(4, 6), (3, 3), (6, 4), (1, 9), (8, 8), (4, 6)]
"""Two equal ones apart from each other, others of equal length, and the positions' own grid."""


@pytest.fixture
def model() -> OryxVisionModel:
    torch.manual_seed(0)
    config = OryxVisionConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=2, patch_size=4, position_grid=8
    )
    made = OryxVisionModel(config).eval()
    for parameter in made.parameters():  # of a size at which every branch matters
        torch.nn.init.normal_(parameter, std=0.3)
    return made


@pytest.fixture
def attention_calls(monkeypatch: pytest.MonkeyPatch) -> list[tuple[torch.Size, bool]]:
    """The query shape of each call, and whether it had a mask."""
    calls: list[tuple[torch.Size, bool]] = []
    original = torch.nn.functional.scaled_dot_product_attention

    def spy(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        calls.append((query.shape, attn_mask is not None))
        assert query.shape == key.shape == value.shape
        return original(query, key, value, attn_mask=attn_mask)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", spy)
    return calls


def pictures(model: OryxVisionModel, grids: list[tuple[int, int]]) -> list[Tensor]:
    torch.manual_seed(1)
    values = model.patch_embedding.in_features
    return [torch.randn(rows * columns, values) for rows, columns in grids]


def encode(
    model: OryxVisionModel, parts: list[Tensor], grids: list[tuple[int, int]]
) -> list[Tensor]:
    """All pictures in one pack."""
    features = model(torch.cat(parts), torch.tensor(grids)).last_hidden_state
    return list(torch.split(features, [len(part) for part in parts]))


def naive(model: OryxVisionModel, patches: Tensor, grid: tuple[int, int]) -> Tensor:
    """One picture by the equations, attention spelled out."""
    side, heads = model.config.position_grid, model.config.num_attention_heads
    square = model.position_embedding.view(side, side, -1).permute(2, 0, 1)[None]
    resized = torch.nn.functional.interpolate(square, grid, mode="bilinear", antialias=False)
    x = model.patch_embedding(patches) + resized[0].flatten(1).T
    for layer in model.layers:
        q, k, v = layer.attention.qkv(layer.norm1(x)).chunk(3, dim=-1)
        q, k, v = (t.unflatten(-1, (heads, -1)).transpose(0, 1) for t in (q, k, v))
        weights = (q @ k.transpose(1, 2) / q.shape[-1] ** 0.5).softmax(-1)
        x = x + layer.attention.projection((weights @ v).transpose(0, 1).flatten(1))
        hidden = torch.nn.functional.gelu(layer.mlp.fc1(layer.norm2(x)))
        x = x + layer.mlp.fc2(hidden)
    return x


@torch.no_grad()
def test_a_pack_is_its_pictures_one_by_one(model: OryxVisionModel) -> None:
    parts = pictures(model, GRIDS)
    for packed, part, grid in zip(encode(model, parts, GRIDS), parts, GRIDS, strict=True):
        torch.testing.assert_close(packed, encode(model, [part], [grid])[0], atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(packed, naive(model, part, grid), atol=1e-4, rtol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize("seed", range(4))
def test_the_order_in_the_pack_does_not_matter(model: OryxVisionModel, seed: int) -> None:
    parts = pictures(model, GRIDS)
    order = torch.randperm(len(GRIDS), generator=torch.Generator().manual_seed(seed)).tolist()
    shuffled = encode(model, [parts[i] for i in order], [GRIDS[i] for i in order])
    for place, i in enumerate(order):
        torch.testing.assert_close(
            shuffled[place], encode(model, parts, GRIDS)[i], atol=1e-5, rtol=1e-5
        )


@torch.no_grad()
def test_attention_reaches_all_of_a_picture_and_nothing_of_another(model: OryxVisionModel) -> None:
    parts = pictures(model, GRIDS)
    before = encode(model, parts, GRIDS)
    parts[2][-1] += 1.0
    after = encode(model, parts, GRIDS)
    for i, (old, new) in enumerate(zip(before, after, strict=True)):
        moved = (old - new).abs().amax(dim=1)  # [T]
        assert (moved > 1e-4).all() if i == 2 else (moved < 1e-5).all()


@torch.no_grad()
def test_one_call_for_pictures_of_one_length_and_no_mask(
    model: OryxVisionModel, attention_calls: list[tuple[torch.Size, bool]]
) -> None:
    encode(model, pictures(model, GRIDS), GRIDS)
    layers = model.config.num_hidden_layers
    lengths = {rows * columns for rows, columns in GRIDS}
    assert len(attention_calls) == layers * len(lengths)
    for (number, _, length, _), masked in attention_calls:
        assert not masked
        assert number == sum(rows * columns == length for rows, columns in GRIDS)


@torch.no_grad()
def test_frames_of_a_video_are_one_dense_batch(
    model: OryxVisionModel, attention_calls: list[tuple[torch.Size, bool]]
) -> None:
    grids = [(3, 4)] * 5
    encode(model, pictures(model, grids), grids)
    assert {shape[0] for shape, _ in attention_calls} == {5}
    assert len(attention_calls) == model.config.num_hidden_layers


@torch.no_grad()
def test_positions_are_resized_once_for_each_grid_but_their_own(
    model: OryxVisionModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []

    def spy(square: Tensor, size: tuple[int, int], **how: Any) -> Tensor:
        sizes.append(size)
        return torch.nn.functional.interpolate(square, size, **how)

    monkeypatch.setattr(vision, "interpolate", spy)
    encode(model, pictures(model, GRIDS), GRIDS)
    own = (model.config.position_grid, model.config.position_grid)
    assert own in GRIDS
    assert sorted(sizes) == sorted(set(GRIDS) - {own})


def test_gradients_of_a_pack_are_those_of_its_pictures(model: OryxVisionModel) -> None:
    parts = pictures(model, GRIDS)
    sum(f.square().mean() for f in encode(model, parts, GRIDS)).backward()
    packed = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    sum(naive(model, p, g).square().mean() for p, g in zip(parts, GRIDS, strict=True)).backward()
    for name, parameter in model.named_parameters():
        scale = float(parameter.grad.abs().max())
        assert scale > 0, name
        torch.testing.assert_close(packed[name], parameter.grad, atol=1e-4 * scale, rtol=0.0)


@pytest.mark.filterwarnings("ignore:.gradient_checkpointing_enable:FutureWarning")  # new in 5.23
def test_gradient_checkpointing_changes_no_gradient(model: OryxVisionModel) -> None:
    parts = pictures(model, GRIDS)
    gradients = []
    for checkpointed in (False, True):
        model.zero_grad()
        model.train()
        if checkpointed:
            model.gradient_checkpointing_enable({"use_reentrant": False})
        torch.cat(encode(model, parts, GRIDS)).square().mean().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    assert all(layer.gradient_checkpointing for layer in model.layers)
    for plain, again in zip(*gradients, strict=True):
        torch.testing.assert_close(plain, again)


@torch.no_grad()
def test_bfloat16_stays_close(model: OryxVisionModel) -> None:
    parts = pictures(model, GRIDS)
    exact = torch.cat(encode(model, parts, GRIDS))
    half = torch.cat(encode(model.to(torch.bfloat16), parts, GRIDS))
    assert half.dtype == torch.bfloat16
    error = (half.float() - exact).square().mean().sqrt() / exact.square().mean().sqrt()
    assert float(error) < 0.03


@torch.no_grad()
def test_patches_through_a_linear_are_the_convolution(model: OryxVisionModel) -> None:
    patch, channels = model.config.patch_size, model.config.num_channels
    picture = torch.randn(channels, 10, 15)  # neither side is a multiple of 4
    patches, grid = patchify(picture, patch)
    assert grid == (3, 4)
    kernel = model.patch_embedding.weight.view(-1, channels, patch, patch)
    padded = torch.zeros(channels, 12, 16)
    padded[:, :10, :15] = picture
    expected = torch.nn.functional.conv2d(
        padded[None], kernel, model.patch_embedding.bias, stride=patch
    )
    torch.testing.assert_close(
        model.patch_embedding(patches), expected[0].flatten(1).T, atol=1e-5, rtol=1e-5
    )


@torch.no_grad()
def test_a_saved_model_is_read_back(model: OryxVisionModel, tmp_path: Path) -> None:
    model.save_pretrained(tmp_path)
    again = OryxVisionModel.from_pretrained(tmp_path)
    assert again.config.to_diff_dict() == model.config.to_diff_dict()
    parts = pictures(model, GRIDS)
    assert torch.equal(
        torch.cat(encode(again, parts, GRIDS)), torch.cat(encode(model, parts, GRIDS))
    )


def test_a_new_model_has_random_positions() -> None:
    config = OryxVisionConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=2)
    positions = OryxVisionModel(config).position_embedding
    assert float(positions.detach().std()) == pytest.approx(32**-0.5, rel=0.05)


def test_the_default_is_the_published_shape() -> None:
    config = OryxVisionConfig()
    assert config.intermediate_size == 4304
    with torch.device("meta"):
        count = sum(p.numel() for p in OryxVisionModel(config).parameters())
    layer = 4 * 1152**2 + 4 * 1152 + 2 * 1152 * 4304 + 4304 + 1152 + 4 * 1152
    assert count == 27 * layer + (3 * 256 + 1) * 1152 + 128**2 * 1152


@pytest.mark.parametrize(
    ("grids", "said"),
    [
        ([(2, 3), (2, 2)], "10 patches, but there are 12"),
        ([(3, 0), (3, 4)], "positive"),
        ([], "positive"),
    ],
)
def test_grids_that_do_not_fit_are_refused(
    model: OryxVisionModel, grids: list[tuple[int, int]], said: str
) -> None:
    patches = torch.randn(12, model.patch_embedding.in_features)
    with pytest.raises(ValueError, match=said):
        model(patches, torch.tensor(grids).view(-1, 2))


def test_heads_that_do_not_divide_the_width_are_refused() -> None:
    with pytest.raises(ModelConfigError, match=r"num_attention_heads \(5\).*32"):
        OryxVisionConfig(hidden_size=32, num_attention_heads=5)
