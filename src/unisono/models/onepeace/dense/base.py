"""What the dense models have in common: initialisation, the encoder out of a ONE-PEACE model.

Shapes: B batch, C channels, H, W sides in pixels.
"""

from collections.abc import Mapping
from typing import Any, Self, cast

from torch import Tensor, nn
from torch.nn import functional
from transformers import PreTrainedConfig

from unisono.models.onepeace.backbone import OnePeaceBackbone
from unisono.models.onepeace.branch import Source, branch_weights, whole_model
from unisono.models.onepeace.branch_config import OnePeaceVisionConfig
from unisono.models.onepeace.dense.config import STRIDES
from unisono.models.onepeace.dense.deformable import DeformableAttention
from unisono.models.onepeace.dense.initialisation import Initialised
from unisono.models.onepeace.dense.vit_adapter import Injector, ViTAdapter
from unisono.models.onepeace.model import OnePeaceModel, OnePeacePreTrainedModel


class OnePeaceDenseModel(Initialised, OnePeacePreTrainedModel):
    """A model over a `backbone`, with modules of its own."""

    base_model_prefix = ""
    main_input_name = "pixel_values"
    input_modalities = ("image",)
    config: PreTrainedConfig
    backbone: Any

    @classmethod
    def from_onepeace(cls, source: Source, **fields: Any) -> Self:
        """What is new on the encoder of a ONE-PEACE model, to be trained.

        Args:
            source: the model, or a folder or hub name.
            **fields: of the config: `num_labels` or `id2label`, …; `vision_config` may hold fields
                of the encoder's that differ, as `drop_path_rate`.

        Raises:
            ModelConfigError: the model does not see, or fields contradict one another.
            OSError: there is no such model.
        """
        vision, whole = vision_like(source, fields.pop("vision_config", None))
        model = cls(cast(Any, cls.config_class)(vision_config=vision, **fields))
        model.take_over(whole)
        return model

    def take_over(self, whole: OnePeaceModel) -> None:
        """Give the encoder the weights of a ONE-PEACE model.

        Raises:
            RuntimeError: weights are missing, or of another shape.
        """
        load_encoder(self.backbone, whole)

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, DeformableAttention):
            module.look_around()
        elif isinstance(module, Injector):
            nn.init.constant_(module.gamma, self.config.adapter_config.gamma_init)
        elif isinstance(module, ViTAdapter):
            nn.init.normal_(module.level_embedding)
        else:
            super()._init_weights(module)


def vision_like(
    source: Source, changes: Mapping[str, Any] | None
) -> tuple[OnePeaceVisionConfig, OnePeaceModel]:
    """The config of a ONE-PEACE model's encoder, changed in some fields, and the model.

    Raises:
        ModelConfigError: the model does not see.
        OSError: there is no such model.
    """
    whole = whole_model(source)
    config = OnePeaceVisionConfig.of(whole.config)
    for name, value in (changes or {}).items():
        setattr(config, name, value)
    return config, whole


def load_encoder(backbone: OnePeaceBackbone, whole: OnePeaceModel) -> None:
    """Give a backbone the weights of a ONE-PEACE model; one table becomes each layer's own.

    Raises:
        RuntimeError: weights are missing, or of another shape.
    """
    weights = branch_weights(whole, backbone)
    start = "adapters.image.relative_bias."
    if backbone.config.bias_per_layer and not whole.config.bias_per_layer:
        shared = whole.state_dict()[f"{start}0"].float()
        layers = range(backbone.config.num_hidden_layers)
        weights |= {f"{start}{i}": shared.clone() for i in layers}
    backbone.load_state_dict(weights)


def padded(pixels: Tensor) -> Tensor:
    """[B, C, H, W] with zeros at the right and the bottom up to multiples of 32 px."""
    height, width = pixels.shape[-2:]
    multiple = STRIDES[-1]
    return functional.pad(pixels, (0, -width % multiple, 0, -height % multiple))
