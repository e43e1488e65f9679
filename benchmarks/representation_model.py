"""ONE-PEACE with all widths divided, full depth, random weights; and the media it is given."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from unisono.models.onepeace import Masked, OnePeaceConfig, OnePeaceForPretraining
from unisono.models.onepeace.masking import VISION_LANGUAGE_RATIOS, mask_generator, sample_masks

EOS, PAD, FIRST_ID = 2, 1, 4
SAMPLE_RATE_HZ = 16_000

Inputs = dict[str, Tensor]


@dataclass(frozen=True)
class Amounts:
    """How much of everything a round has.

    Attributes:
        texts, images, clips: to be embedded.
        pairs: of texts and images in a pretraining step.
        tokens: fewest and most of a text, without eos.
        seconds: shortest and longest clip.
        image_px: side of an image.
    """

    texts: int = 64
    images: int = 16
    clips: int = 16
    pairs: int = 8
    tokens: tuple[int, int] = (5, 70)
    seconds: tuple[float, float] = (1.0, 15.0)
    image_px: int = 256


def divided_config(fraction: int, **changes: Any) -> OnePeaceConfig:
    """The released model with 1/`fraction` of every width: of the encoder, of the stems, of the
    decoder. Heads stay 64 wide where there can be more than one.
    """
    released = OnePeaceConfig(decoder_config={})
    decoder, audio = released.decoder_config, released.audio_config
    fields: dict[str, Any] = {
        "hidden_size": released.hidden_size // fraction,
        "intermediate_size": released.intermediate_size // fraction,
        "num_attention_heads": max(1, released.num_attention_heads // fraction),
        "audio_config": {"conv_layers": [[c // fraction, k, s] for c, k, s in audio.conv_layers]},
        "decoder_config": {
            "hidden_size": decoder.hidden_size // fraction,
            "intermediate_size": decoder.intermediate_size // fraction,
            "num_attention_heads": max(1, decoder.num_attention_heads // fraction),
        },
    }
    return OnePeaceConfig(**{**fields, **changes})


def random_model(config: OnePeaceConfig) -> OnePeaceForPretraining:
    """Seeded weights with which every branch and bias matters, as in a trained model.

    As initialised, LayerScale is 1e-6 and the relative tables are zero: hardly anything of what
    is compared could be seen in the output.
    """
    torch.manual_seed(0)
    model = OnePeaceForPretraining(config)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("gamma"):
                parameter.normal_(mean=0.1, std=0.05)
            elif "relative_bias" in name:
                parameter.normal_()
            elif "norm" not in name and parameter.dim() > 1:
                parameter.normal_(std=parameter[0].numel() ** -0.5)
    return model


def save_model(folder: Path, fraction: int) -> Path:
    random_model(divided_config(fraction)).save_pretrained(folder)
    return folder


@dataclass(frozen=True)
class Media:
    """Preprocessed inputs, equal in every process.

    Attributes:
        text: ids [T], with eos.
        image: [3, S, S].
        audio: samples [S], layer-normed.
    """

    text: list[Tensor]
    image: list[Tensor]
    audio: list[Tensor]


def media(amounts: Amounts, vocabulary: int) -> Media:
    draws = torch.Generator().manual_seed(0)
    few, many = amounts.tokens
    short, long = (round(s * SAMPLE_RATE_HZ) for s in amounts.seconds)
    lengths = torch.randint(few, many + 1, (amounts.texts,), generator=draws).tolist()
    samples = torch.randint(short, long + 1, (amounts.clips,), generator=draws).tolist()
    side = amounts.image_px
    return Media(
        text=[_text(length, vocabulary, draws) for length in lengths],
        image=[torch.randn(3, side, side, generator=draws) for _ in range(amounts.images)],
        audio=[functional.layer_norm(torch.randn(n, generator=draws), (n,)) for n in samples],
    )


def _text(length: int, vocabulary: int, draws: torch.Generator) -> Tensor:
    ids = torch.randint(FIRST_ID, vocabulary, (length,), generator=draws)
    return torch.cat([ids, torch.tensor([EOS])])


def batch(modality: str, items: list[Tensor], config: OnePeaceConfig) -> Inputs:
    """Items of one modality padded to the longest, as `OnePeaceModel` takes them."""
    if modality == "image":
        return {"pixel_values": torch.stack(items)}
    if modality == "text":
        ids = torch.nn.utils.rnn.pad_sequence(items, batch_first=True, padding_value=PAD)
        return {"input_ids": ids, "attention_mask": ids.ne(PAD).long()}
    frames = torch.tensor([config.audio_config.frames(len(item)) for item in items])
    mask = torch.arange(int(frames.max()) + 1) <= frames[:, None]
    values = torch.nn.utils.rnn.pad_sequence(items, batch_first=True)
    return {"audio_values": values, "audio_mask": mask.long()}


def pairs(
    amounts: Amounts, found: Media, config: OnePeaceConfig
) -> tuple[Inputs, Mapping[str, Masked]]:
    """A batch of stage 1 and its masks."""
    inputs = batch("text", found.text[: amounts.pairs], config)
    inputs |= batch("image", found.image[: amounts.pairs], config)
    draws = torch.Generator().manual_seed(1)
    starts = torch.rand(inputs["input_ids"].shape, generator=draws) < 0.7
    generator = mask_generator(0, step=0)
    return inputs, sample_masks(inputs, VISION_LANGUAGE_RATIOS, generator, word_starts=starts)
