"""The audio connector and the merge against loops a child could follow."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from unisono.errors import PlaceholderMismatchError
from unisono.models.ola.connector import AudioConnector
from unisono.models.ola.merge import merge, without_placeholders

IMAGE, AUDIO, VIDEO = PLACEHOLDERS = (100, 101, 102)


def _naive(connector: AudioConnector, frames: Tensor, counts: list[int]) -> Tensor:
    rows: list[Tensor] = []
    chunk = 0
    for count in counts:
        rows.append(connector.begin)
        for _ in range(count):
            for group in range(frames.shape[1] // connector.stack):
                first = group * connector.stack
                joined = torch.cat([frames[chunk, first + i] for i in range(connector.stack)])
                hidden = connector.linear1.weight @ joined + connector.linear1.bias
                hidden = torch.where(hidden > 0, hidden, torch.zeros_like(hidden))
                rows.append(connector.linear2.weight @ hidden + connector.linear2.bias)
            rows.append(connector.newline)
            chunk += 1
        rows.append(connector.end)
    return torch.stack(rows)


@settings(max_examples=25, deadline=None)
@given(
    counts=st.lists(st.integers(1, 3), min_size=1, max_size=3),
    length=st.integers(3, 11),
    stack=st.integers(1, 3),
)
def test_connector_equals_a_naive_loop(counts: list[int], length: int, stack: int) -> None:
    torch.manual_seed(0)
    connector = AudioConnector(4, 6, 5, stack)
    frames = torch.randn(sum(counts), length, 4)
    found = connector(frames, torch.tensor(counts))
    assert found.shape == (sum(c * (length // stack + 1) + 2 for c in counts), 5)
    torch.testing.assert_close(found, _naive(connector, frames, counts))


def _naive_merge(embeddings: Tensor, ids: Tensor, features: dict[int, Tensor]) -> Tensor:
    merged, used = embeddings.clone(), dict.fromkeys(features, 0)
    for row in range(ids.shape[0]):
        for column in range(ids.shape[1]):
            kind = int(ids[row, column])
            if kind in features:
                merged[row, column] = features[kind][used[kind]]
                used[kind] += 1
    return merged


@settings(max_examples=40, deadline=None)
@given(
    st.lists(
        st.lists(st.sampled_from([1, 2, IMAGE, AUDIO, VIDEO]), min_size=4, max_size=4),
        min_size=1,
        max_size=3,
    )
)
def test_merge_equals_a_naive_loop(rows: list[list[int]]) -> None:
    ids = torch.tensor(rows)
    embeddings = torch.randn(*ids.shape, 3)
    features = {kind: torch.randn(int((ids == kind).sum()), 3) for kind in PLACEHOLDERS}
    merged = merge(embeddings, ids, features, PLACEHOLDERS)
    assert torch.equal(merged, _naive_merge(embeddings, ids, features))
    looked_up = without_placeholders(ids, PLACEHOLDERS)
    assert looked_up.max() < IMAGE
    assert torch.equal(looked_up[ids < IMAGE], ids[ids < IMAGE])


@pytest.mark.parametrize("given", [0, 1, 3])
def test_merge_names_both_numbers_when_they_differ(given: int) -> None:
    ids = torch.tensor([[1, AUDIO, AUDIO, 2]])
    features = {AUDIO: torch.randn(given, 3)}
    with pytest.raises(PlaceholderMismatchError, match=f"2 placeholders.*{given} embeddings"):
        merge(torch.randn(1, 4, 3), ids, features, PLACEHOLDERS)


def test_placeholders_without_any_features_are_refused_too() -> None:
    ids = torch.tensor([[1, AUDIO, AUDIO, 2]])
    with pytest.raises(PlaceholderMismatchError, match=r"2 placeholders.*0 embeddings"):
        merge(torch.randn(1, 4, 3), ids, {}, PLACEHOLDERS)


def test_gradients_flow_through_the_merge_to_both_sides() -> None:
    ids = torch.tensor([[1, AUDIO, 2], [AUDIO, 3, AUDIO]])
    embeddings = torch.randn(2, 3, 4, requires_grad=True)
    features = torch.randn(3, 4, requires_grad=True)
    weights = torch.randn(2, 3, 4)
    (merge(embeddings, ids, {AUDIO: features}, PLACEHOLDERS) * weights).sum().backward()
    at = ids == AUDIO
    assert features.grad is not None
    assert embeddings.grad is not None
    assert torch.equal(features.grad, weights[at])
    assert torch.equal(embeddings.grad, weights * ~at[..., None])
