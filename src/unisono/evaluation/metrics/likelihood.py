"""How surprised a language model is by the right answers: negative log-likelihood, perplexity.

Shapes: B batch, T tokens, D width, V vocabulary, L label positions.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from unisono.evaluation.score import Score
from unisono.models import OlaForConditionalGeneration
from unisono.models.ola.supervision import IGNORED

_POSITIONS_AT_ONCE = 512
"""Label positions whose logits [L, V] are in memory at a time."""


def perplexity(
    nll: Sequence[float], tokens: Sequence[float], *, names: Sequence[str] | None = None
) -> Score:
    """exp(sum of NLL / sum of tokens): of a corpus, not a mean of perplexities.

    Args:
        nll: [N] of each sample, in nats, summed over its tokens.
        tokens: [N] how many those are.
        names: [N] of the samples.
    """
    return Score.of(
        nll,
        weights=tokens,
        names=names,
        aggregate="perplexity",
        higher_is_better=False,
        percent=False,
    )


@torch.inference_mode()
def label_nll(
    model: OlaForConditionalGeneration, inputs: Mapping[str, Any]
) -> tuple[Tensor, Tensor]:
    """Teacher forcing: how unlikely the labels are, each after all that stands before it.

    Args:
        model: in eval mode.
        inputs: what `OlaProcessor.collate` makes, padded on the right, with `labels` [B, T].

    Returns:
        Sum of the NLL of each row's labels [B], in nats, float64; and how many labels [B].
    """
    moved = {name: tensor.to(model.device) for name, tensor in inputs.items()}
    labels, mask = moved.pop("labels"), moved.pop("attention_mask")
    embeddings = model.embed(moved.pop("input_ids"), **moved)
    language_model: Any = model.language_model
    hidden = language_model.base_model(inputs_embeds=embeddings, attention_mask=mask)[0]
    rows, places = (labels[:, 1:] != IGNORED).nonzero(as_tuple=True)
    losses = _cross_entropy(
        model.get_output_embeddings(), hidden[rows, places], labels[rows, places + 1]
    )
    summed = torch.zeros(len(labels), dtype=torch.float64, device=losses.device)
    return summed.index_add(0, rows, losses).cpu(), rows.bincount(minlength=len(labels)).cpu()


def _cross_entropy(head: Any, hidden: Tensor, labels: Tensor) -> Tensor:
    """[L, D], [L] -> [L], float64; never the logits of all positions at once."""
    losses = [
        torch.nn.functional.cross_entropy(
            head(hidden[start : start + _POSITIONS_AT_ONCE]).float(),
            labels[start : start + _POSITIONS_AT_ONCE],
            reduction="none",
        )
        for start in range(0, len(labels), _POSITIONS_AT_ONCE)
    ]
    return torch.cat(losses or [hidden.new_zeros(0)]).double()
