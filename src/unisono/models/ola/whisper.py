"""Whisper's encoder for windows shorter than 30 s.

transformers insists on the window that Whisper was trained with. The encoder itself does not: a
shorter one uses the first of its positions, which are sinusoids, and costs less.

Shapes: N chunks, M mel bins, F frames, W width.
"""

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.whisper.modeling_whisper import WhisperEncoder

_MELS_PER_FRAME = 2
"""The stride of the second convolution."""


class WindowedWhisperEncoder(WhisperEncoder):
    """Whisper's encoder; what it makes of a whole window is left to transformers."""

    def forward(
        self, input_features: Tensor, attention_mask: Tensor | None = None, **kwargs: Any
    ) -> BaseModelOutput:
        """Encode log-mels.

        Args:
            input_features: [N, M, mel frames], at most twice `config.max_source_positions`.
            attention_mask: has no effect.
            **kwargs: see `WhisperEncoder.forward`; of no effect on a shorter window.

        Returns:
            `last_hidden_state` [N, F, W], F half of the mel frames.

        Raises:
            ValueError: the window is longer than the positions reach.
        """
        if input_features.shape[-1] >= _MELS_PER_FRAME * self.max_source_positions:
            return super().forward(input_features, attention_mask, **kwargs)
        frames = functional.gelu(self.conv1(input_features))
        frames = functional.gelu(self.conv2(frames)).transpose(1, 2)
        hidden = frames + self.embed_positions.weight[: frames.shape[1]]
        hidden = functional.dropout(hidden, p=self.dropout, training=self.training)
        for layer in self.layers:
            if not self._layer_dropped():
                hidden = layer(hidden, None)
        return BaseModelOutput(last_hidden_state=self.layer_norm(hidden))

    def _layer_dropped(self) -> bool:
        """LayerDrop, as in the whole window."""
        return self.training and self.layerdrop > 0.0 and bool(torch.rand([]) < self.layerdrop)
