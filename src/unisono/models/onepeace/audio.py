"""Sound -> tokens: convolutions over 16 kHz samples, convolutional positions.

Shapes as in adapter.py; S samples, F frames (T = F + 1), C channels of the stem.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from unisono.errors import MediaEmptyError
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
from unisono.models.onepeace.config import OnePeaceAudioConfig, OnePeaceConfig


class ConvBlock(nn.Module):
    """Convolution over time, LayerNorm over channels, GELU: [B, F, C] -> [B, F', C']."""

    def __init__(self, conv: nn.Conv1d, norm: nn.LayerNorm) -> None:
        super().__init__()
        self.conv, self.norm = conv, norm

    def forward(self, frames: Tensor) -> Tensor:
        """[B, F, C] -> [B, F', C']."""
        return functional.gelu(self.norm(self._convolved(frames)))

    def _convolved(self, frames: Tensor) -> Tensor:
        if self.conv.groups > 1:
            return self.conv(frames.transpose(1, 2)).transpose(1, 2)
        return convolve(frames, self.conv.weight, self.conv.stride[0])


def convolve(frames: Tensor, weight: Tensor, stride: int) -> Tensor:
    """A convolution without padding or bias, channels last: [B, F, C] -> [B, F', C'].

    One matrix product for every whole stride of the kernel and for every tap left over: half the
    time of `conv1d` between two transpositions, and LayerNorm wants channels last.
    """
    kernel = weight.shape[2]
    count = (frames.shape[1] - kernel) // stride + 1
    whole, terms = kernel // stride * stride, []
    for start in range(0, whole, stride):
        window = frames[:, start : start + count * stride].reshape(len(frames), count, -1)
        taps = weight[:, :, start : start + stride].permute(0, 2, 1).flatten(1)
        terms.append(functional.linear(window, taps))
    for tap in range(whole, kernel):
        window = frames[:, tap : tap + (count - 1) * stride + 1 : stride]
        terms.append(functional.linear(window, weight[:, :, tap]))
    return sum(terms[1:], terms[0])


class AudioStem(nn.Module):
    """Samples -> frames of the model's width, 50 a second."""

    def __init__(self, layers: list[list[int]], width: int, eps: float) -> None:
        super().__init__()
        inputs = [1] + [channels for channels, _, _ in layers[:-1]]
        self.layers = nn.ModuleList(
            ConvBlock(
                nn.Conv1d(previous, channels, kernel, stride=stride, bias=False),
                nn.LayerNorm(channels, eps=eps),
            )
            for previous, (channels, kernel, stride) in zip(inputs, layers, strict=True)
        )
        self.norm = nn.LayerNorm(layers[-1][0], eps=eps)
        self.projection = nn.Linear(layers[-1][0], width)

    def forward(self, samples: Tensor) -> Tensor:
        """[B, S] -> [B, F, D]; a frame depends on no sample behind its own window."""
        frames = samples[..., None]
        for layer in self.layers:
            frames = layer(frames)
        return self.projection(self.norm(frames))


class ConvPositions(nn.Module):
    """Grouped convolutions over the frames whose result is added to them."""

    def __init__(self, config: OnePeaceAudioConfig, width: int, eps: float) -> None:
        super().__init__()
        kernel = config.position_kernel
        self.layers = nn.ModuleList(
            ConvBlock(
                nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=config.position_groups),
                nn.LayerNorm(width, eps=eps, elementwise_affine=False),
            )
            for _ in range(config.position_layers)
        )

    def forward(self, frames: Tensor, padding: Tensor | None) -> Tensor:
        """[B, F, D] -> [B, F, D].

        Before every convolution, frames where `padding` [B, F] is True are set to zero, which is
        what lies behind the end of an unpadded clip. Without it padding leaks into the last
        `position_layers` * `position_kernel` / 2 real frames.
        """
        for layer in self.layers:
            if padding is not None:
                frames = frames.masked_fill(padding[..., None], 0.0)
            frames = layer(frames)
        return frames


class AudioAdapter(Adapter):
    """[CLS], then 50 frames a second."""

    INPUTS = ("audio_values", "audio_mask")

    def __init__(self, modality: str, config: OnePeaceConfig) -> None:
        audio: OnePeaceAudioConfig = config.modalities[modality]
        super().__init__(modality, config, pairs=2 * audio.position_buckets - 1)
        width, eps = config.hidden_size, config.layer_norm_eps
        self.config, self.leaks = audio, config.official_padding
        self.stem = AudioStem([list(layer) for layer in audio.conv_layers], width, eps)
        self.positions = ConvPositions(audio, width, eps)
        self.cls_position = nn.Parameter(torch.zeros(1, 1, width))

    def forward(
        self,
        audio_values: Tensor,
        audio_mask: Tensor | None = None,
        *,
        kept: Kept | None = None,
        second: bool = False,
    ) -> Part:
        """Embed sound.

        Args:
            audio_values: [B, S] samples at 16 kHz, each clip layer-normed as a whole, zeros
                behind its end.
            audio_mask: [B, F + 1], 1 at [CLS] and at the clip's own frames, 0 behind them; None:
                no clip is padded.
            kept: only these tokens go on. Positions are then made from the kept frames alone, as
                the original does.
            second: no meaning for sound.

        Raises:
            MediaEmptyError: so few samples that there is no frame.
        """
        if self.config.frames(audio_values.shape[1]) < 1:
            raise MediaEmptyError(
                f"{audio_values.shape[1]} samples of sound are too few to make a frame"
            )
        frames = self.stem(audio_values.to(self.stem.projection.weight.dtype))
        index = bucket_index(frames.shape[1] + 1, self.config.position_buckets, frames.device)
        if kept is None:
            padding = self.layout(audio_values, audio_mask).padding
        else:
            frames = pick(frames, (kept.ids[:, 1:] - 1).clamp(min=0))
            padding = kept.padding
        tokens = self.marked(self._positioned(frames, padding), second=second)
        return Part(self.modality, tokens, padding, self.bias_at(index, kept))

    def layout(self, audio_values: Tensor, audio_mask: Tensor | None = None) -> Layout:
        """Padding as the mask says."""
        return Layout(None if audio_mask is None else some(audio_mask == 0))

    def _positioned(self, frames: Tensor, padding: Tensor | None) -> Tensor:
        """Add the positions, put [CLS] with its own in front: [B, F, D] -> [B, T, D]."""
        masked = None if padding is None or self.leaks else padding[:, 1:]
        positions = self.positions(frames, masked)
        positions = torch.cat([self.cls_position.expand(len(frames), -1, -1), positions], dim=1)
        return self.behind_cls(frames) + positions


register_adapter(OnePeaceAudioConfig, AudioAdapter)
