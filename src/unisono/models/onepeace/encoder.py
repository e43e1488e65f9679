"""The transformer: attention the modalities share, a feed-forward network for each.

Knows nothing of where tokens come from. Shapes as in attention.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_layers import GradientCheckpointingLayer

from unisono.models.onepeace.adapter import Part, some
from unisono.models.onepeace.attention import (
    SHARED,
    SelfAttention,
    Spans,
    Surroundings,
    by_modality,
)
from unisono.models.onepeace.config import OnePeaceConfig, Sharing


@dataclass(frozen=True)
class EncoderShape:
    """Sizes of an `Encoder`.

    Attributes:
        width, ffn_width, layers, heads: as usual.
        modalities: those it has weights for.
        shared: see `OnePeaceConfig.shared`.
        drop_path: of the last layer.
        layer_scale: initial LayerScale; None for none.
        eps: of the LayerNorms.
        final_norm: a LayerNorm per modality behind the last layer.
    """

    width: int
    ffn_width: int
    layers: int
    heads: int
    modalities: tuple[str, ...]
    shared: Sharing = "attention"
    drop_path: float = 0.0
    layer_scale: float | None = None
    eps: float = 1e-5
    final_norm: bool = True

    @classmethod
    def of(
        cls,
        config: OnePeaceConfig,
        *,
        final_norm: bool = True,
        only: tuple[str, ...] | None = None,
    ) -> "EncoderShape":
        """Of the encoder proper, for all modalities of the config or some `only`."""
        return cls(
            width=config.hidden_size,
            ffn_width=config.intermediate_size,
            layers=config.num_hidden_layers,
            heads=config.num_attention_heads,
            modalities=only or tuple(config.modalities),
            shared=config.shared,
            drop_path=config.drop_path_rate,
            layer_scale=config.layer_scale_init,
            eps=config.layer_norm_eps,
            final_norm=final_norm,
        )

    @property
    def attention_owners(self) -> tuple[str, ...]:
        """Who has attention weights."""
        return (SHARED,) if self.shared in ("attention", "all") else self.modalities

    @property
    def ffn_owners(self) -> tuple[str, ...]:
        """Who has a feed-forward network."""
        return (SHARED,) if self.shared in ("ffn", "all") else self.modalities


class FeedForward(nn.Module):
    """GeGLU with a LayerNorm before the way back: W2 LN(gelu(W0 x) * W1 x)."""

    def __init__(self, width: int, inner: int, eps: float) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(width, inner, bias=False)
        self.up_proj = nn.Linear(width, inner, bias=False)
        self.norm = nn.LayerNorm(inner, eps=eps)
        self.down_proj = nn.Linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        return self.down_proj(self.norm(functional.gelu(self.gate_proj(x)) * self.up_proj(x)))


class Branch(nn.Module):
    """What leads a branch back into the residual stream: LayerScale, then drop-path."""

    def __init__(self, width: int, layer_scale: float | None, drop_path: float) -> None:
        super().__init__()
        scale = None if layer_scale is None else nn.Parameter(torch.full((width,), layer_scale))
        self.gamma = scale
        self.drop_path = drop_path

    def survivors(self, x: Tensor) -> Tensor | None:
        """Samples of [B, T, D] whose branch drop-path lets live; None for all."""
        if not (self.training and self.drop_path > 0.0):
            return None
        alive = x.new_empty(len(x), 1, 1).bernoulli_(1 - self.drop_path)
        return alive.flatten().nonzero().flatten()

    def forward(self, residual: Tensor, branch: Tensor, alive: Tensor | None) -> Tensor:
        """residual + drop_path(gamma * branch): [B, T, D], the branch [len(alive), T, D]."""
        branch = branch if self.gamma is None else self.gamma * branch
        if alive is None:
            return residual + branch
        branch = branch.to(residual.dtype)  # autocast may differ
        return residual.index_add(0, alive, branch, alpha=1 / (1 - self.drop_path))


class EncoderLayer(GradientCheckpointingLayer):
    """Pre-norm attention, then pre-norm feed-forward."""

    def __init__(self, shape: EncoderShape, drop_path: float) -> None:
        super().__init__()
        width, eps = shape.width, shape.eps
        self.attention_norm = nn.LayerNorm(width, eps=eps)
        self.attention = SelfAttention(shape.attention_owners, width, shape.heads, eps)
        self.attention_branch = Branch(width, shape.layer_scale, drop_path)
        self.ffn_norm = nn.LayerNorm(width, eps=eps)
        self.ffn = nn.ModuleDict(
            {owner: FeedForward(width, shape.ffn_width, eps) for owner in shape.ffn_owners}
        )
        self.ffn_branch = Branch(width, shape.layer_scale, drop_path)

    def forward(self, x: Tensor, around: Surroundings, bias: Tensor | None) -> Tensor:
        """[B, T, D] -> [B, T, D]."""
        # What drop-path would multiply by zero is not computed.
        alive = self.attention_branch.survivors(x)
        taken = x if alive is None else x[alive]
        if alive is not None and bias is not None and len(bias) > 1:
            bias = bias[alive]
        mixed = self.attention(self.attention_norm(taken), around.of(alive), bias)
        x = self.attention_branch(x, mixed, alive)
        alive = self.ffn_branch.survivors(x)
        taken = self.ffn_norm(x if alive is None else x[alive])
        return self.ffn_branch(x, self._fed_forward(taken, around.of(alive)), alive)

    def _fed_forward(self, x: Tensor, around: Surroundings) -> Tensor:
        """[B, T, D] -> [B, T, D].

        In training nothing is computed for padding, which gets zeros; in eval mode padding has
        the values that the original gives it.
        """
        if not self.training:
            return by_modality(self.ffn, x, around.spans, lambda ffn, part: ffn(part))
        real = iter(around.real(whole=SHARED in self.ffn))
        return by_modality(
            self.ffn, x, around.spans, lambda ffn, part: _fed_at(next(real), ffn, part)
        )


def _fed_at(places: Tensor | None, ffn: FeedForward, x: Tensor) -> Tensor:
    """Feed some places of [B, T, D], flattened, or all of them; zeros elsewhere."""
    if places is None:
        return ffn(x)
    flat = x.flatten(0, 1)
    fed = ffn(flat[places])
    return fed.new_zeros(flat.shape).index_copy(0, places, fed).view_as(x)


@dataclass(frozen=True)
class Encoded:
    """What an encoder made of a sequence, cut into its modalities.

    Attributes:
        sequences: modality -> [B, T_m, D] behind the final LayerNorm.
        hidden: modality -> what entered layer 0, then each layer's output; empty if not kept.
        padding: modality -> [B, T_m], True at padding; None for none.
    """

    sequences: dict[str, Tensor]
    hidden: dict[str, tuple[Tensor, ...]]
    padding: dict[str, Tensor | None]


class Encoder(nn.Module):
    """Layers over the parts of one sequence, side by side in the order given."""

    def __init__(self, shape: EncoderShape) -> None:
        super().__init__()
        rates = [shape.drop_path * i / max(shape.layers - 1, 1) for i in range(shape.layers)]
        self.layers = nn.ModuleList(EncoderLayer(shape, rate) for rate in rates)
        norms = shape.modalities if shape.final_norm else ()
        self.norms = nn.ModuleDict({m: nn.LayerNorm(shape.width, eps=shape.eps) for m in norms})

    def forward(
        self,
        parts: Sequence[Part],
        *,
        bias_per_layer: bool = False,
        mask_padding: bool = True,
        keep_hidden: bool = False,
    ) -> Encoded:
        """Encode parts jointly.

        Args:
            parts: one or more modalities of the same batch.
            bias_per_layer: the bias differs from layer to layer; otherwise it is made once.
            mask_padding: no token looks at padding.
            keep_hidden: keep what every layer made.
        """
        around, x = joined(parts)
        if not mask_padding:
            around = replace(around, padding=None)
        bias = joint_bias(parts, 0)
        hidden = [x]
        for i, layer in enumerate(self.layers):
            if bias_per_layer and i > 0:
                bias = joint_bias(parts, i)
            x = layer(x, around, bias)
            hidden = [*hidden, x] if keep_hidden else [x]
        return self._cut(hidden, around.spans, parts)

    def _cut(self, hidden: list[Tensor], spans: Spans, parts: Sequence[Part]) -> Encoded:
        """Give every modality its stretch of the last layer, or of all."""
        pieces = [torch.split(h, [length for _, length in spans], dim=1) for h in hidden]
        last = {name: piece for (name, _), piece in zip(spans, pieces[-1], strict=True)}
        kept = {name: tuple(p[i] for p in pieces) for i, (name, _) in enumerate(spans)}
        return Encoded(
            sequences={m: self.norms[m](x) if m in self.norms else x for m, x in last.items()},
            hidden=kept if len(hidden) > 1 else {},
            padding={part.modality: part.padding for part in parts},
        )


def joined(parts: Sequence[Part]) -> tuple[Surroundings, Tensor]:
    """Parts side by side: where each is, and [B, T, D] with zeros at padding."""
    spans = tuple((part.modality, part.tokens.shape[1]) for part in parts)
    x = parts[0].tokens if len(parts) == 1 else torch.cat([part.tokens for part in parts], dim=1)
    if all(part.padding is None for part in parts):
        return Surroundings(spans, None), x
    whole = torch.cat([_mask(part) for part in parts], dim=1)
    padding = some(whole)
    return Surroundings(spans, padding), x.masked_fill(whole[..., None], 0.0)


def _mask(part: Part) -> Tensor:
    if part.padding is not None:
        return part.padding
    return torch.zeros(part.tokens.shape[:2], dtype=torch.bool, device=part.tokens.device)


def joint_bias(parts: Sequence[Part], layer: int) -> Tensor | None:
    """[1 or B, H, T, T]: each part's own bias on the diagonal, zero between modalities."""
    biases = [None if part.bias is None else part.bias(layer) for part in parts]
    known = [bias for bias in biases if bias is not None]
    if len(parts) == 1 or not known:
        return biases[0]
    rows, batch, heads = [], max(len(bias) for bias in known), known[0].shape[1]
    lengths = [part.tokens.shape[1] for part in parts]
    for i, (bias, length) in enumerate(zip(biases, lengths, strict=True)):
        square = known[0].new_zeros(1, heads, length, length) if bias is None else bias
        around = (sum(lengths[:i]), sum(lengths[i + 1 :]))
        rows.append(functional.pad(square, around).expand(batch, -1, -1, -1))
    return torch.cat(rows, dim=-2)
