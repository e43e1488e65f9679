"""Adapters (LoRA, through PEFT) on the language model of Ola.

PEFT does the work: `get_peft_model(model, LoraConfig(target_modules=lora_targets(model), …))`
gives a model that trains, generates and saves its adapter. This module knows which layers are
the language model's, and how an adapter becomes part of the weights.
"""

import os
from pathlib import Path

from torch import nn

from unisono.errors import MissingExtraError, ModelConfigError
from unisono.models.ola.model import OlaForConditionalGeneration


def lora_targets(model: OlaForConditionalGeneration) -> list[str]:
    """What to adapt: the names of the language model's linear layers, its head excepted.

    As in LoRA's own recipe for all linear layers (Dettmers et al., QLoRA, section 4). Encoders
    and connectors are left alone, though their layers may have the same last names.
    """
    head = model.get_output_embeddings()
    return [
        name
        for name, layer in model.language_model.named_modules(prefix="language_model")
        if isinstance(layer, nn.Linear) and layer is not head
    ]


def merge_adapter(
    model: OlaForConditionalGeneration, adapter: str | os.PathLike[str]
) -> OlaForConditionalGeneration:
    """Add an adapter saved by PEFT to the model's weights; nothing of PEFT stays.

    Args:
        model: the model that the adapter was trained on; changed in place.
        adapter: the folder that `save_pretrained` of a PEFT model wrote.

    Raises:
        MissingExtraError: peft is not installed.
        ModelConfigError: there is no adapter, or it is one for another model.
    """
    try:
        from peft import PeftModel
    except ImportError as error:
        raise MissingExtraError("peft", "train") from error
    if not (Path(adapter) / "adapter_config.json").is_file():
        raise ModelConfigError(f"there is no adapter in '{adapter}': no adapter_config.json")
    try:
        # By name: PEFT would put the adapter on a GPU, were there one, whatever the model is on.
        adapted = PeftModel.from_pretrained(model, adapter, torch_device=str(model.device))
    except (RuntimeError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelConfigError(f"the adapter in '{adapter}' does not fit: {reason}") from error
    merged: OlaForConditionalGeneration = adapted.merge_and_unload()
    return merged
