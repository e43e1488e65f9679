"""The shapes of the dense models: what turns an encoder into maps, and what reads the maps.

Defaults are the published ones: ONE-PEACE (arXiv 2305.11172, appendix) for what belongs to the
encoder, ViT-Adapter (arXiv 2205.08534), Mask2Former (arXiv 2112.01527), UPerNet (arXiv 1807.10221).
"""

from itertools import pairwise
from typing import Literal

from huggingface_hub.dataclasses import strict
from transformers import Mask2FormerConfig, PreTrainedConfig, RfDetrConfig, UperNetConfig
from transformers.configuration_utils import SubConfigSpec

from unisono.errors import ModelConfigError
from unisono.models.onepeace.branch_config import OnePeaceVisionConfig
from unisono.models.onepeace.config import SubConfig

SEGMENTATION_MEAN = (122.771 / 255, 116.746 / 255, 104.094 / 255)
SEGMENTATION_STD = (68.5 / 255, 66.632 / 255, 70.323 / 255)
"""Of red, green and blue on the scale from 0 to 1: the official ones of all dense tasks."""

GROUP_CHANNELS = 32
"""transformers' pixel decoder is only made for widths that this divides."""

STRIDES = (4, 8, 16, 32)
"""Pixels to a cell of the maps that a pyramid makes."""


@strict
class OnePeaceAdapterConfig(PreTrainedConfig):
    """A ViT-Adapter: a convolutional stem that talks to the encoder between its layers.

    Attributes:
        stem_width: channels of the stem's first convolutions.
        heads, points: of the deformable attention, points per head and level.
        value_ratio: width of what it attends to, in model widths.
        ffn_ratio: width inside the extractors' feed-forward networks, in model widths.
        stretches: first and last layer between an injection and the extraction behind it, of
            four stretches; None cuts the encoder into four equal ones.
        gamma_init: initial factor of what is injected.
        drop_path_rate: of the extractors' feed-forward networks.
    """

    model_type = "onepeace_vit_adapter"

    stem_width: int = 64
    heads: int = 24
    points: int = 4
    value_ratio: float = 0.5
    ffn_ratio: float = 0.25
    stretches: list[list[int]] | None = None
    gamma_init: float = 1e-6
    drop_path_rate: float = 0.0


@strict
class OnePeaceMaskHeadConfig(PreTrainedConfig):
    """A Mask2Former head.

    Attributes:
        width: of everything in it, a multiple of 32.
        heads: of all its attentions.
        queries: the most segments that an image can be given.
        encoder_layers, encoder_ffn_width: of the pixel decoder's transformer.
        decoder_layers, decoder_ffn_width: of the queries' transformer.
        groups: of the group normalisations.
        train_points: of a mask, at which the losses compare it.
    """

    model_type = "onepeace_mask_head"

    width: int = 256
    heads: int = 8
    queries: int = 100
    encoder_layers: int = 6
    encoder_ffn_width: int = 1024
    decoder_layers: int = 9
    decoder_ffn_width: int = 2048
    groups: int = 32
    train_points: int = 12544

    def as_mask2former(self, labels: int) -> Mask2FormerConfig:
        """What transformers' parts are built from.

        Raises:
            ModelConfigError: the width is none that they can have.
        """
        if self.width % GROUP_CHANNELS or self.width % self.groups or self.width % self.heads:
            raise ModelConfigError(
                f"the mask head's width must be a multiple of {GROUP_CHANNELS}, of its "
                f"{self.groups} groups and of its {self.heads} heads, but is {self.width} instead"
            )
        return Mask2FormerConfig(
            feature_size=self.width,
            mask_feature_size=self.width,
            hidden_dim=self.width,
            encoder_feedforward_dim=self.encoder_ffn_width,
            encoder_layers=self.encoder_layers,
            # transformers counts what is predicted before the first layer as one.
            decoder_layers=self.decoder_layers + 1,
            dim_feedforward=self.decoder_ffn_width,
            num_attention_heads=self.heads,
            num_queries=self.queries,
            train_num_points=self.train_points,
            num_labels=labels,
        )


