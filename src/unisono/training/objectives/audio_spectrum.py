"""Pre-training of ONE-PEACE's audio stem: its frames hold the log-mel spectrum of what they hear.

A stem that begins with random convolutions over samples gives the encoder nothing to hold on to,
and a contrast over few thousand clips hardly moves it. The spectrum is a target that every frame
has by itself, without labels and without a pass of the encoder. The idea is ours.

Shapes: B clips, S samples, F frames, N bands.
"""

import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from transformers.audio_utils import mel_filter_bank

from unisono.errors import BadRowError, RecipeError
from unisono.manifests.row import ConversationRow, Row
from unisono.media import SAMPLE_RATE_HZ
from unisono.models.onepeace import OnePeaceForPretraining
from unisono.models.onepeace.audio import AudioStem
from unisono.models.onepeace.processor import OnePeaceProcessor, Prepared
from unisono.training import goals
from unisono.training.batch import Computed

_FFT = 512
_LOWEST_HZ, _HIGHEST_HZ = 50.0, 7800.0
_FLOOR = 1e-3
_MEAN, _SPREAD = 1.0, 2.5
"""Of log energies, measured over Picturebook's sounds and voices: targets are of size one."""


class LogMel(nn.Module):
    """The target: a log-mel spectrum of the very windows that the stem's frames see."""

    window: Tensor
    bank: Tensor

    def __init__(self, layers: Sequence[Sequence[int]], bands: int) -> None:
        """Prepare windows and bands.

        Args:
            layers: (channels, kernel, stride) of the stem's convolutions.
            bands: N.

        Raises:
            RecipeError: the stem's window does not fit the Fourier transform.
        """
        super().__init__()
        seen, self.stride = 1, 1
        for _, kernel, stride in layers:
            seen += (kernel - 1) * self.stride
            self.stride *= stride
        if seen > _FFT:
            raise RecipeError(f"audio_spectrum needs windows of at most {_FFT} samples, not {seen}")
        bank = mel_filter_bank(
            _FFT // 2 + 1, bands, _LOWEST_HZ, _HIGHEST_HZ, SAMPLE_RATE_HZ, mel_scale="htk"
        )
        self.register_buffer("window", torch.hann_window(seen), persistent=False)
        self.register_buffer("bank", torch.from_numpy(bank).float(), persistent=False)

    def forward(self, samples: Tensor) -> Tensor:
        """[B, S] -> [B, F, N] in float32."""
        windows = samples.float().unfold(1, len(self.window), self.stride) * self.window
        energies = torch.fft.rfft(windows, _FFT).abs().square() @ self.bank
        scaled: Tensor = ((energies + _FLOOR).log() - _MEAN) / _SPREAD
        return scaled


class StemSpectrum(nn.Module):
    """The stem of a model, which alone trains; the model itself only goes along."""

    def __init__(self, model: OnePeaceForPretraining, bands: int) -> None:
        """Stand beside a model.

        Args:
            model: with an audio adapter.
            bands: N.

        Raises:
            RecipeError: the model hears nothing, or its frames are narrower than N.
        """
        super().__init__()
        if "audio" not in model.onepeace.adapters:
            raise RecipeError("audio_spectrum needs a model that has the modality audio")
        stem, config = model.onepeace.adapters["audio"].stem, model.onepeace.config
        if not isinstance(stem, AudioStem) or stem.projection.out_features < bands:
            raise RecipeError(f"audio_spectrum's {bands} bands are more than the model's width")
        self._model = (model,)  # a tuple: none of its parameters are this module's
        self.stem = stem
        self.spectrum = LogMel(config.modalities["audio"].conv_layers, bands)
        self.bands = bands

    @property
    def model(self) -> OnePeaceForPretraining:
        """What the stem is of."""
        return self._model[0]

    def forward(self, audio_values: Tensor) -> tuple[Tensor, Tensor]:
        """[B, S] -> the mean squared error, and its share of the target's variance (scalars)."""
        target = self.spectrum(audio_values)
        heard = self.stem(audio_values)[..., : self.bands].float()
        loss = functional.mse_loss(heard, target)
        return loss, loss.detach() / target.var()


class AudioSpectrum:
    """Objective of rows with a sound; their texts are not read."""

    packs = False

    def __init__(self, processor: OnePeaceProcessor, settings: goals.AudioSpectrum) -> None:
        """Prepare a stage.

        Args:
            processor: of the model.
            settings: of the stage.
        """
        self.processor = processor
        self.settings = settings

    def wrap(self, model: Any) -> StemSpectrum:
        """What `loss` takes."""
        return StemSpectrum(model, self.settings.bands)

    def prepare(self, row: Row) -> Prepared:
        """A piece of the row's sound; which one, its name decides.

        Raises:
            BadRowError: the row has no sound.
            MediaError: it cannot be used.
        """
        if isinstance(row, ConversationRow) or row.audio is None:
            raise BadRowError(f"{row.name}: audio_spectrum needs a sound")
        samples = self.processor.prepare(audio=row.audio).samples
        if samples is None:
            raise BadRowError(f"{row.name}: the model does not hear")
        wanted = round(self.settings.seconds * SAMPLE_RATE_HZ)
        start = zlib.crc32(row.name.encode()) % max(1, len(samples) - wanted + 1)
        return Prepared(samples=samples[start : start + wanted])

    def length(self, example: Prepared) -> int:
        """Frames."""
        return 0 if example.samples is None else self.processor.frames(len(example.samples))

    def kind(self, example: Prepared) -> str:
        """Always "audio"."""
        return "audio"

    def collate(self, examples: Sequence[Prepared]) -> tuple[Mapping[str, Any], float]:
        """The samples; the batch weighs as many clips."""
        inputs = self.processor.collate(examples)
        return {"audio_values": inputs["audio_values"]}, float(len(examples))

    def loss(self, model: nn.Module, inputs: Mapping[str, Any], *, draw: int) -> Computed:
        """Summed over the clips."""
        clips = len(inputs["audio_values"])
        loss, unexplained = model(**inputs)
        return Computed(loss * clips, {"unexplained": unexplained * clips})
