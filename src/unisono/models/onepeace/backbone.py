"""The vision branch as a backbone: feature maps of an image of any size.

Shapes: B batch, C channels, h, w rows and columns of 16x16 patches, D width.
"""

from typing import Any, cast

from torch import Tensor, nn
from transformers.backbone_utils import BackboneMixin
from transformers.modeling_outputs import BackboneOutput

from unisono.errors import ModelConfigError
from unisono.models.onepeace.adapter import Part, build_adapter
from unisono.models.onepeace.bias import Grid
from unisono.models.onepeace.config import OnePeaceConfig
from unisono.models.onepeace.encoder import Encoded, Encoder, EncoderShape
from unisono.models.onepeace.image import ImageAdapter
from unisono.models.onepeace.model import OnePeacePreTrainedModel


class OnePeaceBackbone(BackboneMixin, OnePeacePreTrainedModel):
    """Image adapter and encoder without final LayerNorm; other modalities are left out.

    Stages are "stem" (what enters the first layer) and "stage1" to the last layer. Weights of an
    `OnePeaceModel` load into it by the same names.
    """

    main_input_name = "pixel_values"
    _keys_to_ignore_on_load_unexpected = (r".*",)  # whatever it leaves out

    def __init__(self, config: OnePeaceConfig) -> None:
        super().__init__(config)
        if config.image_config is None:
            raise ModelConfigError("a backbone needs an image_config, but it is None")
        self.num_features = [config.hidden_size] * len(config.stage_names)
        self.adapters = nn.ModuleDict({"image": build_adapter("image", config)})
        shape = EncoderShape.of(config, final_norm=False, only=("image",))
        self.encoder = Encoder(shape)
        self.post_init()

    def forward(
        self, pixel_values: Tensor, *, output_hidden_states: bool | None = None, **kwargs: Any
    ) -> BackboneOutput:
        """Feature maps of `out_features`.

        Args:
            pixel_values: [B, C, H, W], normalised; sides are multiples of 16 px.
            output_hidden_states: also give every stage's tokens [B, 1 + h * w, D], [CLS] first.
            **kwargs: taken for the sake of other backbones' callers.

        Returns:
            `feature_maps`: [B, D, h, w] a feature.
        """
        hidden = self.encode(self.embed(pixel_values)).hidden["image"]
        rows, columns = self.grid(pixel_values)
        maps = tuple(
            x[:, 1:].mT.reshape(len(x), -1, rows, columns)
            for name, x in zip(self.stage_names, hidden, strict=True)
            if name in self.out_features
        )
        return BackboneOutput(
            feature_maps=maps, hidden_states=hidden if output_hidden_states else None
        )

    def embed(self, pixel_values: Tensor) -> Part:
        """What enters the first layer."""
        return self._image(pixel_values)

    def grid(self, pixel_values: Tensor) -> Grid:
        """Rows and columns of patches."""
        return self._image.grid(pixel_values)

    @property
    def _image(self) -> ImageAdapter:
        return cast(ImageAdapter, self.adapters["image"])

    def encode(self, part: Part) -> Encoded:
        """All layers' outputs."""
        per_layer = self.config.bias_per_layer
        return self.encoder([part], bias_per_layer=per_layer, keep_hidden=True)
