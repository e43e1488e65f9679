"""Tiny Olas with conversations for them to learn, for the tests of training."""

import numpy as np
import tiny
import torch
from fakes import tone
from PIL import Image
from transformers import Qwen2Config

from unisono.conversation import AudioPart, ImagePart, Message, Part, TextPart
from unisono.manifests.row import ConversationRow
from unisono.models.ola import OlaForConditionalGeneration, OlaProcessor


def ola(family: str = "llama", **kwargs: bool) -> tuple[OlaForConditionalGeneration, OlaProcessor]:
    """A random model in training mode whose dropouts are zero, and its processor."""
    config = tiny.ola_config(**kwargs)
    if family == "qwen2":
        same = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers")
        fields = {name: getattr(config.text_config, name) for name in same}
        config.text_config = Qwen2Config(
            **fields, num_attention_heads=4, num_key_value_heads=2, tie_word_embeddings=False
        )
    torch.manual_seed(0)
    model = OlaForConditionalGeneration(config).train()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() > 1:
                parameter.normal_(std=0.2)
    return model, OlaProcessor(tiny.byte_tokenizer(), config)


def image(seed: int = 0, width: int = 50, height: int = 40) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def row(question: str, answer: str, *media: Part) -> ConversationRow:
    said = (*media, TextPart(text=question))
    messages = (Message(role="user", content=said), Message(role="assistant", content=answer))
    return ConversationRow(f"rows.jsonl:{len(question)}", messages)


def rows() -> list[ConversationRow]:
    """Text, picture, sound, and both; of four lengths."""
    picture, sound = ImagePart(image=image()), AudioPart(audio=tone(0.7, hz=300))
    other = ImagePart(image=image(1, 90, 60))
    return [
        row("What is this?", "a cat", picture),
        row("Hello", "Good morning to you"),
        row("And what do you hear?", "a tone", sound),
        row("Both?", "yes", other, AudioPart(audio=tone(1.4, hz=500))),
    ]
