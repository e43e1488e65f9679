"""Log-mels, the Whisper encoder, both encoders side by side, and the audio connector."""

import re

import pytest
import torch
from golden import STREAMED, Golden, GoldenFile
from official_ola import Ola
from torch import Tensor

from unisono.conversation import AudioPart
from unisono.models.ola.prompt import AudioSpan


@pytest.fixture(scope="module")
def io(golden: Golden) -> GoldenFile:
    return golden.file("ola_tiny_io")


def chunks_of(ola: Ola, io: GoldenFile, clip: str) -> dict[str, Tensor]:
    """What the processor makes of a stored clip."""
    samples = io.read(f"audio.{clip}.pcm16").float() / 32768
    (span,) = ola.processor.opener().open(AudioPart(audio=samples.numpy())).spans
    assert isinstance(span, AudioSpan)
    return ola.processor.media_tensors([span])


def strided(io: GoldenFile, prefix: str) -> tuple[str, int]:
    """The one name with this prefix and a number behind it, and the number."""
    ((name, stride),) = (
        (name, int(found[1]))
        for name in io.names
        if (found := re.fullmatch(rf"{re.escape(prefix)}(\d+)", name))
    )
    return name, stride


@pytest.mark.parametrize("clip", ["short", "long"])
def test_mels(ola: Ola, io: GoldenFile, clip: str) -> None:
    mels = chunks_of(ola, io, clip)["audio_mels"].transpose(1, 2)  # [N, frames, bins]
    io.check(f"audio.{clip}.mel_first240", mels[:, :240], "mel")
    io.check(f"audio.{clip}.mel_last40", mels[:, -40:], "mel")
    whole = mels.flatten(1)
    io.check(f"audio.{clip}.mel_mean_std", torch.stack([whole.mean(1), whole.std(1)], 1), "mel")
    io.check(f"audio.{clip}.speech_length", torch.full((len(mels),), mels.shape[1]))


@torch.no_grad()
@pytest.mark.parametrize("clip", ["short", "long"])
def test_encoders_and_connector(ola: Ola, io: GoldenFile, clip: str) -> None:
    media = chunks_of(ola, io, clip)
    hearing = ola.model.encoders.hearing
    assert hearing is not None
    assert hearing.speech is not None
    whisper = hearing.speech(media["audio_mels"]).last_hidden_state
    name, stride = strided(io, f"audio.{clip}.whisper_stride")
    io.check(name, whisper[:, ::stride], STREAMED)
    io.check(f"audio.{clip}.whisper_last6", whisper[:, -6:], STREAMED)
    both = hearing(media["audio_mels"], media["audio_samples"])
    io.check(f"audio.{clip}.concat_last8", both[:, -8:], STREAMED)
    io.check(f"audio.{clip}.speech_chunks", media["audio_chunk_counts"], "exact")
    (tokens,) = ola.model.encoders(**media).values()
    io.check(f"audio.{clip}.projector_out", tokens, STREAMED)


def test_how_many_chunks_a_sound_has(ola: Ola, golden: Golden) -> None:
    for length, expected in golden.facts("ola_tiny")["load_audio_boundaries"].items():
        sound = torch.zeros(int(length)).numpy()
        opened = ola.processor.opener().open(AudioPart(audio=sound))
        (span,) = opened.spans
        assert isinstance(span, AudioSpan)
        assert [len(span.chunks)] == expected["speech_chunks"]
        assert list(span.chunks.shape) == expected["wavs"]
        assert bool(opened.notices) == (int(length) > span.chunks.size)
