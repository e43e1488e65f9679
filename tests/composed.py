"""A tiny ola-nano: Ola over ONE-PEACE's two branches and Whisper's encoder."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tiny
import torch
from fakes import tone
from torch import Tensor

from unisono.conversation import AudioPart, Message, Part, TextPart
from unisono.models.ola import OlaConfig, OlaForConditionalGeneration, OlaProcessor

ENCODER = {
    "hidden_size": 16,
    "intermediate_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "drop_path_rate": 0.0,
    "layer_scale_init": 0.5,
}
VISION = {
    "model_type": "onepeace_vision",
    **ENCODER,
    "image_config": {"position_grid": 4, "bias_grid": 4, "stem_width": 8},
}
SOUND = {
    "model_type": "onepeace_sound",
    **ENCODER,
    "audio_config": {
        "conv_layers": [[8, 10, 5], *[[8, 3, 2]] * 4, *[[8, 2, 2]] * 2],  # 50 frames a second
        "position_buckets": 8,
        "position_layers": 2,
        "position_kernel": 5,
        "position_groups": 4,
    },
}


def config(**changes: Any) -> OlaConfig:
    """Chunks of 4 s, windows of utterances, tokens of 0.1 s; squares of 64 pixels."""
    fields = {
        "vision_config": VISION,
        "sound_config": SOUND,
        "picture_sizes": {"square_px": 64, "video_square_px": 32},
        "audio_window": "utterance",
        "audio_chunk_s": 4.0,
        "audio_frames_per_chunk": 200,
        "audio_stack": 5,
    }
    base = tiny.ola_config(speech=True).to_dict()
    base["speech_config"]["max_source_positions"] = 200
    return OlaConfig.from_dict({**base, **fields, **changes})


def ola(seed: int = 0, **changes: Any) -> tuple[OlaForConditionalGeneration, OlaProcessor]:
    """A random model in eval mode and its processor."""
    made = config(**changes)
    torch.manual_seed(seed)
    model = OlaForConditionalGeneration(made).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() > 1 and "embed_positions" not in name:
                parameter.normal_(std=0.3)
    return model, OlaProcessor(tiny.byte_tokenizer(), made)


def heard(seconds: float, hz: float = 300) -> np.ndarray:
    return tone(seconds, hz=hz)


def asked(*parts: Part, text: str = "What?") -> list[Message]:
    return [Message(role="user", content=(*parts, TextPart(text=text)))]


def sound_tokens(
    model: OlaForConditionalGeneration, processor: OlaProcessor, sounds: Sequence[np.ndarray]
) -> list[Tensor]:
    """The embeddings of each of some sounds, encoded in one batch."""
    prompts = [processor.prompt(asked(AudioPart(audio=one))) for one in sounds]
    media = processor.media_tensors([span for prompt in prompts for span in prompt.spans])
    return model.encoders.each(**media)[processor.config.audio_token_id]
