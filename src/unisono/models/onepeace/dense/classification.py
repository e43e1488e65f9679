"""Image classification on the encoder's tokens.

Shapes: B batch, T tokens with [CLS], D width, K classes.
"""

from torch import Tensor, nn
from torch.nn import functional

from unisono.models.onepeace.backbone import OnePeaceBackbone
from unisono.models.onepeace.dense.base import OnePeaceDenseModel
from unisono.models.onepeace.dense.config import OnePeaceImageClassificationConfig
from unisono.models.onepeace.heads import OnePeaceTaskOutput


class OnePeaceForImageClassification(OnePeaceDenseModel):
    """A class for an image: the published head is a LayerNorm over the mean patch, and a Linear."""

    config_class = OnePeaceImageClassificationConfig
    config: OnePeaceImageClassificationConfig

    def __init__(self, config: OnePeaceImageClassificationConfig) -> None:
        super().__init__(config)
        vision = config.vision_config
        self.backbone = OnePeaceBackbone(vision)
        self.norm = nn.LayerNorm(vision.hidden_size, eps=vision.layer_norm_eps)
        self.classifier = nn.Linear(vision.hidden_size, config.num_labels)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if module is self.classifier:
            std = self.config.initializer_range * self.config.head_scale
            nn.init.trunc_normal_(module.weight, std=std)

    def forward(self, pixel_values: Tensor, *, labels: Tensor | None = None) -> OnePeaceTaskOutput:
        """Classify.

        Args:
            pixel_values: [B, C, H, W], normalised; sides are multiples of 16 px.
            labels: [B] ids, or [B, K] probabilities.

        Returns:
            `logits` [B, K]; `last_hidden_states["image"]` [B, T, D], normalised if [CLS] is
            pooled.
        """
        tokens = self.backbone.encode(self.backbone.embed(pixel_values)).sequences["image"]
        if self.config.pooling == "cls":
            tokens = self.norm(tokens)
            pooled = tokens[:, 0]
        else:
            pooled = self.norm(tokens[:, 1:].mean(dim=1))
        logits = self.classifier(pooled)
        return OnePeaceTaskOutput(
            loss=None if labels is None else functional.cross_entropy(logits.float(), labels),
            logits=logits,
            last_hidden_states={"image": tokens},
        )
