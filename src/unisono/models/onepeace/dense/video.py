"""Video classification: the image encoder frame by frame, and adapters that look along time.

As AIM (arXiv 2302.03024) with ONE-PEACE's layers: every layer's attention is used twice, over the
frames at each place and over the places of each frame; the encoder stays frozen.
Shapes: N clips, F frames, B = N * F, T tokens with [CLS], D width, K classes.
"""

from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.modeling_layers import GradientCheckpointingLayer

from unisono.errors import ModelConfigError
from unisono.models.onepeace.adapter import Part
from unisono.models.onepeace.attention import Surroundings
from unisono.models.onepeace.backbone import OnePeaceBackbone
from unisono.models.onepeace.dense.base import OnePeaceDenseModel
from unisono.models.onepeace.dense.config import OnePeaceVideoClassificationConfig
from unisono.models.onepeace.encoder import EncoderLayer
from unisono.models.onepeace.heads import OnePeaceTaskOutput
from unisono.models.onepeace.model import OnePeaceModel


class Bottleneck(nn.Module):
    """Linear to a narrow width, GELU, Linear back; at first it does nothing."""

    def __init__(self, width: int, inner: int, *, residual: bool) -> None:
        super().__init__()
        self.down_proj = nn.Linear(width, inner)
        self.up_proj = nn.Linear(inner, width)
        self.residual = residual

    def forward(self, x: Tensor) -> Tensor:
        """[..., D] -> [..., D]."""
        made = self.up_proj(functional.gelu(self.down_proj(x)))
        return x + made if self.residual else made


class VideoLayer(GradientCheckpointingLayer):
    """The adapters of one layer of the encoder, which it is given."""

    def __init__(self, config: OnePeaceVideoClassificationConfig) -> None:
        super().__init__()
        width = config.vision_config.hidden_size
        inner = int(width * config.adapter_ratio)
        self.frames, self.scale = config.frames, config.adapter_scale
        before = Bottleneck(width, inner, residual=True) if config.adapter_before else None
        self.temporal_adapter_in = before
        self.temporal_adapter = Bottleneck(width, inner, residual=False)
        self.spatial_adapter = Bottleneck(width, inner, residual=True)
        self.ffn_adapter = Bottleneck(width, inner, residual=False)

    def forward(self, x: Tensor, layer: EncoderLayer, bias: Tensor | None) -> Tensor:
        """[B, T, D] -> [B, T, D].

        What is seen along time reaches the result only through the attention over places: the
        residual is what it was before.
        """
        around = Surroundings((("image", x.shape[1]),), None)
        normed = layer.attention_norm(x + self._along_time(x, layer))
        seen = self.spatial_adapter(layer.attention(normed, around, bias))
        alive = layer.attention_branch.survivors(x)
        x = layer.attention_branch(x, seen if alive is None else seen[alive], alive)
        normed = layer.ffn_norm(x)
        fed, alive = _fed(layer, normed), layer.ffn_branch.survivors(x)
        x = layer.ffn_branch(x, fed if alive is None else fed[alive], alive)
        return x + self.scale * self.ffn_adapter(normed)

    def _along_time(self, x: Tensor, layer: EncoderLayer) -> Tensor:
        """Attention over the frames at every place: [B, T, D] -> [B, T, D]."""
        clips = layer.attention_norm(x).unflatten(0, (-1, self.frames))  # [N, F, T, D]
        places = clips.transpose(1, 2).flatten(0, 1)
        if self.temporal_adapter_in is not None:
            places = self.temporal_adapter_in(places)
        around = Surroundings((("image", self.frames),), None)
        seen = self.temporal_adapter(layer.attention(places, around, None))
        return seen.unflatten(0, (len(clips), -1)).transpose(1, 2).flatten(0, 1)


def _fed(layer: EncoderLayer, x: Tensor) -> Tensor:
    """The feed-forward network that is the images', or all modalities'."""
    ffn = layer.ffn["image"] if "image" in layer.ffn else layer.ffn["shared"]
    fed: Tensor = ffn(x)
    return fed


class OnePeaceForVideoClassification(OnePeaceDenseModel):
    """A class for a clip of a fixed number of frames."""

    config_class = OnePeaceVideoClassificationConfig
    config: OnePeaceVideoClassificationConfig

    def __init__(self, config: OnePeaceVideoClassificationConfig) -> None:
        super().__init__(config)
        vision = config.vision_config
        width = vision.hidden_size
        self.backbone = OnePeaceBackbone(vision)
        self.temporal_embedding = nn.Parameter(torch.zeros(1, config.frames, width))
        self.video_layers = nn.ModuleList(
            [VideoLayer(config) for _ in range(vision.num_hidden_layers)]
        )
        self.norm = nn.LayerNorm(width, eps=vision.layer_norm_eps)
        self.classifier = nn.Linear(width, config.num_labels)
        self.post_init()

    def take_over(self, whole: OnePeaceModel) -> None:
        """Give the encoder the weights of a ONE-PEACE model, and freeze it.

        Raises:
            RuntimeError: weights are missing, or of another shape.
        """
        super().take_over(whole)
        self.backbone.requires_grad_(False)

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, Bottleneck):
            nn.init.zeros_(module.up_proj.weight)
        elif module is self:
            nn.init.zeros_(self.temporal_embedding)

    def forward(self, pixel_values: Tensor, *, labels: Tensor | None = None) -> OnePeaceTaskOutput:
        """Classify clips.

        Args:
            pixel_values: [N, C, F, H, W], normalised; sides are multiples of 16 px.
            labels: [N] ids, or [N, K] probabilities.

        Returns:
            `logits` [N, K]; `last_hidden_states["image"]` [N, F, D], each frame's [CLS].

        Raises:
            ModelConfigError: F is not what the model was made for.
        """
        frames = self.encode(pixel_values)[:, :, 0]
        logits = self.classifier(frames.mean(dim=1))
        return OnePeaceTaskOutput(
            loss=None if labels is None else functional.cross_entropy(logits.float(), labels),
            logits=logits,
            last_hidden_states={"image": frames},
        )

    def encode(self, pixel_values: Tensor) -> Tensor:
        """Clips [N, C, F, H, W] -> normalised tokens [N, F, T, D].

        Raises:
            ModelConfigError: F is not what the model was made for.
        """
        part = self.embed(pixel_values)
        x, bias = part.tokens, None
        layers = zip(self.video_layers, self.backbone.encoder.layers, strict=True)
        for i, (video, layer) in enumerate(layers):
            if part.bias is not None and (bias is None or self.backbone.config.bias_per_layer):
                bias = part.bias(i)
            x = video(x, layer, bias)
        tokens: Tensor = torch.unflatten(self.norm(x), 0, (-1, self.config.frames))
        return tokens

    def embed(self, pixel_values: Tensor) -> Part:
        """What enters the first layer: [N, C, F, H, W] -> tokens [N * F, T, D].

        Raises:
            ModelConfigError: F is not what the model was made for.
        """
        given = pixel_values.shape[2]
        if given != self.config.frames:
            raise ModelConfigError(
                f"clips must have {self.config.frames} frames, but have {given} instead"
            )
        part = self.backbone.embed(pixel_values.transpose(1, 2).flatten(0, 1))
        clips = torch.unflatten(part.tokens, 0, (-1, given)) + self.temporal_embedding[:, :, None]
        return replace(part, tokens=clips.flatten(0, 1))
