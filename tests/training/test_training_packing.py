"""The tensors of a packed and of a padded micro-batch."""

import torch
from hypothesis import given
from hypothesis import strategies as st
from transformers.masking_utils import find_packed_sequence_indices

from unisono.models.ola.prompt import Prompt
from unisono.models.ola.supervision import IGNORED
from unisono.training.packing import LabelledPrompt, packed, padded

token = st.tuples(st.integers(1, 9), st.booleans())
conversation = st.lists(token, min_size=1, max_size=7).map(
    lambda tokens: LabelledPrompt(
        Prompt(tuple(i for i, _ in tokens)),
        tuple(i if learned else IGNORED for i, learned in tokens),
    )
)


@given(st.lists(conversation, min_size=1, max_size=5))
def test_packed(examples: list[LabelledPrompt]) -> None:
    tensors = packed(examples)
    lengths = [len(one.labels) for one in examples]
    assert {tuple(tensor.shape) for tensor in tensors.values()} == {(1, sum(lengths))}
    assert tensors["position_ids"][0].tolist() == [i for n in lengths for i in range(n)]
    assert int((tensors["labels"][:, 1:] != IGNORED).sum()) == sum(e.learned for e in examples)
    seen = find_packed_sequence_indices(tensors["position_ids"])
    belongs = [index for index, n in enumerate(lengths) for _ in range(n)]
    assert belongs == ([0] * sum(lengths) if seen is None else seen[0].tolist())


@given(st.lists(conversation, min_size=1, max_size=5))
def test_padded(examples: list[LabelledPrompt]) -> None:
    tensors = padded(examples, pad_id=0)
    for row, one in enumerate(examples):
        length = len(one.labels)
        assert tensors["input_ids"][row, :length].tolist() == list(one.prompt.ids)
        assert tensors["labels"][row, :length].tolist() == list(one.labels)
        assert tensors["attention_mask"][row].tolist() == [1] * length + [0] * (
            tensors["labels"].shape[1] - length
        )
        assert not tensors["input_ids"][row, length:].any()
        assert (tensors["labels"][row, length:] == IGNORED).all()
    assert all(tensor.dtype == torch.int64 for tensor in tensors.values())
