"""Samples -> log-mel filter bank energies, as Kaldi computes them (`compute-fbank-feats`).

Whole batches, on any device, always in float32 whatever the model's precision. What Kaldi calls
dither is 0, its window "povey", its edges snipped: only whole windows are taken.

Shapes: N sounds, S samples, F frames, M mel bins.

Source: kaldi, src/feat/feature-window.cc and mel-computations.cc.
"""

from functools import lru_cache

import torch
from torch import Tensor

from unisono.errors import MediaError

SAMPLE_RATE_HZ = 16_000
WINDOW_SAMPLES = SAMPLE_RATE_HZ * 25 // 1000
SHIFT_SAMPLES = SAMPLE_RATE_HZ * 10 // 1000
_FFT_SAMPLES = 512  # the next power of two
_LOWEST_HZ = 20.0
_HIGHEST_HZ = SAMPLE_RATE_HZ / 2
_FULL_SCALE = 2.0**15  # Kaldi reads 16-bit integers
_PREEMPHASIS = 0.97
_POVEY_POWER = 0.85
_FLOOR = torch.finfo(torch.float32).eps


def samples_of(frames: int) -> int:
    """The fewest samples that make so many frames."""
    return WINDOW_SAMPLES + (frames - 1) * SHIFT_SAMPLES


def kaldi_fbank(samples: Tensor, mel_bins: int = 128) -> Tensor:
    """Log-mel energies of windows of 25 ms, every 10 ms.

    Args:
        samples: [N, S] at 16 kHz, in [-1, 1].
        mel_bins: M.

    Returns:
        [N, F, M] float32, F = 1 + (S - 400) // 160; differentiable.

    Raises:
        MediaError: there are too few samples for one window.
    """
    if samples.shape[-1] < WINDOW_SAMPLES:
        raise MediaError(
            f"a sound must have at least {WINDOW_SAMPLES} samples (25 ms), "
            f"but has {samples.shape[-1]} instead"
        )
    # Autocast would take the product with the filters to half precision.
    with torch.autocast(samples.device.type, enabled=False):
        power = _power_spectrum(samples.float() * _FULL_SCALE)
        energies = power @ _mel_filters(mel_bins, power.device)
        return energies.clamp(min=_FLOOR).log()


def _power_spectrum(samples: Tensor) -> Tensor:
    """[N, S] -> [N, F, 257]."""
    frames = samples.unfold(-1, WINDOW_SAMPLES, SHIFT_SAMPLES)  # [N, F, 400]
    frames = frames - frames.mean(dim=-1, keepdim=True)
    previous = torch.cat((frames[..., :1], frames[..., :-1]), dim=-1)
    windowed = (frames - _PREEMPHASIS * previous) * _povey_window(frames.device)
    return torch.fft.rfft(windowed, n=_FFT_SAMPLES).abs().square()


# The constants are made outside inference mode: there, autograd could never use them again.


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def _povey_window(device: torch.device) -> Tensor:
    """[400]: a Hann window to the power of 0.85."""
    window = torch.hann_window(
        WINDOW_SAMPLES, periodic=False, dtype=torch.float32, device=torch.device("cpu")
    )
    return window.pow(_POVEY_POWER).to(device)


@lru_cache(maxsize=8)
@torch.inference_mode(False)
def _mel_filters(mel_bins: int, device: torch.device) -> Tensor:
    """[257, M]: triangles that are equally wide in mel; each peaks where its neighbours begin.

    The highest frequency belongs to none of them.
    """
    bins = torch.arange(_FFT_SAMPLES // 2 + 1, dtype=torch.float32, device=torch.device("cpu"))
    mels = _mel(bins * (SAMPLE_RATE_HZ / _FFT_SAMPLES))[:, None]  # [257, 1]
    lowest, highest = _mel(torch.tensor([_LOWEST_HZ, _HIGHEST_HZ], dtype=torch.float64)).tolist()
    step = (highest - lowest) / (mel_bins + 1)
    left = lowest + torch.arange(mel_bins, dtype=torch.float32, device=mels.device) * step
    rising = (mels - left) / step  # [257, M]
    falling = (left + 2 * step - mels) / step
    filters = torch.minimum(rising, falling).clamp(min=0.0)
    filters[-1] = 0.0
    return filters.to(device)


def _mel(frequency_hz: Tensor) -> Tensor:
    """Kaldi's mel scale."""
    return 1127.0 * torch.log1p(frequency_hz / 700.0)
