"""The encoders of an Ola checkpoint without its language model, for an engine of another kind."""

import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from unisono.models.loading import StrictlyLoadedModel
from unisono.models.ola.config import OlaConfig
from unisono.models.ola.encoders import OlaEncoders


class _EncodersOnly(StrictlyLoadedModel):
    """Takes from a checkpoint what `OlaForConditionalGeneration` calls `encoders`."""

    config_class = OlaConfig
    _no_split_modules = ["OlaEncoders"]  # noqa: RUF012 -- the form transformers expects
    _supports_sdpa = True
    _keep_in_fp32_modules_strict = {"hearing.sound"}  # noqa: RUF012 -- as in the whole model
    _keys_to_ignore_on_load_unexpected = (r"^language_model\.",)

    def __init__(self, config: OlaConfig) -> None:
        super().__init__(config)
        self.encoders = OlaEncoders(config)
        self.post_init()


def load_encoders(
    folder: str | os.PathLike[str], *, dtype: torch.dtype = torch.float32
) -> OlaEncoders:
    """The encoders and connectors of a folder written by `OlaForConditionalGeneration`.

    The weights of the language model are not read: a 7B model takes the memory of its encoders.

    Args:
        folder: has config.json and safetensors.
        dtype: of the weights.

    Raises:
        ModelConfigError: the checkpoint does not have every weight of the encoders.
        IncompleteFileError: a file of weights is cut short.
        OSError: there is no such checkpoint.
    """
    loaded: Any = _EncodersOnly.from_pretrained(folder, dtype=dtype)
    encoders: OlaEncoders = loaded.encoders.eval()
    return encoders


def encoders_of(
    config: OlaConfig, weights: Mapping[str, Tensor], *, dtype: torch.dtype = torch.float32
) -> OlaEncoders:
    """The encoders and connectors of a config, with weights at hand.

    Args:
        config: of the whole model.
        weights: by their names in `OlaForConditionalGeneration` ("encoders.…"), all of them.
        dtype: that they shall have.

    Raises:
        ModelConfigError: a weight is missing, unexpected, or of another shape.
    """
    loaded: Any = _EncodersOnly.from_pretrained(
        None, config=config, state_dict=dict(weights), dtype=dtype
    )
    encoders: OlaEncoders = loaded.encoders.eval()
    return encoders
