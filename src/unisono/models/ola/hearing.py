"""Sound -> frames of features: one or two encoders on the same chunks.

Ola pairs Whisper (speech, from log-mels) with BEATs (sounds, from samples): their frames are
zero-padded to one length and their channels concatenated.

Shapes: N chunks, M mel bins, S samples, F frames, W width.
"""

import torch
from torch import Tensor, nn
from torch.nn.functional import pad
from transformers import AutoModel, PreTrainedConfig, PreTrainedModel

from unisono.errors import ModelConfigError
from unisono.models.ola.beats import BeatsModel
from unisono.models.ola.config import OlaConfig
from unisono.models.ola.whisper import WindowedWhisperEncoder


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

    def forward(
        self,
        audio_mels: Tensor | None,
        audio_samples: Tensor | None,
        audio_lengths: Tensor | None = None,
        *,
        frames: int | None = None,
    ) -> Tensor:
        """Encode chunks that have equal windows.

        Args:
            audio_mels: [N, M, mel frames] for the speech encoder; None without one.
            audio_samples: [N, S] at 16 kHz for the sound encoder; None without one.
            audio_lengths: [N], the samples of each chunk that are sound, for a sound encoder
                that asks for them.
            frames: that a window makes; None: as many as a whole chunk.

        Returns:
            [N, frames, W].

        Raises:
            ModelConfigError: an encoder makes more frames than there may be.
            ValueError: an encoder's input is missing.
        """
        features = []
        if self.speech is not None:
            features.append(_encode(self.speech, audio_mels, "audio_mels"))
        if self.sound is not None:
            takes_lengths = getattr(self.sound.config, "takes_lengths", False)
            more = {"lengths": audio_lengths} if takes_lengths else {}
            features.append(_encode(self.sound, audio_samples, "audio_samples", **more))
        wanted = self.frames_per_chunk if frames is None else frames
        return torch.cat([self._padded(one, wanted) for one in features], dim=-1)

    def _padded(self, features: Tensor, frames: int) -> Tensor:
        missing = frames - features.shape[1]
        if missing < 0:
            least = -(-features.shape[1] * self.frames_per_chunk // frames)
            raise ModelConfigError(
                f"audio_frames_per_chunk must be at least {least}, the frames the "
                f"encoder makes, but is {self.frames_per_chunk} instead"
            )
        return pad(features, (0, 0, 0, missing))


def _encode(
    encoder: PreTrainedModel, inputs: Tensor | None, name: str, **more: Tensor | None
) -> Tensor:
    """[N, …] -> [N, F, W of this encoder]."""
    if inputs is None:
        raise ValueError(f"{name} must be given: the model has an encoder for it")
    # BEATs makes its filter bank of samples in float32, whatever it computes in after that.
    dtype = torch.float32 if isinstance(encoder, BeatsModel) else encoder.dtype
    return encoder(inputs.to(encoder.device, dtype), **more).last_hidden_state


def _speech_encoder(config: PreTrainedConfig) -> PreTrainedModel:
    """Whisper's encoder alone: its decoder would be loaded for nothing."""
    if config.model_type == "whisper":
        return WindowedWhisperEncoder(config)
    return AutoModel.from_config(config)
