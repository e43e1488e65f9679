"""Branches of ONE-PEACE as encoders: the same numbers as the whole model's, for one modality."""

from pathlib import Path

import numpy as np
import pytest
import tiny
import tiny_onepeace
import torch
from PIL import Image
from torch import Tensor
from transformers import AutoConfig, AutoModel

from unisono.errors import ModelConfigError
from unisono.models.onepeace import OnePeaceForPretraining, OnePeaceModel
from unisono.models.onepeace.branch import OnePeaceSoundModel, OnePeaceVisionModel
from unisono.models.onepeace.branch_config import OnePeaceSoundConfig, OnePeaceVisionConfig

PATCH = 16


def patches_of(pictures: list[Tensor]) -> tuple[Tensor, Tensor]:
    """[C, H, W] each -> patches in the order channel, row, column; and the grids."""
    cut = [p.unfold(1, PATCH, PATCH).unfold(2, PATCH, PATCH) for p in pictures]
    rows = [one.permute(1, 2, 0, 3, 4).flatten(0, 1).flatten(1) for one in cut]
    return torch.cat(rows), torch.tensor([one.shape[1:3] for one in cut])


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def seen(model: OnePeaceModel, picture: Tensor) -> Tensor:
    """[h * w, W] of one picture, by the whole model."""
    return model(pixel_values=picture[None]).last_hidden_states["image"][0, 1:]


@torch.no_grad()
@pytest.mark.parametrize("shared", ["attention", "all", "nothing", "ffn"])
def test_pictures_are_seen_as_by_the_whole_model(shared: str) -> None:
    model, _ = tiny.onepeace(shared=shared)
    branch = OnePeaceVisionModel.from_onepeace(model)
    pictures = noise(3, 3, 48, 48)
    found = branch(*patches_of(list(pictures))).last_hidden_state
    whole = model(pixel_values=pictures).last_hidden_states["image"][:, 1:]
    assert torch.equal(found, whole.flatten(0, 1))
    assert not torch.equal(found[:9], found[9:18]), "pictures differ"


