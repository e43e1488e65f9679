"""The audio stem's convolution is the convolution."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_onepeace import tiny_config

from unisono.errors import MediaEmptyError
from unisono.models.onepeace import OnePeaceModel
from unisono.models.onepeace.audio import AudioStem, convolve


@settings(deadline=None, max_examples=60)
@given(
    kernel=st.integers(1, 10),
    stride=st.integers(1, 10),
    more=st.integers(0, 30),
    size=st.integers(1, 4),
)
def test_products_are_the_convolution(kernel: int, stride: int, more: int, size: int) -> None:
    generator = torch.Generator().manual_seed(more)
    frames = torch.randn(2, kernel + more, size, generator=generator, dtype=torch.float64)
    weight = torch.randn(3, size, kernel, generator=generator, dtype=torch.float64)
    frames, weight = frames.requires_grad_(), weight.requires_grad_()
    plain = torch.nn.functional.conv1d(frames.mT, weight, stride=stride).mT
    ours = convolve(frames, weight, stride)
    torch.testing.assert_close(ours, plain)
    noise = torch.randn(plain.shape, generator=generator, dtype=torch.float64)
    for a, b in zip(
        torch.autograd.grad((ours * noise).sum(), (frames, weight)),
        torch.autograd.grad((plain * noise).sum(), (frames, weight)),
        strict=True,
    ):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize("samples", [50, 300, 301, 1234])
def test_the_config_counts_the_frames_the_stem_makes(samples: int) -> None:
    config = tiny_config()
    stem = AudioStem(config.audio_config.conv_layers, config.hidden_size, 1e-5)
    assert stem(torch.zeros(1, samples)).shape[1] == config.audio_config.frames(samples)


def test_a_sound_without_a_single_frame_is_refused() -> None:
    with pytest.raises(MediaEmptyError, match="24 samples"):
        OnePeaceModel(tiny_config())(audio_values=torch.zeros(1, 24))
