"""Tiny models and a toy tokenizer for tests: made in milliseconds, no file, no network."""

from typing import Any

import tiny_onepeace
import torch
from transformers import (
    LlamaConfig,
    PreTrainedTokenizerFast,
    Wav2Vec2Config,
    WhisperConfig,
)

from unisono.models import OnePeaceModel, OnePeaceProcessor
from unisono.models.byte_tokenizer import (
    chat_byte_tokenizer,
    onepeace_byte_tokenizer,
)
from unisono.models.ola import OlaConfig, OlaForConditionalGeneration, OlaProcessor
from unisono.models.ola.vision import OryxVisionConfig

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")


def byte_tokenizer() -> PreTrainedTokenizerFast:
    """Every UTF-8 byte is a token (ids 0..255); then the three ChatML controls (256..258)."""
    return chat_byte_tokenizer()


def ola_config(
    *, speech: bool = False, sound: bool = False, vision: bool = False, **kwargs: Any
) -> OlaConfig:
    """A Llama of 2 layers; optionally encoders; chunks of one second, pictures of some patches."""
    text = LlamaConfig(
        vocab_size=len(byte_tokenizer()),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=byte_tokenizer().eos_token_id,
        pad_token_id=byte_tokenizer().pad_token_id,
    )
    whisper = WhisperConfig(
        d_model=16,
        encoder_layers=1,
        encoder_attention_heads=2,
        encoder_ffn_dim=32,
        num_mel_bins=80,
        max_source_positions=50,
    )
    wav2vec2 = Wav2Vec2Config(
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        conv_dim=(32, 32),  # oneDNN 3.12 computes wide bfloat16 kernels of 8 or 16 wrongly with AMX
        conv_stride=(16, 20),
        conv_kernel=(16, 20),
        num_feat_extract_layers=2,
        num_conv_pos_embeddings=4,
        num_conv_pos_embedding_groups=2,
        apply_spec_augment=False,
    )
    oryx = OryxVisionConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=24,
        position_grid=6,
    )
    settings = {
        "picture_sizes": {
            "lowres_area": 64 * 64,
            "highres_max_area": 128 * 128,
            "video_min_area": 64 * 64,
            "video_max_area": 96 * 96,
        },
        "video_frames": 4,
        "audio_chunk_s": 1.0,
        "audio_frames_per_chunk": 50,
        "audio_stack": 10,
        "audio_connector_width": 24,
        **kwargs,
    }
    return OlaConfig(
        text_config=text,
        vision_config=oryx if vision else None,
        speech_config=whisper if speech else None,
        sound_config=wav2vec2 if sound else None,
        **settings,
    )


def ola(*, seed: int = 0, **kwargs: Any) -> tuple[OlaForConditionalGeneration, OlaProcessor]:
    """A random model in eval mode and its processor."""
    config = ola_config(**kwargs)
    torch.manual_seed(seed)
    model = OlaForConditionalGeneration(config).eval()
    # Random weights of the default scale make nearly flat logits; wider ones, clear choices.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.3)
    return model, OlaProcessor(byte_tokenizer(), config)


def onepeace(*, seed: int = 0, **changes: Any) -> tuple[OnePeaceModel, OnePeaceProcessor]:
    """A random ONE-PEACE in eval mode and its processor: a token a byte, pictures of 48 pixels."""
    tokenizer = onepeace_tokenizer()
    text = {
        "vocab_size": len(tokenizer),
        "position_buckets": 8,
        "max_position_embeddings": 80,
    }
    audio = {
        "conv_layers": [[8, 10, 5], *[[8, 3, 2]] * 3, *[[8, 2, 2]] * 2],  # 100 frames a second
        "position_buckets": 8,
        "position_layers": 2,
        "position_kernel": 5,
        "position_groups": 4,
    }
    fields = {"text_config": text, "audio_config": audio, **changes}
    config = tiny_onepeace.tiny_config(**fields)
    model = tiny_onepeace.randomised(OnePeaceModel(config), seed)
    return model, OnePeaceProcessor.from_config(tokenizer, config)


def onepeace_tokenizer() -> PreTrainedTokenizerFast:
    """fairseq's four specials, then every byte."""
    return onepeace_byte_tokenizer()
