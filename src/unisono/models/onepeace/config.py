"""The shape of a ONE-PEACE model: an encoder, and for each modality what turns it into tokens.

Defaults are those of the released 4B model (arXiv 2305.11172, section 2 and appendix A).
"""

from collections.abc import Iterator
from dataclasses import field
from typing import Any, Literal

from huggingface_hub.dataclasses import strict
from transformers import CONFIG_MAPPING, PreTrainedConfig
from transformers.backbone_utils import BackboneConfigMixin
from transformers.configuration_utils import SubConfigSpec

from unisono.errors import ModelConfigError

Sharing = Literal["attention", "all", "nothing", "ffn"]
Denoising = Literal["contrast", "smooth_l1", "l2", "cosine"]
SubConfig = Any
"""A dict when given, a `PreTrainedConfig` once the config is made; None for none."""


@strict
class OnePeaceTextConfig(PreTrainedConfig):
    """How text becomes tokens.

    Attributes:
        vocab_size: entries of the byte-pair vocabulary (fairseq's order of GPT-2's).
        max_position_embeddings: learned absolute positions; [CLS] takes the first.
        position_buckets: distances told apart by the relative bias, in each direction.
        type_embeddings: vectors that mark the modality in every token: 0 or 1.
        pad_token_id, bos_token_id, eos_token_id: ids of the vocabulary.
    """

    model_type = "onepeace_text"

    vocab_size: int = 50264
    max_position_embeddings: int = 514
    position_buckets: int = 256
    type_embeddings: int = 0
    pad_token_id: int = 1
    bos_token_id: int | None = 0
    eos_token_id: int | None = 2

    @property
    def decoder_positions(self) -> int:
        """Absolute positions the pretraining decoder learns."""
        return self.max_position_embeddings


@strict
class OnePeaceImageConfig(PreTrainedConfig):
    """How an image becomes tokens: 16x16 patches through a hierarchical MLP stem.

    Attributes:
        num_channels: 3 for RGB.
        position_grid: side of the square grid of learned absolute positions, in patches.
        bias_grid: side of the grid the relative table was made for; it differs from
            `position_grid` in models fine-tuned at another size.
        stem_width: channels inside the stem; None means a quarter of the model's width.
        type_embeddings: 0; 1; or 2 for models that read two images apart.
    """

    model_type = "onepeace_image"

    num_channels: int = 3
    position_grid: int = 16
    bias_grid: int = 16
    stem_width: int | None = None
    type_embeddings: int = 0

    @property
    def decoder_positions(self) -> int:
        """Absolute positions the pretraining decoder learns."""
        return self.position_grid**2 + 1


@strict
class OnePeaceAudioConfig(PreTrainedConfig):
    """How 16 kHz sound becomes tokens, 50 a second.

    Attributes:
        conv_layers: (channels, kernel, stride) of each convolution of the stem.
        position_layers: grouped convolutions that make the positions.
        position_kernel: frames each of them sees (the official width of 95 over 5 layers).
        position_groups: groups of each of them.
        position_buckets: distances told apart by the relative bias, in each direction.
        decoder_positions: absolute positions the pretraining decoder learns.
        type_embeddings: 0 or 1.
    """

    model_type = "onepeace_audio"

    conv_layers: tuple[tuple[int, int, int], ...] | list[list[int]] = (
        (512, 10, 5),
        *((512, 3, 2),) * 4,
        *((512, 2, 2),) * 2,
    )
    position_layers: int = 5
    position_kernel: int = 19
    position_groups: int = 16
    position_buckets: int = 512
    decoder_positions: int = 1026
    type_embeddings: int = 0

    def frames(self, samples: int) -> int:
        """Frames the stem makes of so many samples; the frame mask has one more, for [CLS]."""
        for _, kernel, stride in self.conv_layers:
            samples = (samples - kernel) // stride + 1
        return samples


@strict
class OnePeaceDecoderConfig(PreTrainedConfig):
    """The light decoder of pretraining.

    Attributes:
        hidden_size, intermediate_size, num_hidden_layers, num_attention_heads: as in the encoder.
    """

    model_type = "onepeace_decoder"

    hidden_size: int = 768
    intermediate_size: int = 2048
    num_hidden_layers: int = 2
    num_attention_heads: int = 12


@strict
class OnePeaceHeadConfig(PreTrainedConfig):
    """What is put on the encoder for a task.

    Attributes:
        modality: whose tokens are pooled; with several inputs the encoding is joint.
        attention_pooling: pool all tokens but [CLS] by learned queries; False takes [CLS].
        pooler: a further Linear and tanh after pooling (visual question answering).
        hidden_ratio: width of the classifier's hidden layer, in model widths.
        images: 2 for tasks over a pair of images.
        multi_label: any number of answers may be right: binary cross-entropy.
        inputs: what the model was trained to be given, of text, image, image_2, audio; None for
            not known.
    """

    model_type = "onepeace_head"

    modality: str = "text"
    attention_pooling: bool = True
    pooler: bool = False
    hidden_ratio: int = 2
    images: int = 1
    multi_label: bool = False
    inputs: tuple[str, ...] | list[str] | None = None


