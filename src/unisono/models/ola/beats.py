"""BEATs, the second hearing encoder of Ola: sounds of any kind, not only speech.

A filter bank cut into patches of 160 ms by 16 mel bins, which a transformer mixes: positions
from a convolution and from a gated bias on relative distances, post-norm with weighted
residuals. There is no padding mask: silence after a sound is heard as silence.

Shapes: N sounds, S samples, F frames of the filter bank, M mel bins, p side of a patch,
T = F // p * M // p tokens, time-major, E width of a patch's embedding, W width, H heads,
C classes.

Source: arXiv 2212.09058; the gated bias: arXiv 2110.13900 (WavLM); the weighted
residuals: arXiv 2203.00555 (DeepNet), figure 2.
"""

from itertools import product

import torch
from torch import Tensor, nn
from torch.nn.functional import conv1d, gelu, scaled_dot_product_attention
from transformers import PreTrainedModel, initialization
from transformers.activations import ACT2FN
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.modeling_outputs import BaseModelOutput

from unisono.errors import MediaError, ModelConfigError
from unisono.models.ola.beats_config import BeatsConfig
from unisono.models.ola.beats_fbank import SAMPLE_RATE_HZ, kaldi_fbank, samples_of
from unisono.models.ola.beats_positions import RelativeBias

__all__ = ["BeatsConfig", "BeatsModel"]


class BeatsModel(PreTrainedModel):
    """Samples in, one feature vector a patch out."""

    config_class = BeatsConfig
    main_input_name = "samples"
    input_modalities = ("audio",)
    supports_gradient_checkpointing = True
    _no_split_modules = ["BeatsLayer"]  # noqa: RUF012 -- the form transformers expects
    _supports_sdpa = True
    # Whatever is asked for, attention goes through SDPA, which has flash kernels of its own.
    _supports_flash_attn = True

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__(config)
        width, embedding, patch = config.hidden_size, config.embedding_size, config.patch_size
        self.patch_embedding = nn.Conv2d(1, embedding, patch, patch, bias=config.patch_bias)
        self.patch_norm = nn.LayerNorm(embedding, eps=config.layer_norm_eps)
        self.projection = nn.Linear(embedding, width) if embedding != width else nn.Identity()
        self.positions = ConvolutionalPositions(config)
        self.relative_bias = RelativeBias(config) if config.relative_position_embedding else None
        self.norm = nn.LayerNorm(width, eps=config.layer_norm_eps)
        self.layers = nn.ModuleList(BeatsLayer(config) for _ in range(config.num_hidden_layers))
        self.predictor = nn.Linear(width, config.num_classes) if config.num_classes else None
        self.post_init()

    def forward(self, samples: Tensor) -> BaseModelOutput:
        """Encode sounds of one length.

        Args:
            samples: [N, S] at 16 kHz, in [-1, 1]. Keep them in float32 even if the model is
                not: the filter bank is computed in float32, and half precision adds noise.

        Returns:
            `last_hidden_state` [N, T, W].

        Raises:
            MediaError: the sounds are shorter than one patch (175 ms).
            ValueError: `samples` is not [N, S].
        """
        hidden = self._embed(self.filter_bank(samples))
        hidden = hidden + self.positions(hidden)
        if not self.config.layer_norm_first:
            hidden = self.norm(hidden)
        bias = self.relative_bias(hidden.shape[1]) if self.relative_bias is not None else None
        for layer in self.layers:
            hidden = layer(hidden, bias)
        if self.config.layer_norm_first:
            hidden = self.norm(hidden)
        return BaseModelOutput(last_hidden_state=hidden)

    def filter_bank(self, samples: Tensor) -> Tensor:
        """What the encoder sees of sounds.

        Args:
            samples: as for `forward`.

        Returns:
            [N, F, M] float32, normalised.

        Raises:
            MediaError: the sounds are shorter than one patch.
            ValueError: `samples` is not [N, S].
        """
        config = self.config
        _check_samples(samples, at_least=samples_of(config.patch_size))
        energies = kaldi_fbank(samples, config.num_mel_bins)
        return (energies - config.fbank_mean) / (2 * config.fbank_std)

    def classify(self, samples: Tensor) -> Tensor:
        """How probable each kind of sound is; several may be heard at once.

        Args:
            samples: as for `forward`.

        Returns:
            [N, C] in [0, 1]: the predictor's logits, averaged over the tokens, then squashed.

        Raises:
            ModelConfigError: the model has no predictor.
            MediaError: the sounds are shorter than one patch.
            ValueError: `samples` is not [N, S].
        """
        if self.predictor is None:
            raise ModelConfigError("the sound encoder has no predictor: its num_classes is 0")
        hidden = self(samples).last_hidden_state
        return self.predictor(hidden).mean(dim=1).sigmoid()

    def _embed(self, filter_bank: Tensor) -> Tensor:
        """[N, F, M] -> [N, T, W]."""
        patches = self.patch_embedding(filter_bank.to(self.dtype)[:, None])  # [N, E, F/p, M/p]
        return self.projection(self.patch_norm(patches.flatten(2).transpose(1, 2)))

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, BeatsAttention) and module.gate is not None:
            initialization.ones_(module.gate_scale)
        elif isinstance(module, ConvolutionalPositions):
            module.init_weights()


