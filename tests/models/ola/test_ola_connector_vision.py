"""The visual connector: pooling, marks, and the count the processor relies on."""

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unisono.errors import ModelConfigError
from unisono.models.ola.connector_vision import VisionConnector, token_count

WIDTH, OUT = 6, 8
Grids = list[tuple[int, int]]
Medium = tuple[Grids, bool]


def connector(pool: int = 2) -> VisionConnector:
    torch.manual_seed(0)
    return VisionConnector(WIDTH, OUT, pool)


def connect(module: VisionConnector, features: Tensor, media: list[Medium]) -> list[Tensor]:
    grids = [grid for grids, _ in media for grid in grids]
    return module(
        features,
        torch.tensor(grids),
        torch.tensor([len(grids) for grids, _ in media]),
        torch.tensor([moving for _, moving in media]),
    )


def features_of(media: list[Medium]) -> Tensor:
    count = sum(rows * columns for grids, _ in media for rows, columns in grids)
    return torch.randn(count, WIDTH, generator=torch.Generator().manual_seed(1))


def naive_row(module: VisionConnector, picture: Tensor, row: int) -> Tensor:
    """One row of cells of [rows, columns, W], pooled cell by cell."""
    pool, tokens = module.pool, []
    for column in range(picture.shape[1] // pool):
        window = picture[row * pool :, column * pool :][:pool, :pool].reshape(pool * pool, -1)
        cell = module.linear1(window)
        pairs = torch.stack([torch.cat([one, cell.mean(0)]) for one in cell])
        scores = module.pooler.score(pairs)
        weights = scores.exp() / scores.exp().sum(0)
        tokens.append(module.linear2(torch.nn.functional.gelu((weights * cell).sum(0))))
    return torch.stack([*tokens, module.newline])


def naive(module: VisionConnector, picture: Tensor) -> Tensor:
    return torch.cat([naive_row(module, picture, r) for r in range(len(picture) // module.pool)])


@torch.no_grad()
@pytest.mark.parametrize("pool", [1, 2, 4])
def test_an_image_and_a_video_token_by_token(pool: int) -> None:
    module = connector(pool)
    media: list[Medium] = [([(4, 8), (8, 4)], False), ([(4, 4)] * 3, True), ([(4, 4)], False)]
    features = features_of(media)
    grids = [grid for grids, _ in media for grid in grids]
    parts = torch.split(features, [rows * columns for rows, columns in grids])
    low, high, *frames, single = (
        naive(module, part.view(*grid, WIDTH)) for part, grid in zip(parts, grids, strict=True)
    )
    begin, separator, end = module.begin[None], module.separator[None], module.end[None]
    expected = [
        torch.cat([begin, low, separator, high, end]),
        torch.cat([begin, *(t for frame in frames for t in (frame, separator)), end]),
        torch.cat([begin, single, end]),
    ]
    for actual, wanted in zip(connect(module, features, media), expected, strict=True):
        torch.testing.assert_close(actual, wanted, atol=1e-5, rtol=1e-5)


def media_of(pool: int) -> st.SearchStrategy[list[Medium]]:
    side = st.integers(1, 3).map(lambda cells: cells * pool)
    grid = st.tuples(side, side)
    image = st.tuples(st.lists(grid, min_size=1, max_size=2), st.just(False))
    frames = st.tuples(grid, st.integers(1, 4)).map(lambda pair: [pair[0]] * pair[1])
    return st.lists(st.one_of(image, st.tuples(frames, st.just(True))), min_size=1, max_size=4)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([1, 2, 4]).flatmap(lambda p: st.tuples(st.just(p), media_of(p))))
@torch.no_grad()
def test_the_count_is_what_is_made_and_a_batch_is_its_media(case: tuple[int, list[Medium]]) -> None:
    pool, media = case
    module, features = connector(pool), features_of(media)
    starts = [0]
    for grids, _ in media:
        starts.append(starts[-1] + sum(rows * columns for rows, columns in grids))
    together = connect(module, features, media)
    for tokens, medium, (start, stop) in zip(together, media, pairwise(starts), strict=True):
        grids, is_video = medium
        assert len(tokens) == token_count(grids, is_video=is_video, pool=pool)
        (alone,) = connect(module, features[start:stop], [medium])
        torch.testing.assert_close(tokens, alone, atol=1e-5, rtol=1e-5)


def test_every_parameter_learns_and_packing_changes_no_gradient() -> None:
    module = connector()
    media: list[Medium] = [([(2, 4), (4, 2)], False), ([(2, 2)] * 2, True)]
    features = features_of(media)
    sum(t.square().sum() for t in connect(module, features, media)).backward()
    together = {name: p.grad.clone() for name, p in module.named_parameters()}
    module.zero_grad()
    cut = sum(rows * columns for rows, columns in media[0][0])
    for part, medium in ((features[:cut], media[0]), (features[cut:], media[1])):
        connect(module, part, [medium])[0].square().sum().backward()
    for name, parameter in module.named_parameters():
        assert float(parameter.grad.abs().max()) > 0, name
        torch.testing.assert_close(together[name], parameter.grad, atol=1e-4, rtol=1e-4)


def test_linear_layers_run_once_however_many_pictures_there_are() -> None:
    module, calls = connector(), []
    for part in (module.linear1, module.pooler.score, module.linear2):
        part.register_forward_hook(lambda *_: calls.append(1))
    media: list[Medium] = [([(2, 2), (4, 4)], False), ([(2, 4)] * 5, True)]
    connect(module, features_of(media), media)
    assert len(calls) == 3


@torch.no_grad()
def test_bfloat16_stays_close() -> None:
    module = connector()
    media: list[Medium] = [([(4, 4), (4, 8)], False)]
    exact = connect(module, features_of(media), media)[0]
    half = connect(module.bfloat16(), features_of(media).bfloat16(), media)[0]
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), exact, atol=0.02, rtol=0.02)


def test_a_grid_that_cannot_be_divided_is_refused_by_both() -> None:
    said = "3 x 4 patches cannot be divided into cells of 2 x 2"
    with pytest.raises(ValueError, match=said):
        token_count([(3, 4)], is_video=False, pool=2)
    with pytest.raises(ValueError, match=said):
        connect(connector(), torch.randn(12, WIDTH), [([(3, 4)], False)])


def test_counts_that_do_not_fit_are_refused() -> None:
    grids, images = torch.tensor([(2, 2), (2, 2)]), torch.tensor([False])
    with pytest.raises(ValueError, match="sum to 1, but there are 2"):
        connector()(torch.randn(8, WIDTH), grids, torch.tensor([1]), images)
    with pytest.raises(ValueError, match="8 patches, but there are 9"):
        connector()(torch.randn(9, WIDTH), grids, torch.tensor([2]), images)


def test_a_pool_that_was_never_trained_is_refused() -> None:
    with pytest.raises(ModelConfigError, match="vision_pool.*3"):
        VisionConnector(WIDTH, OUT, pool=3)


def test_marks_that_are_not_used_have_gradients_too() -> None:
    """Sharded ranks reduce together what any of them has a gradient of."""
    connector = VisionConnector(8, 12)
    (picture,) = connector(
        torch.randn(16, 8), torch.tensor([[4, 4]]), torch.tensor([1]), torch.tensor([False])
    )
    picture.sum().backward()
    assert connector.separator.grad is not None
    assert not connector.separator.grad.any()
