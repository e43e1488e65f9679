"""Sound -> frames of features: one or two encoders on the same chunks.

Ola pairs Whisper (speech, from log-mels) with BEATs (sounds, from samples): their frames are
zero-padded to one length and their channels concatenated.

Shapes: N chunks, M mel bins, S samples, F frames, W width.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from unisono.errors import ModelConfigError
from unisono.models.ola.beats import BeatsModel
from unisono.models.ola.config import OlaConfig


class HearingEncoders(nn.Module):
    """The speech encoder, the sound encoder, or both."""

    def __init__(self, config: OlaConfig) -> None:
        super().__init__()
        self.frames_per_chunk = config.audio_frames_per_chunk
        self.speech = _speech_encoder(config.speech_config) if config.speech_config else None
        self.sound = AutoModel.from_config(config.sound_config) if config.sound_config else None

    @staticmethod
    def width_of(config: OlaConfig) -> int:
        """Channels of the concatenated features."""
        parts = (config.speech_config, config.sound_config)
        return sum(int(part.hidden_size) for part in parts if part is not None)

    def forward(self, audio_mels: Tensor | None, audio_samples: Tensor | None) -> Tensor:
        """Encode chunks.

        Args:
            audio_mels: [N, M, mel frames] for the speech encoder; None without one.
            audio_samples: [N, S] at 16 kHz for the sound encoder; None without one.

        Returns:
            [N, frames_per_chunk, W].

        Raises:
            ModelConfigError: an encoder makes more frames than `audio_frames_per_chunk`.
            ValueError: an encoder's input is missing.
        """
        features = []
        if self.speech is not None:
            features.append(_encode(self.speech, audio_mels, "audio_mels"))
        if self.sound is not None:
            features.append(_encode(self.sound, audio_samples, "audio_samples"))
        return torch.cat([self._padded(one) for one in features], dim=-1)

    def _padded(self, features: Tensor) -> Tensor:
        missing = self.frames_per_chunk - features.shape[1]
        if missing < 0:
            raise ModelConfigError(
                f"audio_frames_per_chunk must be at least {features.shape[1]}, the frames the "
                f"encoder makes, but is {self.frames_per_chunk} instead"
            )
        return pad(features, (0, 0, 0, missing))


def _encode(encoder: PreTrainedModel, inputs: Tensor | None, name: str) -> Tensor:
    """[N, …] -> [N, F, W of this encoder]."""
    if inputs is None:
        raise ValueError(f"{name} must be given: the model has an encoder for it")
    # BEATs makes its filter bank of samples in float32, whatever it computes in after that.
    dtype = torch.float32 if isinstance(encoder, BeatsModel) else encoder.dtype
    return encoder(inputs.to(encoder.device, dtype)).last_hidden_state


def _speech_encoder(config: PreTrainedConfig) -> PreTrainedModel:
    """Whisper's encoder alone: its decoder would be loaded for nothing."""
    if config.model_type == "whisper":
        return WhisperEncoder(config)
    return AutoModel.from_config(config)
