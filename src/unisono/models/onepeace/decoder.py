"""The light decoder of pretraining: from the visible tokens back to all of them.

Shapes: B batch, T tokens with [CLS], K kept tokens, D width of the encoder, d of the decoder.
"""

import torch
from torch import Tensor, nn

from unisono.models.onepeace.adapter import Layout, Part
from unisono.models.onepeace.config import OnePeaceConfig
from unisono.models.onepeace.encoder import Encoder, EncoderShape
from unisono.models.onepeace.image import resized_positions


class Decoder(nn.Module):
    """Mask tokens where nothing is visible, own positions, two layers without relative bias."""

    def __init__(self, config: OnePeaceConfig) -> None:
        super().__init__()
        sizes, names, outer = config.decoder_config, tuple(config.modalities), config.hidden_size
        width = sizes.hidden_size
        self.leaks = config.official_padding
        self.embed = nn.ModuleDict({m: nn.Linear(outer, width) for m in names})
        self.mask_tokens = nn.ParameterDict({m: torch.zeros(1, width) for m in names})
        self.positions = nn.ParameterDict(
            {m: torch.zeros(c.decoder_positions, width) for m, c in config.modalities.items()}
        )
        self.encoder = Encoder(
            EncoderShape(
                width=width,
                ffn_width=sizes.intermediate_size,
                layers=sizes.num_hidden_layers,
                heads=sizes.num_attention_heads,
                modalities=names,
                shared=config.shared,
                eps=config.layer_norm_eps,
            )
        )
        self.heads = nn.ModuleDict({m: nn.Linear(width, outer) for m in names})

    def forward(self, parts: list[Part]) -> dict[str, Tensor]:
        """Decode parts made by `part`, jointly.

        Returns:
            Modality -> [B, T, d]; `heads` leads from there to the encoder's width.
        """
        return self.encoder(parts, mask_padding=not self.leaks).sequences

    def part(
        self,
        modality: str,
        visible: Tensor,
        preserve_ids: Tensor,
        layout: Layout,
        length: int,
    ) -> Part:
        """A modality as the decoder is given it.

        Args:
            modality: its name.
            visible: [B, K, D], the encoder's output at the kept tokens.
            preserve_ids: [B, K], where they belong; -1 for none.
            layout: of all tokens.
            length: T.
        """
        known = self.embed[modality](visible)
        mask = self.mask_tokens[modality].to(known.dtype)  # autocast may differ
        tokens = mask.expand(len(visible), length + 1, -1).clone()
        slots = preserve_ids.masked_fill(preserve_ids < 0, length)  # a slot that is cut off again
        slots = slots[..., None].expand(-1, -1, tokens.shape[-1])
        tokens = tokens.scatter(1, slots, known)[:, :length]
        positions = self.positions[modality]
        if layout.grid is None:
            positions = positions[:length]
        else:
            positions = resized_positions(positions, layout.grid)
        return Part(modality, tokens + positions, layout.padding, None)
