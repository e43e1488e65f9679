"""Deformable attention and attention in windows against plain loops."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_dense import noise, tiny_vision, tiny_whole
from tiny_onepeace import randomised
from torch import Tensor

from unisono.errors import ModelConfigError
from unisono.models.onepeace.dense import OnePeaceWindowedBackbone, OnePeaceWindowedConfig
from unisono.models.onepeace.dense.deformable import DeformableAttention, cell_centres
from unisono.models.onepeace.dense.simple_pyramid import PlainPyramid
from unisono.models.onepeace.dense.windows import GridAttention, into_windows, out_of_windows

GRIDS = [(3, 4), (2, 2)]


def bilinear(level: Tensor, x: float, y: float) -> Tensor:
    """A map [d, h, w] at a place in cells, zero outside."""
    total = torch.zeros(level.shape[0])
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            inside = 0 <= row < level.shape[1] and 0 <= column < level.shape[2]
            if inside:
                total += (1 - abs(y - row)) * (1 - abs(x - column)) * level[:, row, column]
    return total


def test_deformable_attention_is_a_plain_loop() -> None:
    module = randomised(DeformableAttention(8, 2, levels=2, points=3, ratio=0.5))
    queries, values = noise(1, 5, 8), noise(1, 16, 8, seed=1)
    places = torch.rand(1, 5, 1, 2)
    found = module(queries, places, values, GRIDS)
    offsets = module.sampling_offsets(queries)[0].view(5, 2, 2, 3, 2)
    weights = module.attention_weights(queries)[0].view(5, 2, 6).softmax(-1).view(5, 2, 2, 3)
    projected = module.value_proj(values)[0].view(16, 2, 2)
    seen = torch.zeros(5, 2, 2)
    for q in range(5):
        for head in range(2):
            first = 0
            for level, (rows, columns) in enumerate(GRIDS):
                here = projected[first : first + rows * columns, head].T.view(2, rows, columns)
                first += rows * columns
                for point in range(3):
                    dx, dy = offsets[q, head, level, point].tolist()
                    x = places[0, q, 0, 0].item() * columns + dx - 0.5
                    y = places[0, q, 0, 1].item() * rows + dy - 0.5
                    seen[q, head] += weights[q, head, level, point] * bilinear(here, x, y)
    torch.testing.assert_close(found[0], module.output_proj(seen.flatten(1)), atol=1e-5, rtol=1e-4)


def test_heads_begin_by_looking_in_different_directions() -> None:
    module = DeformableAttention(8, 4, levels=2, points=2, ratio=1.0)
    module.look_around()
    offsets = module.sampling_offsets.bias.detach().view(4, 2, 2, 2)
    torch.testing.assert_close(offsets[:, 0], offsets[:, 1])
    torch.testing.assert_close(offsets[:, :, 1], 2 * offsets[:, :, 0])
    torch.testing.assert_close(offsets[0, 0, 0], torch.tensor([1.0, 0.0]))
    assert len({tuple(o.round(decimals=3).tolist()) for o in offsets[:, 0, 0]}) == 4


def test_cell_centres_are_x_then_y() -> None:
    found = cell_centres([(1, 2)], torch.zeros(1))
    assert found[0, :, 0].tolist() == [[0.25, 0.5], [0.75, 0.5]]


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 5))
def test_into_windows_and_out_again(rows: int, columns: int, window: int) -> None:
    x = torch.arange(2.0 * rows * columns).view(2, rows * columns, 1) + 1
    cut = into_windows(x, (rows, columns), window)
    count = math.ceil(rows / window) * math.ceil(columns / window)
    assert cut.shape == (2 * count, window**2, 1)
    assert cut[0, 0] == x[0, 0]
    assert torch.equal(out_of_windows(cut, (rows, columns), window), x)
    assert cut.sum() == x.sum()  # what pads is zero


def config(**changes: object) -> OnePeaceWindowedConfig:
    fields = tiny_vision().to_dict()
    fields.pop("model_type")
    fields["image_config"] |= {"position_grid": 4}
    return OnePeaceWindowedConfig(**{**fields, "window": 2, "pyramid_width": 8, **changes})


def test_published_layers_are_windowed() -> None:
    layers = OnePeaceWindowedConfig().windowed
    assert [i for i in range(40) if i not in layers] == [9, 19, 29, 39]
    assert config(window_layers=[1]).windowed == [1]


@pytest.mark.parametrize("size", [(64, 64), (48, 80), (32, 32)])
def test_detection_maps_of_any_size(size: tuple[int, int]) -> None:
    model = randomised(OnePeaceWindowedBackbone(config()))
    height, width = size
    with torch.no_grad():
        maps = model(noise(2, 3, *size)).feature_maps
    for i, one in enumerate(maps[:3]):
        assert one.shape == (2, 8, height // 4 // 2**i, width // 4 // 2**i)
    assert len(maps) == 5


@pytest.mark.parametrize("size", [(16, 64), (64, 40)])
def test_detection_refuses_what_it_has_no_cells_for(size: tuple[int, int]) -> None:
    model = OnePeaceWindowedBackbone(config())
    with pytest.raises(ModelConfigError, match="sides"):
        model(noise(1, 3, *size))


def test_windows_see_nothing_of_their_neighbours() -> None:
    whole = [0, 1, 2, 3]
    model = randomised(OnePeaceWindowedBackbone(config(window_layers=whole, pyramid_width=None)))
    pixels = noise(1, 3, 64, 64)
    other = pixels.clone()
    other[..., 32:, 32:] += 1  # the last of four windows
    with torch.no_grad():
        (a,), (b,) = model(pixels).feature_maps, model(other).feature_maps
    changed = (a - b).abs().amax(1)[0] > 1e-5
    assert changed[2:, 2:].all()
    assert not changed[:2].any()
    assert not changed[:, :2].any()


def test_the_biases_of_rows_and_columns_are_a_plain_loop() -> None:
    shape_of = OnePeaceWindowedBackbone(config(pyramid_width=None))
    attention: GridAttention = randomised(shape_of).encoder.layers[3].attention
    assert attention.window is None
    q = noise(1, 2, 12, 16)
    rows, columns = 3, 4
    found = attention._query_bias(q, (rows, columns))
    for query in range(12):
        for key in range(12):
            dy, dx = query // columns - key // columns, query % columns - key % columns
            if rows == columns == 4:
                row = attention.row_bias[dy + 3]
            else:  # made for four rows, resized to three
                resized = torch.nn.functional.interpolate(
                    attention.row_bias.T[None], size=2 * rows - 1, mode="linear"
                )[0].T
                row = resized[dy + rows - 1]
            expected = q[0, :, query] @ (row + attention.column_bias[dx + columns - 1])
            torch.testing.assert_close(found[0, :, query, key], expected)


def test_the_encoder_of_a_whole_model_for_detection() -> None:
    whole = tiny_whole()
    model = OnePeaceWindowedBackbone.from_onepeace(whole, grid=6, window=2, pyramid_width=8)
    source, own = whole.state_dict(), model.state_dict()
    name = "encoder.layers.1.attention.shared.q_proj.weight"
    assert torch.equal(own[name], source[name])
    assert own["adapters.image.position_embedding"].shape == (37, 32)
    assert not own["encoder.layers.0.attention.row_bias"].any()
    assert model(noise(1, 3, 96, 96)).feature_maps[0].shape == (1, 8, 24, 24)


def test_a_pyramid_wants_whole_cells() -> None:
    pyramid = PlainPyramid(32, 8)
    with pytest.raises(ModelConfigError, match="multiples of 32 px"):
        pyramid(tiny_whole(), noise(1, 3, 48, 64))
