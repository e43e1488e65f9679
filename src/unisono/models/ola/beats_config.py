"""The shape of a BEATs sound encoder."""

from typing import Any

from huggingface_hub.dataclasses import strict
from transformers import PreTrainedConfig

from unisono.errors import ModelConfigError


@strict
class BeatsConfig(PreTrainedConfig):
    """Configuration of a `BeatsModel`.

    The defaults are those of BEATs_iter3_plus_AS2M as fine-tuned on AudioSet, the checkpoint
    that Ola-7b hears with. Dropout, which only training had, is left out.

    Attributes:
        hidden_size: width of the transformer.
        num_hidden_layers: transformer layers.
        num_attention_heads: must divide `hidden_size`.
        intermediate_size: hidden width of the feed-forward layers.
        hidden_act: their activation; "gelu" is the exact one.
        layer_norm_eps: of every LayerNorm.
        num_mel_bins: mel bins of the filter bank.
        fbank_mean, fbank_std: the filter bank is normalised to (x - mean) / (2 std).
        patch_size: side of a square patch, in frames of 10 ms and in mel bins.
        embedding_size: width of a patch's embedding, before its projection to `hidden_size`.
        patch_bias: whether the patch embedding has a bias.
        conv_pos: kernel of the convolution that makes the positions, in tokens.
        conv_pos_groups: groups of that convolution; must divide `hidden_size`.
        layer_norm_first: pre-norm layers, with a norm after the last, instead of post-norm.
        deep_norm: weigh the residual of a post-norm layer by (2 layers)^(1/4).
        relative_position_embedding: add a learned bias a distance and head to the attention.
        gated_relative_bias: weigh that bias by a gate which reads the query.
        num_buckets: rows of the table of relative positions, half of them for each direction.
        max_distance: distance in tokens from which on all share the last bucket.
        num_classes: sounds the predictor tells apart (AudioSet's 527); 0 for no predictor.
    """

    model_type = "beats"
    base_config_key = "sound_config"

    hidden_size: int = 768
    num_hidden_layers: int = 12
    num_attention_heads: int = 12
    intermediate_size: int = 3072
    hidden_act: str = "gelu"
    layer_norm_eps: float = 1e-5
    num_mel_bins: int = 128
    fbank_mean: float = 15.41663
    fbank_std: float = 6.55582
    patch_size: int = 16
    embedding_size: int = 512
    patch_bias: bool = False
    conv_pos: int = 128
    conv_pos_groups: int = 16
    layer_norm_first: bool = False
    deep_norm: bool = True
    relative_position_embedding: bool = True
    gated_relative_bias: bool = True
    num_buckets: int = 320
    max_distance: int = 800
    num_classes: int = 527

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        self._check_multiple("hidden_size", "num_attention_heads")
        self._check_multiple("hidden_size", "conv_pos_groups")
        self._check_multiple("num_mel_bins", "patch_size")
        if self.layer_norm_first and self.deep_norm:
            raise ModelConfigError("deep_norm must be off where layer_norm_first is on")
        if self.gated_relative_bias and not self.relative_position_embedding:
            raise ModelConfigError("gated_relative_bias must be off without relative positions")
        if not 1 <= self.num_buckets // 4 < self.max_distance:
            raise ModelConfigError(
                f"num_buckets must be at least 4 and less than 4 x max_distance "
                f"({4 * self.max_distance}), but is {self.num_buckets} instead"
            )

    def _check_multiple(self, name: str, divisor_name: str) -> None:
        value, divisor = getattr(self, name), getattr(self, divisor_name)
        if divisor < 1 or value % divisor:
            raise ModelConfigError(
                f"{name} must be a multiple of {divisor_name} ({divisor}), but is {value} instead"
            )