@torch.no_grad()
def test_pictures_of_any_size_come_back_in_their_order() -> None:
    model, _ = tiny.onepeace()
    branch = OnePeaceVisionModel.from_onepeace(model)
    sizes = [(48, 48), (32, 80), (48, 48), (96, 96)]
    pictures = [noise(3, *size, seed=i) for i, size in enumerate(sizes)]
    found = branch(*patches_of(pictures)).last_hidden_state
    alone = torch.cat([seen(model, picture) for picture in pictures])
    torch.testing.assert_close(found, alone, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_another_grid_is_what_the_model_itself_makes_of_larger_pictures() -> None:
    model, _ = tiny.onepeace()
    branch = OnePeaceVisionModel.from_onepeace(model, grid=6)
    assert branch.config.image_config.position_grid == branch.config.image_config.bias_grid == 6
    picture = noise(3, 96, 96)
    found = branch(*patches_of([picture])).last_hidden_state
    assert torch.equal(found, seen(model, picture))
    small = noise(3, 48, 48)
    changed = branch(*patches_of([small])).last_hidden_state
    assert not torch.allclose(changed, seen(model, small)), "it was made for the larger grid"


@torch.no_grad()
def test_a_bias_per_layer_is_resampled_in_every_layer() -> None:
    model, _ = tiny.onepeace(bias_per_layer=True)
    branch = OnePeaceVisionModel.from_onepeace(model, grid=4)
    picture = noise(3, 64, 64)
    assert torch.equal(branch(*patches_of([picture])).last_hidden_state, seen(model, picture))


@torch.no_grad()
def test_sounds_are_heard_as_the_processor_has_them() -> None:
    model, processor = tiny.onepeace()
    branch = OnePeaceSoundModel.from_onepeace(model)
    lengths = [9_000, 24_000, 20_123]
    sounds = [
        0.3 + 0.1 * noise(n, seed=n).numpy() for n in lengths
    ]  # with an offset to normalise away
    padded = torch.zeros(3, 30_000)
    for row, sound in zip(padded, sounds, strict=True):
        row[: len(sound)] = torch.from_numpy(sound)
    found = branch(padded, torch.tensor(lengths)).last_hidden_state
    assert found.shape[:2] == (3, branch.config.audio_config.frames(30_000))
    for one, sound in zip(found, sounds, strict=True):
        inputs = processor(audio=[sound])
        alone = model(**inputs).last_hidden_states["audio"][0, 1:]
        torch.testing.assert_close(one[: len(alone)], alone, rtol=1e-4, atol=1e-5)
        assert not one[len(alone) :].any(), "zeros where there is no sound"


@torch.no_grad()
def test_a_clip_that_fills_its_window_is_heard_to_the_last_bit() -> None:
    model, processor = tiny.onepeace()
    branch = OnePeaceSoundModel.from_onepeace(model)
    sound = 0.1 * noise(17_000).numpy()
    whole = model(**processor(audio=[sound])).last_hidden_states["audio"][:, 1:]
    assert torch.equal(branch(torch.from_numpy(sound)[None]).last_hidden_state, whole)


@torch.no_grad()
def test_what_lies_behind_a_clip_changes_nothing() -> None:
    model, _ = tiny.onepeace()
    branch = OnePeaceSoundModel.from_onepeace(model)
    sound, length = noise(1, 20_000), torch.tensor([17_000])
    other = sound.clone()
    other[:, 17_000:] = 5
    found = [branch(one, length).last_hidden_state for one in (sound, other)]
    assert torch.equal(*found)


def test_the_longest_clip_is_that_of_the_bias() -> None:
    config = OnePeaceSoundConfig()
    frames = config.audio_config.frames
    assert frames(config.longest_samples) == 1023
    assert frames(config.longest_samples + 320) == 1024
    assert 20 < config.longest_samples / 16_000 < 20.6


def test_a_training_checkpoint_loses_all_but_the_branch(tmp_path: Path) -> None:
    model = tiny_onepeace.randomised(OnePeaceForPretraining(tiny_onepeace.tiny_config()))
    model.save_pretrained(tmp_path / "run")
    vision = OnePeaceVisionModel.from_onepeace(tmp_path / "run")
    sound = OnePeaceSoundModel.from_onepeace(tmp_path / "run")
    for branch, others in ((vision, ("audio", "text")), (sound, ("image", "text"))):
        names = list(branch.state_dict())
        assert not [name for name in names if {*others, "decoder"} & set(name.split("."))]
        branch.save_pretrained(tmp_path / branch.config.model_type)
        again = AutoModel.from_pretrained(tmp_path / branch.config.model_type)
        assert type(again) is type(branch)
        for name, tensor in branch.state_dict().items():
            assert torch.equal(tensor, again.state_dict()[name]), name
    picture = noise(3, 48, 48)
    with torch.no_grad():
        found = vision(*patches_of([picture])).last_hidden_state
        assert torch.equal(found, seen(model.onepeace, picture))


def test_configs_are_known_to_auto_classes() -> None:
    config, _ = tiny.onepeace()
    for kind, modality in ((OnePeaceVisionConfig, "image"), (OnePeaceSoundConfig, "audio")):
        branch = kind.of(config.config)
        again = AutoConfig.for_model(**branch.to_dict())
        assert type(again) is kind
        assert list(again.modalities) == [modality]
        assert "decoder_config" not in {k for k, v in branch.to_dict().items() if v is not None}


def test_mistakes_are_named() -> None:
    blind, _ = tiny.onepeace(image_config=None)
    with pytest.raises(ModelConfigError, match="no image branch"):
        OnePeaceVisionModel.from_onepeace(blind)
    with pytest.raises(ModelConfigError, match="must have an audio_config and no other"):
        OnePeaceSoundConfig(image_config={})
    branch = OnePeaceVisionModel.from_onepeace(tiny.onepeace()[0])
    with pytest.raises(ValueError, match="describe 9 patches, but there are 4"):
        branch(noise(4, 768), torch.tensor([[3, 3]]))


def test_both_branches_learn() -> None:
    model, _ = tiny.onepeace()
    vision, sound = (
        OnePeaceVisionModel.from_onepeace(model),
        OnePeaceSoundModel.from_onepeace(model),
    )
    vision.train()(*patches_of([noise(3, 48, 48)])).last_hidden_state.square().sum().backward()
    sound.train()(noise(1, 17_000)).last_hidden_state.square().sum().backward()
    for branch in (vision, sound):
        idle = [n for n, p in branch.named_parameters() if p.grad is None]
        assert not idle, idle


def test_pixels_are_scaled_as_the_processor_scales_them() -> None:
    _, processor = tiny.onepeace()
    picture = Image.fromarray(np.full((48, 48, 3), 90, dtype=np.uint8))
    pixels = processor(images=[picture])["pixel_values"][0]
    config = OnePeaceVisionConfig()
    for channel, mean, std in zip(pixels, config.pixel_mean, config.pixel_std, strict=True):
        torch.testing.assert_close(channel, torch.full((48, 48), (90 / 255 - mean) / std))
