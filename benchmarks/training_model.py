"""Random models of the nano sizes for training.py."""

from pathlib import Path

import torch
from transformers import LlamaConfig, WhisperConfig

import unisono
from unisono.models import OlaConfig, OlaForConditionalGeneration, OlaProcessor
from unisono.models.byte_tokenizer import onepeace_byte_tokenizer
from unisono.models.ola.vision import OryxVisionConfig
from unisono.models.onepeace import OnePeaceConfig, OnePeaceForPretraining
from unisono.models.onepeace.processor import OnePeaceProcessor


def save_models(folder: Path) -> None:
    """`folder`/ola and `folder`/onepeace, as `unisono train` begins with them."""
    torch.manual_seed(0)
    tokenizer = unisono.load("ola-nano", engine="torch").reader.processor.tokenizer
    config = ola_config(len(tokenizer))
    OlaForConditionalGeneration(config).save_pretrained(folder / "ola")
    OlaProcessor(tokenizer, config).save_pretrained(folder / "ola")
    letters = onepeace_byte_tokenizer()
    onepeace = onepeace_config(len(letters))
    OnePeaceForPretraining(onepeace).save_pretrained(folder / "onepeace")
    OnePeaceProcessor.from_config(letters, onepeace).save_pretrained(folder / "onepeace")


def ola_config(vocabulary: int) -> OlaConfig:
    """SmolLM2's vocabulary and half its width, Whisper base, a small vision encoder."""
    return OlaConfig(
        text_config=LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=288,
            intermediate_size=768,
            num_hidden_layers=8,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=8192,
            tie_word_embeddings=True,
        ),
        speech_config=WhisperConfig(
            d_model=512,
            encoder_layers=6,
            encoder_attention_heads=8,
            encoder_ffn_dim=2048,
            num_mel_bins=80,
            max_source_positions=250,
        ),
        vision_config=OryxVisionConfig(
            hidden_size=192,
            num_hidden_layers=6,
            num_attention_heads=3,
            intermediate_size=512,
            position_grid=16,
        ),
        picture_sizes={"lowres_area": 128 * 128, "highres_max_area": 256 * 256},
        audio_chunk_s=5.0,
        audio_frames_per_chunk=250,
        audio_stack=5,
        prompt_form="training",
    )


def onepeace_config(vocabulary: int) -> OnePeaceConfig:
    """Width 224 and 6 layers, pictures of 64 pixels, a slimmer stem for sound (NANO's ranges)."""
    return OnePeaceConfig(
        hidden_size=224,
        intermediate_size=560,
        num_hidden_layers=6,
        num_attention_heads=7,
        drop_path_rate=0.1,
        text_config={"vocab_size": vocabulary, "position_buckets": 64},
        image_config={"position_grid": 4, "bias_grid": 4, "stem_width": 96},
        audio_config={
            "conv_layers": [[128, 10, 5], *[[128, 3, 2]] * 4, *[[128, 2, 2]] * 2],
            "position_buckets": 128,
        },
        decoder_config={
            "hidden_size": 112,
            "intermediate_size": 280,
            "num_hidden_layers": 2,
            "num_attention_heads": 4,
        },
    )
