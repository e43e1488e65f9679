"""Tiny ONE-PEACE models, batches and masks for tests: made in milliseconds."""

from typing import Any

import torch
from torch import Tensor, nn

from unisono.models.onepeace import Masked, OnePeaceConfig

WIDTH = 32
CONV = [[8, 10, 5], [8, 3, 2], [8, 2, 2]]


def tiny_config(**changes: Any) -> OnePeaceConfig:
    """Two layers of width 32; LayerScale large enough for every branch to matter."""
    fields: dict[str, Any] = {
        "hidden_size": WIDTH,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "drop_path_rate": 0.0,
        "layer_scale_init": 0.5,
        "initializer_range": 0.2,
        "text_config": {"vocab_size": 40, "position_buckets": 8, "max_position_embeddings": 64},
        "image_config": {"position_grid": 3, "bias_grid": 3, "stem_width": 8},
        "audio_config": {
            "conv_layers": CONV,
            "position_buckets": 8,
            "position_layers": 2,
            "position_kernel": 5,
            "position_groups": 4,
        },
        "decoder_config": {
            "hidden_size": 16,
            "intermediate_size": 24,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
        },
    }
    return OnePeaceConfig(**{**fields, **changes})


def randomised(model: nn.Module, seed: int = 0) -> Any:
    """Every parameter random, relative tables too, in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in model.named_parameters():
            noise = torch.randn(p.shape, generator=generator)
            if "norm" in name and name.endswith("weight"):
                p.copy_(1 + 0.1 * noise)
            elif not name.endswith("logit_scale"):
                p.copy_(0.3 * noise)
    return model.eval()


def texts(
    batch: int = 4, length: int = 7, seed: int = 0, lengths: list[int] | None = None
) -> Tensor:
    """[B, length] ids that end in eos = 2 and are padded by 1."""
    generator = torch.Generator().manual_seed(seed)
    ids = torch.randint(4, 40, (batch, length), generator=generator)
    for row, own in zip(ids, lengths or [length] * batch, strict=True):
        row[own - 1], row[own:] = 2, 1
    return ids


def images(batch: int = 4, side: int = 48, seed: int = 0) -> Tensor:
    """[B, 3, side, side]."""
    return torch.randn(batch, 3, side, side, generator=torch.Generator().manual_seed(seed))


def sounds(samples: list[int], seed: int = 0) -> dict[str, Tensor]:
    """Clips of so many samples, zero-padded, with their mask."""
    frames = tiny_config().audio_config.frames
    generator = torch.Generator().manual_seed(seed)
    values = torch.randn(len(samples), max(samples), generator=generator)
    mask = torch.zeros(len(samples), frames(max(samples)) + 1, dtype=torch.long)
    for i, own in enumerate(samples):
        values[i, own:] = 0.0
        mask[i, : frames(own) + 1] = 1
    return {"audio_values": values, "audio_mask": mask}


def masked(real: Tensor, ratio: float, seed: int = 0) -> Masked:
    """Mask about `ratio` of the real tokens [B, T] (True = real), never [CLS]."""
    generator = torch.Generator().manual_seed(seed)
    hidden = (torch.rand(real.shape, generator=generator) < ratio) & real
    hidden[:, 0], hidden[:, 1] = False, real[:, 1]  # at least one token is masked
    rows = [(real[i] & ~hidden[i]).nonzero().flatten() for i in range(len(real))]
    ids = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)
    return Masked(ids, hidden)


def pair_masks(given: dict[str, Tensor], other: str) -> dict[str, Masked]:
    """Masks for a stage over text and another modality."""
    text = nn.functional.pad(given["input_ids"] != 1, (1, 0), value=True)
    if other == "audio":
        real = given["audio_mask"].bool()
    else:
        patches = (given["pixel_values"].shape[-1] // 16) ** 2
        real = torch.ones(len(text), patches + 1, dtype=torch.bool)
    return {
        "text": masked(text, 0.3, seed=1),
        other: masked(real, 0.5, seed=2),
        "joint_text": masked(text, 0.4, seed=3),
        f"joint_{other}": masked(real, 0.5, seed=4),
    }
