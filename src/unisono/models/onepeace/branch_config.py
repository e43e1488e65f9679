"""The shape of one modality's branch of a ONE-PEACE model, as an encoder of its own.

A branch is what the model computes for pictures alone or for sounds alone: one adapter, the layers
with that modality's feed-forward networks, its final norm. Other models take it as their encoder
(`AutoModel`), without the text side and the projections.
"""

import json
from typing import Any, Self

from huggingface_hub.dataclasses import strict
from transformers.configuration_utils import SubConfigSpec

from unisono.errors import ModelConfigError
from unisono.models.onepeace.bias import MAX_POSITIONS
from unisono.models.onepeace.config import (
    OnePeaceAudioConfig,
    OnePeaceConfig,
    OnePeaceImageConfig,
    SubConfig,
)
from unisono.models.onepeace.image import PATCH_PX
from unisono.models.onepeace.processor_image import CLIP_MEAN, CLIP_STD

_OF_THE_ENCODER = (
    *("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    *("drop_path_rate", "layer_scale_init", "layer_norm_eps", "initializer_range"),
    *("shared", "bias_per_layer", "official_padding"),
)
"""What a branch has in common with the model it is of."""

_FREE = frozenset({"drop_path_rate", "layer_scale_init", "initializer_range"})
"""What is of no account once there are weights, and may be another in another training."""


@strict
class OnePeaceVisionConfig(OnePeaceConfig):
    """Configuration of an `OnePeaceVisionModel`: that of a ONE-PEACE with pictures alone."""

    model_type = "onepeace_vision"
    base_config_key = "vision_config"
    sub_configs_defaults = {"image_config": SubConfigSpec(OnePeaceImageConfig)}  # noqa: RUF012

    text_config: SubConfig = None
    audio_config: SubConfig = None

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        _check_alone(self, "image")

    @classmethod
    def of(cls, config: OnePeaceConfig, *, grid: int | None = None) -> Self:
        """The branch of a model.

        Args:
            config: the model's.
            grid: side of the square of patches that positions and relative bias are made for;
                None for the model's own.

        Raises:
            ModelConfigError: the model does not see.
        """
        image = _own(config, "image")
        if grid is not None:
            image |= {"position_grid": grid, "bias_grid": grid}
        return cls(**_encoder_fields(config), image_config=image)

    @property
    def patch_size(self) -> int:
        """Side of a patch in pixels."""
        return PATCH_PX

    @property
    def pixel_mean(self) -> tuple[float, float, float]:
        """Of red, green and blue on the scale from 0 to 1, to be subtracted."""
        return CLIP_MEAN

    @property
    def pixel_std(self) -> tuple[float, float, float]:
        """Of red, green and blue on the scale from 0 to 1, to divide by."""
        return CLIP_STD


@strict
class OnePeaceSoundConfig(OnePeaceConfig):
    """Configuration of an `OnePeaceSoundModel`: that of a ONE-PEACE with sounds alone."""

    model_type = "onepeace_sound"
    base_config_key = "sound_config"
    sub_configs_defaults = {"audio_config": SubConfigSpec(OnePeaceAudioConfig)}  # noqa: RUF012

    text_config: SubConfig = None
    image_config: SubConfig = None

    def __post_init__(self, **kwargs: Any) -> None:
        super().__post_init__(**kwargs)
        _check_alone(self, "audio")

    @classmethod
    def of(cls, config: OnePeaceConfig) -> Self:
        """The branch of a model.

        Raises:
            ModelConfigError: the model does not hear.
        """
        return cls(**_encoder_fields(config), audio_config=_own(config, "audio"))

    @property
    def takes_lengths(self) -> bool:
        """The encoder must be told where a sound ends: it hears each clip normalised as a whole."""
        return True

    @property
    def longest_samples(self) -> int:
        """The most samples of one clip: its frames and [CLS] must have a place in the bias."""
        samples = MAX_POSITIONS - 1
        for _, kernel, stride in reversed(self.audio_config.conv_layers):
            samples = (samples - 1) * stride + kernel
        return samples


def differences(config: OnePeaceConfig, other: OnePeaceConfig) -> dict[str, tuple[Any, Any]]:
    """The fields in which two branches of one kind compute different things, or differ in size.

    Returns:
        Name, as "hidden_size" or "image_config.stem_width" -> the values of both.
    """
    mine, theirs = (_flat(one) for one in (config, other))
    return {
        name: (mine.get(name), theirs.get(name))
        for name in mine.keys() | theirs.keys()
        if mine.get(name) != theirs.get(name)
    }


def _flat(config: OnePeaceConfig) -> dict[str, Any]:
    fields = {name: getattr(config, name) for name in _OF_THE_ENCODER}
    for modality, adapter in config.modalities.items():
        for name in type(adapter).__annotations__:
            fields[f"{modality}_config.{name}"] = getattr(adapter, name)
    # As JSON has them: tuples and lists are alike.
    return {n: json.loads(json.dumps(value)) for n, value in fields.items() if n not in _FREE}


def _own(config: OnePeaceConfig, modality: str) -> dict[str, Any]:
    """The fields of a modality's adapter."""
    adapter = getattr(config, f"{modality}_config")
    if adapter is None:
        raise ModelConfigError(f"the ONE-PEACE model has no {modality} branch to take")
    fields: dict[str, Any] = adapter.to_dict()
    return fields


def _encoder_fields(config: OnePeaceConfig) -> dict[str, Any]:
    return {name: getattr(config, name) for name in _OF_THE_ENCODER}


def _check_alone(config: OnePeaceConfig, modality: str) -> None:
    if (found := list(config.modalities)) != [modality]:
        raise ModelConfigError(
            f"a config of type {config.model_type!r} must have an {modality}_config and no other "
            f"modality, but has {', '.join(found) or 'none'} instead"
        )
