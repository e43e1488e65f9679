"""The sound encoder against the official one: filter bank, features, classes."""

import re

import pytest
import torch
from golden import STREAMED, Golden, GoldenFile
from torch import Tensor

from unisono.models.ola.beats import BeatsModel
from unisono.models.ola.convert_beats import (
    BEATS_PREFIX,
    beats_config_from_official,
    beats_config_from_shapes,
    beats_to_official,
    load_official_beats,
)

CLIPS = ["short", "long"]


@pytest.fixture(scope="module")
def io(golden: Golden) -> GoldenFile:
    return golden.file("ola_tiny_io")


@pytest.fixture(scope="module")
def official(golden: Golden) -> dict[str, Tensor]:
    return golden.file("ola_tiny").under(BEATS_PREFIX)


@pytest.fixture(scope="module")
def model(golden: Golden, official: dict[str, Tensor]) -> BeatsModel:
    config = beats_config_from_official(golden.facts("ola_tiny")["beats_cfg"])
    model = BeatsModel(config).eval()
    load_official_beats(model, official)
    return model


def waveform(io: GoldenFile, clip: str) -> Tensor:
    """[1, S], as it is."""
    return io.read(f"audio.{clip}.pcm16").float()[None] / 32768


def chunks(golden: Golden, io: GoldenFile, clip: str) -> Tensor:
    """[N, S] as the set has them: cut, the last one filled up with zeros."""
    samples, shape = waveform(io, clip), golden.facts("ola_tiny")[f"audio_{clip}_wav_shape"]
    missing = shape[0] * shape[1] - samples.shape[1]
    return torch.nn.functional.pad(samples, (0, missing)).view(shape)


@pytest.mark.parametrize("clip", CLIPS)
def test_filter_bank(golden: Golden, io: GoldenFile, model: BeatsModel, clip: str) -> None:
    found = model.filter_bank(chunks(golden, io, clip))
    assert list(found.shape) == golden.facts("ola_tiny")[f"audio_{clip}_fbank_shape"]
    first, last = f"audio.{clip}.fbank_first", f"audio.{clip}.fbank_last"
    for name in io.names:
        if name.startswith(first):
            io.check(name, found[:, : int(name.removeprefix(first))], "fbank")
        elif name.startswith(last):
            io.check(name, found[:, -int(name.removeprefix(last)) :], "fbank")
    whole = found.flatten(1)
    statistics = torch.stack([whole.mean(dim=1), whole.std(dim=1)], dim=1)
    io.check(f"audio.{clip}.fbank_mean_std", statistics, "fbank")


@torch.no_grad()
@pytest.mark.parametrize("clip", CLIPS)
def test_features(golden: Golden, io: GoldenFile, model: BeatsModel, clip: str) -> None:
    found = model(chunks(golden, io, clip)).last_hidden_state
    assert list(found.shape) == golden.facts("ola_tiny")[f"audio_{clip}_beats_shape"]
    checked = set()
    for name in io.names:
        match = re.fullmatch(rf"audio\.{clip}\.beats_(stride|last)(\d+)", name)
        if match:
            number = int(match[2])
            part = found[:, ::number] if match[1] == "stride" else found[:, -number:]
            io.check(name, part, STREAMED)
            checked.add(match[1])
    assert checked == {"stride", "last"}


@torch.no_grad()
def test_a_sound_that_is_not_filled_up_and_its_classes(io: GoldenFile, model: BeatsModel) -> None:
    samples = waveform(io, "short")
    io.check("audio.short_unpadded.beats", model(samples).last_hidden_state, STREAMED)
    probabilities = model.classify(samples)
    io.check("audio.short_unpadded.beats_predictor_probs", probabilities, STREAMED)


def test_with_gradients_the_numbers_are_the_same(io: GoldenFile, model: BeatsModel) -> None:
    samples = waveform(io, "short")
    io.check("audio.short_unpadded.beats", model(samples).last_hidden_state, STREAMED)


def test_an_untrained_model_would_not_pass(io: GoldenFile, model: BeatsModel) -> None:
    torch.manual_seed(0)
    other = BeatsModel(model.config).eval()
    with pytest.raises(AssertionError):
        io.check(
            "audio.short_unpadded.beats",
            other(waveform(io, "short")).last_hidden_state,
            STREAMED,
        )


def test_the_tensors_tell_the_same_shape_as_the_cfg(
    official: dict[str, Tensor], model: BeatsModel
) -> None:
    told = beats_config_from_shapes({key: tensor.shape for key, tensor in official.items()})
    traceless = ("max_distance", "hidden_act", "deep_norm", "layer_norm_first")
    expected = model.config.to_dict()
    assert told.to_dict() | {name: expected[name] for name in traceless} == expected


def test_the_way_back_gives_every_official_tensor_bit_by_bit(
    official: dict[str, Tensor], model: BeatsModel
) -> None:
    state = model.state_dict()
    back = beats_to_official(state, model.config.num_hidden_layers)
    assert back.keys() == official.keys()
    for key, tensor in official.items():
        assert torch.equal(back[key].to(tensor.dtype), tensor), key
