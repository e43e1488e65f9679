"""Speech in every format: in pieces as in one, and as long as it was."""

from typing import get_args

import numpy as np
import pytest

from unisono.errors import UnisonoError
from unisono.media import load_audio
from unisono.server.encode_audio import AudioFormat, encode, encoder_of

RATE_HZ = 22_050
FILES = [one for one in get_args(AudioFormat) if not one.startswith("pcm")]


@pytest.fixture(scope="module")
def tone() -> np.ndarray:
    times_s = np.arange(round(1.3 * RATE_HZ)) / RATE_HZ
    return (0.4 * np.sin(2 * np.pi * 300 * times_s)).astype(np.float32)


def in_pieces(tone: np.ndarray, form: str) -> list[bytes]:
    encoder = encoder_of(form, RATE_HZ)
    cuts = np.split(tone, [1, 500, 6000, 6001, 20_000])
    return [*(encoder.push(cut) for cut in cuts), encoder.flush()]


@pytest.mark.parametrize("form", FILES)
def test_files_hold_the_sound(tone: np.ndarray, form: str) -> None:
    for content in (encode(tone, RATE_HZ, form), b"".join(in_pieces(tone, form))):
        found = load_audio(content)
        # MP3 and AAC begin and end with up to two frames of their own.
        assert len(found) / 16_000 == pytest.approx(
            1.3, abs=0.11 if form in ("mp3", "aac") else 0.01
        )
        middle = found[6_000:14_000]
        strongest_hz = np.abs(np.fft.rfft(middle)).argmax() * 16_000 / len(middle)
        assert strongest_hz == pytest.approx(300, abs=3)
        assert np.abs(middle).max() == pytest.approx(0.4, abs=0.05)


@pytest.mark.parametrize("form", ["mp3", "aac", "pcm16", "opus"])
def test_streams_do_not_wait_for_the_end(tone: np.ndarray, form: str) -> None:
    pieces = in_pieces(tone, form)
    assert sum(map(len, pieces[:-1])) > 0


def test_samples_have_no_seam(tone: np.ndarray) -> None:
    whole = encode(tone, RATE_HZ, "pcm16")
    assert b"".join(in_pieces(tone, "pcm16")) == whole
    assert len(whole) == 2 * round(1.3 * 24_000)


@pytest.mark.parametrize("form", get_args(AudioFormat))
def test_silence_that_is_none(form: str) -> None:
    assert isinstance(encode(np.zeros(0, np.float32), RATE_HZ, form), bytes)


def test_other_formats() -> None:
    with pytest.raises(UnisonoError, match="midi"):
        encode(np.zeros(10, np.float32), RATE_HZ, "midi")
