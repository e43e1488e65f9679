"""The encoder: bucket tables, adapters, features of every modality alone and jointly."""

import hashlib

import pytest
import torch
from golden import Golden, GoldenFile
from official_onepeace import inputs, pretraining_model, waveform
from torch import Tensor

from unisono.models.onepeace import OnePeaceModel
from unisono.models.onepeace.bias import MAX_POSITIONS, bucket_index, grid_index, resized_table
from unisono.models.onepeace.image import resized_positions


@pytest.fixture(scope="module")
def io(golden: Golden) -> GoldenFile:
    return golden.file("onepeace_tiny_io")


@pytest.fixture(scope="module")
def model(golden: Golden) -> OnePeaceModel:
    return pretraining_model(golden).onepeace


def encode(model: OnePeaceModel, io: GoldenFile, case: str, given: dict[str, Tensor]) -> None:
    """Check all that is stored of one modality encoded alone."""
    modality = case.split("_", maxsplit=1)[0]
    with torch.no_grad():
        out = model(**given)
        projected = model.project(modality, out.pooled[modality])
    io.check(f"retrieval.{case}.encoder", out.last_hidden_states[modality], "onepeace")
    if f"retrieval.{case}.proj_unnormalised" in io:
        io.check(f"retrieval.{case}.proj_unnormalised", projected, "onepeace")
    io.check(f"retrieval.{case}.features", out.embeddings[modality], "normalised")


@pytest.mark.parametrize("modality", ["text", "image", "audio"])
def test_a_modality_alone(model: OnePeaceModel, io: GoldenFile, modality: str) -> None:
    given = inputs(io, modality)
    encode(model, io, modality, given)
    (part,) = model.embed(given)
    io.check(f"retrieval.{modality}.adapter_x", part.tokens, "onepeace")


def test_text_reaches_the_logarithmic_buckets(model: OnePeaceModel, io: GoldenFile) -> None:
    encode(model, io, "text_long", inputs(io, "text", suffix="_long"))


def test_a_text_without_its_padding(golden: Golden, model: OnePeaceModel, io: GoldenFile) -> None:
    ids = io.read("in.src_tokens")[golden.facts("onepeace_tiny")["text_single_index"]]
    encode(model, io, "text_single", {"input_ids": ids[ids != 1][None]})


def test_the_audio_stem(model: OnePeaceModel, io: GoldenFile) -> None:
    frames = model.adapters["audio"].stem(io.read("in.src_audios"))
    io.check("retrieval.audio.embed_audios", frames, "onepeace")


def test_the_stored_sound_is_the_normalised_clip(io: GoldenFile) -> None:
    stored = io.read("in.src_audios")
    for i, row in enumerate(stored):
        clip = waveform(io, f"in.audio_pcm16.{i}")[0]
        torch.testing.assert_close(row[: len(clip)], clip, atol=1e-5, rtol=0)
        assert not row[len(clip) :].any()


def test_a_long_sound(model: OnePeaceModel, io: GoldenFile) -> None:
    assert not io.read("in.audio_padding_masks_long").any()
    encode(model, io, "audio_long", {"audio_values": waveform(io, "in.audio_long_pcm16")})


@pytest.mark.parametrize("official", [True, False])
def test_a_sound_without_its_padding(golden: Golden, io: GoldenFile, official: bool) -> None:
    index = golden.facts("onepeace_tiny")["audio_single_index"]
    model = pretraining_model(golden, official_padding=official).onepeace
    encode(model, io, "audio_single", {"audio_values": waveform(io, f"in.audio_pcm16.{index}")})


def test_without_the_official_leak_padded_sound_is_the_unpadded(
    golden: Golden, io: GoldenFile
) -> None:
    index = golden.facts("onepeace_tiny")["audio_single_index"]
    given = {name: x[index : index + 1] for name, x in inputs(io, "audio").items()}
    assert not bool(given["audio_mask"].all()), "the clip is not padded"
    with torch.no_grad():
        ours = pretraining_model(golden, official_padding=False).onepeace(**given)
        leaky = pretraining_model(golden).onepeace(**given)
    io.check("retrieval.audio_single.features", ours.embeddings["audio"], "normalised")
    expected = io.read("retrieval.audio_single.features")
    assert float((leaky.embeddings["audio"] - expected).abs().max()) > 1e-3


@pytest.mark.parametrize(("other", "case"), [("image", "vl"), ("audio", "al")])
def test_two_modalities_jointly(
    model: OnePeaceModel, io: GoldenFile, other: str, case: str
) -> None:
    with torch.no_grad():
        out = model(joint=True, **inputs(io, "text", other)).last_hidden_states
    io.check(f"retrieval.{case}.encoder_text", out["text"], "onepeace")
    io.check(f"retrieval.{case}.encoder_{other}", out[other], "onepeace")


def test_images_of_other_sizes(model: OnePeaceModel, io: GoldenFile) -> None:
    image = model.adapters["image"]
    sizes = [n.rsplit("_", 1)[1] for n in io.names if n.startswith("in.src_images_")]
    assert sizes
    for size in sizes:
        grid = int(size) // 16
        table = resized_table(image.relative_bias.table(0), image.config.bias_grid, (grid, grid))
        io.check(f"retrieval.image_{size}.rel_pos_table", table, "normalised")
        positions = resized_positions(image.position_embedding, (grid, grid))
        io.check(f"retrieval.image_{size}.pos_embed_interp", positions, "normalised")
        encode(model, io, f"image_{size}", inputs(io, "image", suffix=f"_{size}"))


def test_the_logit_scale(model: OnePeaceModel, io: GoldenFile) -> None:
    io.check("retrieval.logit_scale_exp", model.scale(), "onepeace")


@pytest.mark.parametrize("modality", ["text", "audio"])
def test_distances_fall_into_the_official_buckets(
    golden: Golden, model: OnePeaceModel, io: GoldenFile, modality: str
) -> None:
    index = bucket_index(MAX_POSITIONS, model.adapters[modality].config.position_buckets)
    name = next(n for n in io.names if n.startswith(f"rp_bucket.{modality}.rows_"))
    lines = [int(i) for i in name.split("rows_")[1].split("_")]
    io.check(name, index[lines], "exact")
    io.check(name.replace("rows", "cols"), index[:, lines].T, "exact")
    digest = hashlib.sha256(index.numpy().astype("<i8").tobytes()).hexdigest()
    assert digest == golden.facts("onepeace_tiny")[f"rp_bucket_{modality}_sha256_int64_le"]


def test_patches_know_their_distance(model: OnePeaceModel, io: GoldenFile) -> None:
    side = model.adapters["image"].config.bias_grid
    io.check("rp_bucket.image", grid_index((side, side)), "exact")