@strict
class OnePeaceSegmentationConfig(PreTrainedConfig):
    """Configuration of `OnePeaceForSegmentation`.

    Attributes:
        vision_config: of the encoder.
        pyramid: "adapter" is a ViT-Adapter, as published; "simple" rescales the encoder's last
            map (arXiv 2203.16527) and costs next to nothing.
        head: "mask2former", as published, finds segments and instances; "upernet" gives every
            pixel a class, and is much lighter.
        adapter_config: of the ViT-Adapter.
        pyramid_width: channels of the simple pyramid's maps.
        mask_config: of the Mask2Former head.
        upernet_width: channels inside the UPerNet head.
        upernet_pool_scales: cells that its pyramid pooling pools to, along each side.
        ignore_label: of pixels that teach nothing.
        crop_px, stride_px: of the sliding window that looks at large images; also, the length
            that the shorter side of an image is resized to.
        pixel_mean, pixel_std: of red, green and blue on the scale from 0 to 1.
        initializer_range: as usual.
    """

    model_type = "onepeace_segmentation"
    sub_configs_defaults = {  # noqa: RUF012 -- the way transformers declares nested configs
        "vision_config": SubConfigSpec(OnePeaceVisionConfig),
        "adapter_config": SubConfigSpec(OnePeaceAdapterConfig),
        "mask_config": SubConfigSpec(OnePeaceMaskHeadConfig),
    }

    vision_config: SubConfig = None
    pyramid: Literal["adapter", "simple"] = "adapter"
    head: Literal["mask2former", "upernet"] = "mask2former"
    adapter_config: SubConfig = None
    pyramid_width: int = 256
    mask_config: SubConfig = None
    upernet_width: int = 512
    upernet_pool_scales: list[int] | tuple[int, ...] = (1, 2, 3, 6)
    ignore_label: int = 255
    crop_px: int = 896
    stride_px: int = 512
    pixel_mean: list[float] | tuple[float, ...] = SEGMENTATION_MEAN
    pixel_std: list[float] | tuple[float, ...] = SEGMENTATION_STD
    initializer_range: float = 0.02

    @property
    def map_widths(self) -> tuple[int, ...]:
        """Channels of the pyramid's maps."""
        width = self.vision_config.hidden_size if self.pyramid == "adapter" else self.pyramid_width
        return (width,) * len(STRIDES)

    def as_upernet(self) -> UperNetConfig:
        """What transformers' UPerNet head is built from."""
        return UperNetConfig(
            hidden_size=self.upernet_width,
            pool_scales=list(self.upernet_pool_scales),
            num_labels=self.num_labels,
        )