class ConvolutionalPositions(nn.Module):
    """A wide grouped convolution over the tokens, followed by GELU.

    Its weight is a direction of norm 1 for each place of the kernel, times a magnitude. Both are
    kept: multiplied out, a half-precision checkpoint would lose digits, and could not be written
    back as it was.
    """

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        width, kernel = config.hidden_size, config.conv_pos
        self.groups = config.conv_pos_groups
        self.magnitude = nn.Parameter(torch.ones(1, 1, kernel))
        self.direction = nn.Parameter(torch.ones(width, width // self.groups, kernel))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, hidden: Tensor) -> Tensor:
        """[N, T, W] -> [N, T, W]."""
        norms = torch.linalg.vector_norm(
            self.direction, dim=(0, 1), keepdim=True, dtype=torch.float32
        )
        scale = (self.magnitude / norms).to(self.direction.dtype)
        weight = (self.direction * scale).to(hidden.dtype)
        padding = weight.shape[-1] // 2
        found = conv1d(
            hidden.transpose(1, 2), weight, self.bias, padding=padding, groups=self.groups
        )
        # An even kernel makes one token too many.
        return gelu(found[..., : hidden.shape[1]]).transpose(1, 2)

    def init_weights(self) -> None:
        """The variance of the output is to be that of the input, as in wav2vec 2.0."""
        width, _, kernel = self.direction.shape
        initialization.normal_(self.direction, std=(4 / (kernel * width)) ** 0.5)
        initialization.copy_(
            self.magnitude, torch.linalg.vector_norm(self.direction, dim=(0, 1), keepdim=True)
        )
        initialization.zeros_(self.bias)


class BeatsLayer(GradientCheckpointingLayer):
    """Transformer layer, post-norm with weighted residuals or pre-norm."""

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        width, eps = config.hidden_size, config.layer_norm_eps
        self.norm_first = config.layer_norm_first
        # DeepNet, figure 2: alpha of an encoder without decoder.
        self.residual_weight = (2 * config.num_hidden_layers) ** 0.25 if config.deep_norm else 1.0
        self.attention = BeatsAttention(config)
        self.norm1 = nn.LayerNorm(width, eps=eps)
        self.fc1 = nn.Linear(width, config.intermediate_size)
        self.activation = ACT2FN[config.hidden_act]
        self.fc2 = nn.Linear(config.intermediate_size, width)
        self.norm2 = nn.LayerNorm(width, eps=eps)

    def forward(self, hidden: Tensor, bias: Tensor | None) -> Tensor:
        """[N, T, W] -> [N, T, W]; see `BeatsAttention.forward`."""
        if self.norm_first:
            hidden = hidden + self.attention(self.norm1(hidden), bias)
            return hidden + self._feed_forward(self.norm2(hidden))
        hidden = self.norm1(hidden * self.residual_weight + self.attention(hidden, bias))
        return self.norm2(hidden * self.residual_weight + self._feed_forward(hidden))

    def _feed_forward(self, hidden: Tensor) -> Tensor:
        return self.fc2(self.activation(self.fc1(hidden)))


class BeatsAttention(nn.Module):
    """Multi-head self-attention with a gated bias on relative positions.

    The official code divides the scores by 32, takes off their maximum and multiplies them
    again, against overflow in float16; softmax makes that the same as this.
    """

    def __init__(self, config: BeatsConfig) -> None:
        super().__init__()
        width = config.hidden_size
        self.heads = config.num_attention_heads
        self.q_proj = nn.Linear(width, width)
        self.k_proj = nn.Linear(width, width)
        self.v_proj = nn.Linear(width, width)
        self.out_proj = nn.Linear(width, width)
        self.gate: nn.Linear | None = None
        if config.gated_relative_bias:
            self.gate = nn.Linear(width // self.heads, 2 * _GATE_PARTS)
            self.gate_scale = nn.Parameter(torch.ones(1, self.heads, 1, 1))

    def forward(self, hidden: Tensor, bias: Tensor | None) -> Tensor:
        """Mix the tokens.

        Args:
            hidden: [N, T, W].
            bias: [H, T, T], added to the scores of each sound, through the gate if there is
                one; None for none.

        Returns:
            [N, T, W].
        """
        query, key, value = (
            projection(hidden).unflatten(-1, (self.heads, -1)).transpose(1, 2)
            for projection in (self.q_proj, self.k_proj, self.v_proj)
        )  # each [N, H, T, W / H]
        mixed = self._attend(query, key, value, None if bias is None else bias.to(query.dtype))
        return self.out_proj(mixed.transpose(1, 2).flatten(2))

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None) -> Tensor:
        """[N, H, T, W / H], three times, and [H, T, T] -> [N, H, T, W / H]."""
        if bias is None or self.gate is None:
            return scaled_dot_product_attention(query, key, value, attn_mask=bias)
        gate = self._gate_values(query, self.gate)
        if torch.is_grad_enabled() or query.device.type != "cpu":
            return scaled_dot_product_attention(query, key, value, attn_mask=gate * bias)
        return _attend_one_by_one(query, key, value, gate, bias)

    def _gate_values(self, query: Tensor, gate: nn.Linear) -> Tensor:
        """[N, H, T, W / H] -> [N, H, T, 1], what the bias is multiplied by."""
        parts = gate(query).unflatten(-1, (2, _GATE_PARTS)).sum(dim=-1, keepdim=True)
        update, reset = parts.sigmoid().unbind(dim=-2)  # each [N, H, T, 1]
        return update * (reset * self.gate_scale - 1.0) + 2.0


def _attend_one_by_one(
    query: Tensor, key: Tensor, value: Tensor, gate: Tensor, bias: Tensor
) -> Tensor:
    """Attention of one head to one sound after the other, which saves memory and so time.

    The gated bias of four sounds of 30 s would be 430 MB in each layer, here it is 9 MB.
    """
    gated = torch.empty_like(bias[0])
    mixed = torch.empty_like(query)
    for sound, head in product(*map(range, query.shape[:2])):
        one = (slice(sound, sound + 1), slice(head, head + 1))
        torch.mul(gate[sound, head], bias[head], out=gated)
        mixed[one] = scaled_dot_product_attention(query[one], key[one], value[one], attn_mask=gated)
    return mixed


_GATE_PARTS = 4
"""Outputs of the gate's linear layer that are summed up to one."""


def _check_samples(samples: Tensor, at_least: int) -> None:
    if samples.ndim != 2 or not samples.is_floating_point():
        raise ValueError(
            f"samples must be [N, S] floats in [-1, 1], "
            f"but are {samples.dtype} {list(samples.shape)} instead"
        )
    if samples.shape[1] < at_least:
        milliseconds = at_least * 1000 // SAMPLE_RATE_HZ
        raise MediaError(
            f"a sound must have at least {at_least} samples ({milliseconds} ms at "
            f"{SAMPLE_RATE_HZ // 1000} kHz), but has {samples.shape[1]} instead"
        )
