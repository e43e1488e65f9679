"""Sound as the encoder hears it: each clip normalised as a whole, of bounded length, batched.

Opening and resampling are `media`'s affair; how many frames a clip makes is the stem's
(`OnePeaceAudioConfig.frames`).

Shapes: B clips, S samples at 16 kHz, F frames.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

MIN_SAMPLES = 16_000
"""One second: what is shorter is repeated."""


def normalised_clip(samples: NDArray[np.float32], max_samples: int) -> Tensor:
    """Mean 0 and variance 1 over the whole clip, then its beginning, repeated if too short.

    Args:
        samples: [samples], not empty.
        max_samples: where the clip is cut, behind the normalisation as in the original.

    Returns:
        float32 [S], S between `MIN_SAMPLES` and `max_samples`.
    """
    whole = torch.from_numpy(np.ascontiguousarray(samples, dtype=np.float32))
    clip = functional.layer_norm(whole, whole.shape)[:max_samples]
    if len(clip) < MIN_SAMPLES:
        clip = clip.repeat(-(-MIN_SAMPLES // len(clip)))[:MIN_SAMPLES]
    return clip


def batch_clips(clips: Sequence[Tensor], frames: Callable[[int], int]) -> tuple[Tensor, Tensor]:
    """Clips behind which zeros are put.

    Args:
        clips: float32 [S] each.
        frames: samples -> frames the stem makes of them.

    Returns:
        float32 [B, S] of the longest, and int64 [B, F + 1]: 1 at [CLS] and at the frames whose
        window lies in the clip.
    """
    lengths = [len(clip) for clip in clips]
    values = torch.zeros(len(clips), max(lengths))
    for row, clip in zip(values, clips, strict=True):
        row[: len(clip)] = clip
    own = torch.tensor([frames(length) for length in lengths])
    places = torch.arange(frames(max(lengths)) + 1)
    return values, (places <= own[:, None]).long()
