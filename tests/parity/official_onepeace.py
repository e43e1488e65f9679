"""The golden ONE-PEACE models and inputs, as the official code was given them."""

from collections.abc import Iterator
from typing import Any

import torch
from golden import Golden, GoldenFile
from torch import Tensor
from torch.nn import functional

from unisono.models.onepeace import Masked, OnePeaceForPretraining
from unisono.models.onepeace.convert import from_official


def pretraining_model(golden: Golden, **changes: Any) -> OnePeaceForPretraining:
    """The tiny model, padding as the original has it unless `changes` say otherwise."""
    cfg = golden.facts("onepeace_tiny")["pretrain_cfg"]
    settings = {"official_padding": True, **changes}
    model = from_official(golden.file("onepeace_tiny").under(""), cfg, **settings)
    assert isinstance(model, OnePeaceForPretraining)
    return model


def inputs(io: GoldenFile, *modalities: str, suffix: str = "") -> dict[str, Tensor]:
    """The common inputs of some modalities, named as our models take them."""
    found = {}
    if "text" in modalities:
        found["input_ids"] = io.read(f"in.src_tokens{suffix}")
    if "image" in modalities:
        found["pixel_values"] = io.read(f"in.src_images{suffix}")
    if "audio" in modalities:
        found["audio_values"] = io.read("in.src_audios")
        found["audio_mask"] = (~io.read("in.audio_padding_masks")).long()
    return found


def waveform(io: GoldenFile, name: str) -> Tensor:
    """[1, S]: a clip from its 16-bit samples, layer-normed as a whole."""
    samples = io.read(name).float() / 32768
    return functional.layer_norm(samples, samples.shape)[None]


def masks(io: GoldenFile, start: str, joint: str) -> dict[str, Masked]:
    """All masks under `start`, those of the joint pass under our name for it."""
    return dict(_masks(io, start, joint))


def _masks(io: GoldenFile, start: str, joint: str) -> Iterator[tuple[str, Masked]]:
    for name in io.names:
        if name.startswith(start) and name.endswith("_preserve_ids"):
            stem = name.removesuffix("_preserve_ids")
            modality = stem.removeprefix(start).replace(f"{joint}_", "joint_")
            yield modality, Masked(io.read(name), io.read(f"{stem}_mask_indices"))


def norms(model: torch.nn.Module) -> dict[str, float | None]:
    """Our parameter name -> norm of its gradient, None where there is none."""
    return {
        name: None if p.grad is None else float(p.grad.norm())
        for name, p in model.named_parameters()
    }