@strict
class OnePeaceWindowedConfig(OnePeaceVisionConfig):
    """Configuration of `OnePeaceWindowedBackbone`, the encoder of detection.

    `image_config.position_grid` is the grid of patches that it was made for (80, officially).

    Attributes:
        window: side of the windows, in patches.
        window_layers: layers that attend within windows; None: all but the last of each quarter.
        pyramid_width: channels of the feature pyramid; None for no pyramid.
    """

    model_type = "onepeace_windowed"

    window: int = 16
    window_layers: list[int] | None = None
    pyramid_width: int | None = 256

    @property
    def windowed(self) -> list[int]:
        """The layers that attend within windows."""
        if self.window_layers is not None:
            return self.window_layers
        layers = self.num_hidden_layers
        ends = {layers * (i + 1) // 4 - 1 for i in range(4)}
        return [i for i in range(layers) if i not in ends]


@strict
class OnePeaceDetectionConfig(PreTrainedConfig):
    """Configuration of `OnePeaceForDetection`. The head's defaults are RF-DETR's (2511.09554).

    Attributes:
        vision_config: of the encoder; its pyramid is not used.
        width: of the head.
        queries: the most things that are found in an image.
        decoder_layers, decoder_ffn_width: of the queries' transformer.
        self_attention_heads, cross_attention_heads: of it.
        points: that a head's deformable attention looks at.
        groups: of queries that are trained side by side (arXiv 2207.13085); only one is asked.
        blocks: of the convolutions between encoder and head.
        image_px: side of the square that an image is fitted into (1280, officially).
        pixel_mean, pixel_std: of red, green and blue on the scale from 0 to 1.
        initializer_range: as usual.
    """

    model_type = "onepeace_detection"
    sub_configs_defaults = {"vision_config": SubConfigSpec(OnePeaceWindowedConfig)}  # noqa: RUF012

    vision_config: SubConfig = None
    width: int = 256
    queries: int = 300
    decoder_layers: int = 3
    decoder_ffn_width: int = 2048
    self_attention_heads: int = 8
    cross_attention_heads: int = 16
    points: int = 4
    groups: int = 13
    blocks: int = 3
    image_px: int = 1280
    pixel_mean: list[float] | tuple[float, ...] = SEGMENTATION_MEAN
    pixel_std: list[float] | tuple[float, ...] = SEGMENTATION_STD
    initializer_range: float = 0.02

    def as_rf_detr(self) -> RfDetrConfig:
        """What transformers' detector is built from; the encoder in it only holds a place."""
        return RfDetrConfig(
            backbone_config={
                "model_type": "rf_detr_dinov2",
                "hidden_size": self.vision_config.hidden_size,
                "num_hidden_layers": 1,
                "num_attention_heads": 1,
                "mlp_ratio": 1,
                "image_size": 14,
                "num_windows": 1,
                "out_features": ["stage1"],
            },
            d_model=self.width,
            num_queries=self.queries,
            decoder_layers=self.decoder_layers,
            decoder_ffn_dim=self.decoder_ffn_width,
            decoder_self_attention_heads=self.self_attention_heads,
            decoder_cross_attention_heads=self.cross_attention_heads,
            decoder_n_points=self.points,
            intermediate_size=4 * self.width,
            group_detr=self.groups,
            c2f_num_blocks=self.blocks,
            num_labels=self.num_labels,
        )


@strict
class OnePeaceImageClassificationConfig(PreTrainedConfig):
    """Configuration of `OnePeaceForImageClassification`.

    Attributes:
        vision_config: of the encoder.
        pooling: "mean" of the patches, as published, or "cls".
        image_px: side of the square that it looks at.
        initializer_range: as usual.
        head_scale: factor of the initial weights of the classifier.
    """

    model_type = "onepeace_image_classification"
    sub_configs_defaults = {"vision_config": SubConfigSpec(OnePeaceVisionConfig)}  # noqa: RUF012

    vision_config: SubConfig = None
    pooling: Literal["mean", "cls"] = "mean"
    image_px: int = 256
    initializer_range: float = 0.02
    head_scale: float = 0.001


@strict
class OnePeaceVideoClassificationConfig(PreTrainedConfig):
    """Configuration of `OnePeaceForVideoClassification`.

    Attributes:
        vision_config: of the encoder.
        frames: of a clip.
        adapter_ratio: width inside the adapters, in model widths.
        adapter_before: a further adapter before the attention over time.
        adapter_scale: factor of the adapter beside the feed-forward network.
        image_px: side of the square that it looks at.
        initializer_range: as usual.
    """

    model_type = "onepeace_video_classification"
    sub_configs_defaults = {"vision_config": SubConfigSpec(OnePeaceVisionConfig)}  # noqa: RUF012

    vision_config: SubConfig = None
    frames: int = 16
    adapter_ratio: float = 0.25
    adapter_before: bool = False
    adapter_scale: float = 0.5
    image_px: int = 256
    initializer_range: float = 0.02


def stretches(config: OnePeaceAdapterConfig, layers: int) -> list[range]:
    """The layers between each injection and its extraction.

    Raises:
        ModelConfigError: they are not four that take up all layers one after the other.
    """
    wanted = len(STRIDES)
    if config.stretches is None:
        bounds = [layers * i // wanted for i in range(wanted + 1)]
        found = [range(a, b) for a, b in pairwise(bounds)]
    else:
        found = [range(first, last + 1) for first, last in config.stretches]
    if len(found) != wanted or [i for one in found for i in one] != list(range(layers)):
        raise ModelConfigError(
            f"a ViT-Adapter needs {wanted} stretches that follow on one another and make up all "
            f"{layers} layers, but got {config.stretches} instead"
        )
    if any(not one for one in found):
        raise ModelConfigError(
            f"a ViT-Adapter needs at least {wanted} layers, but the encoder has {layers}"
        )
    return found
