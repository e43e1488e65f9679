"""Which tokens of a conversation are learned.

Ola's training code supervises the answers and, in every turn, the control tokens and the newline
behind a turn: it then learns to write `<|im_start|>` too. Learning the answers and the token that
ends them is what most others do.
"""

from collections.abc import Sequence
from typing import Literal

from transformers import PreTrainedTokenizerBase

Supervision = Literal["answers", "answers and controls"]

IGNORED = -100
"""The label of a token that is not learned, as transformers' losses have it."""


def template_labels(
    ids: Sequence[int],
    tokenizer: PreTrainedTokenizerBase,
    supervision: Supervision,
    *,
    after_answer: bool,
) -> list[int]:
    """Labels of a run of the chat template's own tokens.

    Args:
        ids: the run.
        tokenizer: knows which of them are control tokens, and which one ends a turn.
        supervision: "answers" learns only the end of an answer.
        after_answer: whether the run follows an answer.
    """
    if supervision == "answers":
        length = 1 if after_answer and ids and ids[0] == tokenizer.eos_token_id else 0
        return [*ids[:length], *[IGNORED] * (len(ids) - length)]
    controls = set(tokenizer.all_special_ids)
    labels, learned = [], False
    for token in ids:
        # What stands between the end of a turn and the next control token is learned with it.
        learned = token == tokenizer.eos_token_id or (learned and token not in controls)
        labels.append(token if learned or token in controls else IGNORED)
    return labels
