"""Connector pre-alignment: what a connector makes comes to lie among the language model's words.

No pass of the language model is needed. The logit of token v is -s * |h - E_v|^2, with E_v its
frozen input embedding: an output h that stands for a token comes to lie where the token itself
would. Outputs that stand for nothing have a head of their own. What is learned beside the connector
(that head and s) lives in `TokenAlignment`, around the model, and ends with the stage.

Shapes: K tokens that occur, D width of the language model.
"""

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from unisono.errors import RecipeError
from unisono.models.ola.model import OlaForConditionalGeneration

BLANK = 0
"""The class of nothing; token i of `TokenAlignment.tokens` is class i + 1."""


class TokenAlignment(nn.Module):
    """An Ola model with what connector pre-alignment learns besides; `model` is what remains."""

    needs: ClassVar[str] = ""
    """The connector that a subclass aligns, as the encoders call it."""

    tokens: Tensor
    words: Tensor

    def __init__(
        self, model: OlaForConditionalGeneration, tokens: Sequence[int], scale: float = 1.0
    ) -> None:
        """Stand around a model.

        Args:
            model: its input embeddings stay as they are.
            tokens: [K] ids that may be said.
            scale: initial s.

        Raises:
            RecipeError: the model lacks the connector.
        """
        if self.needs and getattr(model.encoders, self.needs) is None:
            what = "an audio connector" if self.needs.startswith("audio") else "a vision connector"
            raise RecipeError(f"the alignment of connectors needs a model with {what}")
        super().__init__()
        self.model = model
        self.blank = nn.Linear(model.config.text_config.hidden_size, 1)
        self.log_scale = nn.Parameter(torch.tensor(math.log(scale)))
        ids = torch.tensor(tokens)
        # A copy of E [K, D]: where the model is sharded, its own table is not at hand.
        words = model.get_input_embeddings()(ids.to(model.device)).detach().float().clone()
        self.register_buffer("tokens", ids, persistent=False)
        self.register_buffer("words", words, persistent=False)

    def logits(self, outputs: Tensor) -> Tensor:
        """[…, D] -> [..., 1 + K] in float32: the blank's, then the tokens'."""
        with torch.autocast(outputs.device.type, enabled=False):  # distances lose their digits
            outputs, words = outputs.float(), self.words
            squares = outputs.square().sum(-1, keepdim=True) + words.square().sum(-1)
            distances = squares - 2 * outputs @ words.T  # […, K]
            said = -self.log_scale.exp() * distances
            return torch.cat([self.blank(outputs), said], dim=-1)
