"""Ola-7b with all widths divided, full depth, random weights."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast, Qwen2Config, WhisperConfig

from unisono.models import OlaConfig, OlaForConditionalGeneration, OlaProcessor
from unisono.models.ola.beats import BeatsConfig
from unisono.models.ola.vision import OryxVisionConfig

CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n"
    "{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def save_model(folder: Path, fraction: int) -> Path:
    """Save a model with 1/`fraction` of Ola-7b's widths; heads are as wide as there."""
    config = OlaConfig(
        text_config=Qwen2Config(
            vocab_size=152_064,
            hidden_size=3584 // fraction,
            intermediate_size=18_944 // fraction,
            num_hidden_layers=28,
            num_attention_heads=max(1, 3584 // fraction // 64),
            num_key_value_heads=1,
            max_position_embeddings=32_768,
            rope_parameters={"rope_type": "default", "rope_theta": 1e6},
        ),
        vision_config=OryxVisionConfig(
            hidden_size=1152 // fraction, num_attention_heads=max(1, 16 // fraction)
        ),
        speech_config=WhisperConfig(
            d_model=1280 // fraction,
            encoder_layers=32,
            encoder_attention_heads=max(1, 20 // fraction),
            encoder_ffn_dim=5120 // fraction,
            num_mel_bins=128,
        ),
        sound_config=BeatsConfig(
            hidden_size=768 // fraction,
            intermediate_size=3072 // fraction,
            num_attention_heads=max(1, 12 // fraction),
        ),
        audio_connector_width=2048 // fraction,
        system_prompt="You are a helpful assistant.",
    )
    torch.manual_seed(0)
    model = OlaForConditionalGeneration(config)
    with torch.no_grad():  # wider than the default, whose logits are nearly flat
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=parameter.shape[-1] ** -0.5)
    model.save_pretrained(folder)
    OlaProcessor(_byte_tokenizer(), config).save_pretrained(folder)
    return folder


def _byte_tokenizer() -> PreTrainedTokenizerFast:
    """A token a byte: how text is cut does not matter here."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=["<|im_start|>"],
        chat_template=CHATML,
    )
