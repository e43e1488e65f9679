"""Text -> tokens: embeddings of byte pairs, learned positions. Shapes as in adapter.py."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from unisono.errors import ContextLengthError
from unisono.models.onepeace.adapter import (
    Adapter,
    Kept,
    Layout,
    Part,
    pick,
    register_adapter,
    some,
)
from unisono.models.onepeace.bias import bucket_index
from unisono.models.onepeace.config import OnePeaceConfig, OnePeaceTextConfig


class TextAdapter(Adapter):
    """[CLS], then the tokens as given; they should end in eos."""

    INPUTS = ("input_ids", "attention_mask")

    def __init__(self, modality: str, config: OnePeaceConfig) -> None:
        text: OnePeaceTextConfig = config.modalities[modality]
        super().__init__(modality, config, pairs=2 * text.position_buckets - 1)
        self.config = text
        self.embed_tokens = nn.Embedding(text.vocab_size, config.hidden_size)
        self.position_embedding = nn.Parameter(
            torch.zeros(text.max_position_embeddings, config.hidden_size)
        )

    def forward(
        self,
        input_ids: Tensor,
        attention_mask: Tensor | None = None,
        *,
        kept: Kept | None = None,
        second: bool = False,
    ) -> Part:
        """Embed [B, T - 1] ids.

        Args:
            input_ids: [B, T - 1].
            attention_mask: [B, T - 1], 0 at padding; None: wherever the id is the padding's.
            kept: only these tokens go on.
            second: no meaning for text.

        Raises:
            ContextLengthError: more tokens than the model has positions for.
        """
        length = input_ids.shape[1] + 1
        self._check_length(length)
        if kept is None:
            tokens = self.behind_cls(self.embed_tokens(input_ids))
            tokens = tokens + self.position_embedding[:length]
            padding = self.layout(input_ids, attention_mask).padding
        else:
            tokens, padding = self._kept_tokens(input_ids, kept), kept.padding
        index = bucket_index(length, self.config.position_buckets, input_ids.device)
        tokens = self.marked(tokens, second=second)
        return Part(self.modality, tokens, padding, self.bias_at(index, kept))

    def layout(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Layout:
        """Padding is never at [CLS]."""
        if attention_mask is None:
            attention_mask = input_ids.ne(self.config.pad_token_id)
        return Layout(some(functional.pad(attention_mask, (1, 0), value=1) == 0))

    def _kept_tokens(self, input_ids: Tensor, kept: Kept) -> Tensor:
        ids = pick(input_ids, (kept.ids[:, 1:] - 1).clamp(min=0))
        return self.behind_cls(self.embed_tokens(ids)) + functional.embedding(
            kept.ids, self.position_embedding
        )

    def _check_length(self, length: int) -> None:
        limit = self.config.max_position_embeddings
        if length > limit:
            raise ContextLengthError(
                f"a text may have at most {limit - 1} tokens, but has {length - 1} instead"
            )


register_adapter(OnePeaceTextConfig, TextAdapter)
