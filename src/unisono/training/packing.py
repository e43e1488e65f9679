"""Conversations to learn from -> the token tensors of one micro-batch: packed or padded.

Packed, conversations follow each other in one row and nothing is spent on padding. Their positions
begin anew, from which transformers makes attention block-diagonal where no mask is given
(`masking_utils.find_packed_sequence_indices`): none sees another.

Shapes: B batch, T tokens.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from unisono.models.ola.prompt import Prompt
from unisono.models.ola.supervision import IGNORED


@dataclass(frozen=True)
class LabelledPrompt:
    """A conversation as the model reads it, and what it learns of it.

    Attributes:
        prompt: T tokens and the media among them.
        labels: [T], -100 where nothing is learned.
    """

    prompt: Prompt
    labels: tuple[int, ...]

    @property
    def learned(self) -> int:
        """Tokens that are learned; the first one of a conversation is predicted by nothing."""
        return sum(label != IGNORED for label in self.labels[1:])


def packed(examples: Sequence[LabelledPrompt]) -> dict[str, Tensor]:
    """One row of all conversations.

    Returns:
        `input_ids`, `position_ids` and `labels`, each [1, T]; no mask.
    """
    ids = [token for one in examples for token in one.prompt.ids]
    positions = [place for one in examples for place in range(len(one.prompt.ids))]
    # Else the last token of the conversation before would learn to predict it.
    labels = [label for one in examples for label in (IGNORED, *one.labels[1:])]
    return {
        "input_ids": torch.tensor([ids]),
        "position_ids": torch.tensor([positions]),
        "labels": torch.tensor([labels]),
    }


def padded(examples: Sequence[LabelledPrompt], pad_id: int) -> dict[str, Tensor]:
    """A row for each conversation, padded on the right.

    Returns:
        `input_ids`, `attention_mask` and `labels`, each [B, T].
    """
    ids = [torch.tensor(one.prompt.ids) for one in examples]
    labels = [torch.tensor(one.labels) for one in examples]
    read = [torch.ones_like(one) for one in ids]
    return {
        "input_ids": pad_sequence(ids, batch_first=True, padding_value=pad_id),
        "attention_mask": pad_sequence(read, batch_first=True),
        "labels": pad_sequence(labels, batch_first=True, padding_value=IGNORED),
    }