@strict
class OnePeaceConfig(BackboneConfigMixin, PreTrainedConfig):
    """Configuration of every ONE-PEACE model of this package.

    Attributes:
        hidden_size, intermediate_size, num_hidden_layers, num_attention_heads: of the encoder.
        drop_path_rate: of the last layer; grows linearly with depth.
        layer_scale_init: initial LayerScale of both branches.
        layer_norm_eps, initializer_range: as usual.
        text_config, image_config, audio_config: None for a modality the model does not have.
        more_configs: further modalities, name -> config with a `model_type` that an adapter was
            registered for (see `adapter.register_adapter`).
        shared: what the modalities have in common: the self-"attention" (the published model),
            "all" of a layer, "nothing" of it, or the "ffn" only.
        bias_per_layer: a relative position table for each layer (fine-tuned models) in place of
            one for all.
        official_padding: reproduce the original where padding leaks: into the convolutional
            positions of sound, and into the pretraining decoder. Off, padding changes nothing.
        logit_scale_init: initial factor of the cosine similarities.
        denoising: what a masked token has to resemble its teacher in; "contrast" is published,
            the rest are the paper's ablations.
        decoder_config: of `OnePeaceForPretraining`.
        head_config: of the task models.
    """

    model_type = "onepeace"
    sub_configs_defaults = {  # noqa: RUF012 -- the way transformers declares nested configs
        "text_config": SubConfigSpec(OnePeaceTextConfig, optional=True),
        "image_config": SubConfigSpec(OnePeaceImageConfig, optional=True),
        "audio_config": SubConfigSpec(OnePeaceAudioConfig, optional=True),
        "decoder_config": SubConfigSpec(OnePeaceDecoderConfig),
        "head_config": SubConfigSpec(OnePeaceHeadConfig),
    }

    hidden_size: int = 1536
    intermediate_size: int = 6144
    num_hidden_layers: int = 40
    num_attention_heads: int = 24
    drop_path_rate: float = 0.4
    layer_scale_init: float = 1e-6
    layer_norm_eps: float = 1e-5
    initializer_range: float = 0.02
    text_config: SubConfig = field(default_factory=dict)
    image_config: SubConfig = field(default_factory=dict)
    audio_config: SubConfig = field(default_factory=dict)
    more_configs: dict[str, Any] | None = None
    shared: Sharing = "attention"
    bias_per_layer: bool = False
    official_padding: bool = False
    logit_scale_init: float = 1 / 0.07
    denoising: Denoising = "contrast"
    decoder_config: SubConfig = None
    head_config: SubConfig = None
    _out_features: list[str] | None = None
    _out_indices: list[int] | None = None

    def __post_init__(self, **kwargs: Any) -> None:
        self.stage_names = ["stem", *(f"stage{i + 1}" for i in range(self.num_hidden_layers))]
        self.set_output_features_output_indices(
            out_indices=kwargs.pop("out_indices", None),
            out_features=kwargs.pop("out_features", None),
        )
        super().__post_init__(**kwargs)
        more = self.more_configs or {}
        self.more_configs = {name: _made(name, given) for name, given in more.items()} or None
        if self.hidden_size % self.num_attention_heads:
            raise ModelConfigError(
                f"hidden_size must be a multiple of num_attention_heads "
                f"({self.num_attention_heads}), but is {self.hidden_size} instead"
            )

    def to_dict(self) -> dict[str, Any]:
        """As plain values; nested configs too."""
        plain: dict[str, Any] = super().to_dict()
        if self.more_configs is not None:
            plain["more_configs"] = {n: c.to_dict() for n, c in self.more_configs.items()}
        return plain

    @property
    def modalities(self) -> dict[str, Any]:
        """Name -> adapter config, in the order they stand in a joint sequence."""
        return dict(self._modalities())

    def _modalities(self) -> Iterator[tuple[str, Any]]:
        for name in ("text", "image", "audio"):
            config = getattr(self, f"{name}_config")
            if config is not None:
                yield name, config
        yield from (self.more_configs or {}).items()


def _made(name: str, given: Any) -> Any:
    """A nested config from what was given for it."""
    if isinstance(given, PreTrainedConfig):
        return given
    fields = dict(given)
    kind = fields.pop("model_type", None)
    if kind not in CONFIG_MAPPING:
        raise ModelConfigError(
            f"more_configs[{name!r}] must name a registered model_type, but has {kind!r} instead"
        )
    return CONFIG_MAPPING[kind](**fields)
