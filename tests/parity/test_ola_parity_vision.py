"""The vision encoder, its connector and the preprocessing against the official ones."""

import hashlib
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from golden import Golden, GoldenFile
from PIL import Image
from torch import Tensor

from unisono.media.video import spread
from unisono.models.key_table import KeyRule, rename
from unisono.models.ola.connector_vision import VisionConnector, token_count
from unisono.models.ola.convert_vision import (
    VISION_CONNECTOR_KEYS,
    VISION_KEYS,
    vision_config_from_official,
)
from unisono.models.ola.processor_image import (
    PictureSizes,
    Pixels,
    frame_pictures,
    image_pictures,
    pixel_patches,
)
from unisono.models.ola.vision import OryxVisionModel, patchify

IO = "ola_tiny_io"
OFFICIAL_FRAMES = 64


@pytest.fixture(scope="module")
def weights(golden: Golden) -> dict[str, Tensor]:
    """The official tensors in float32, exact as the set's README wants them."""
    return {k: v.float() for k, v in golden.file("ola_tiny").under("model.").items()}


@pytest.fixture(scope="module")
def vision(golden: Golden, weights: dict[str, Tensor]) -> OryxVisionModel:
    shapes = {f"model.{name}": tensor.shape for name, tensor in weights.items()}
    facts = golden.facts("ola_tiny")["vision"]
    config = vision_config_from_official(shapes, num_attention_heads=facts["heads"])
    assert config.num_hidden_layers == facts["layers"]
    assert config.position_grid == facts["pos_embed_grid"]
    assert config.intermediate_size == facts["mlp_hidden"] == int(facts["width"] * 3.7362)
    model = OryxVisionModel(config)
    model.load_state_dict(_converted(VISION_KEYS, "encoders.vision.", weights))
    return model.eval()


@pytest.fixture(scope="module")
def connector(weights: dict[str, Tensor]) -> VisionConnector:
    state = _converted(VISION_CONNECTOR_KEYS, "encoders.vision_connector.", weights)
    out_width, width = state["linear1.weight"].shape
    module = VisionConnector(width, out_width)
    module.load_state_dict(state)
    return module.eval()


@pytest.fixture(scope="module")
def sizes(golden: Golden) -> PictureSizes:
    """The limits the set was made with."""
    env = golden.facts("ola_tiny")["env"]
    low_side, low_unit = map(int, env["LOWRES_RESIZE"].split("x"))
    return PictureSizes(
        lowres_area=low_side**2,
        lowres_unit=low_unit,
        highres_max_area=int(env["MAXRES"]) ** 2,
        highres_unit=int(env["HIGHRES_BASE"].split("x")[1]),
        video_min_area=int(env["VIDEO_MINRES"]) ** 2,
        video_max_area=int(env["VIDEO_MAXRES"]) ** 2,
        video_unit=int(env["VIDEO_RESIZE"].split("x")[1]),
    )


def test_pictures_of_all_sizes_in_one_pack(golden: Golden, vision: OryxVisionModel) -> None:
    file = golden.file(IO)
    numbers = _numbered(file, "vit.in.")
    features, grids = _encode(vision, [file.read(f"vit.in.{i}")[0] for i in numbers])
    for i, grid, part in zip(numbers, grids, features, strict=True):
        file.check(f"vit.list_size_hw.{i}", torch.tensor(grid), "exact")
        file.check(f"vit.list_out.{i}", part[None])


def test_a_picture_alone(golden: Golden, vision: OryxVisionModel) -> None:
    file = golden.file(IO)
    numbers = _numbered(file, "vit.single_out.")
    assert numbers
    for i in numbers:
        features, _ = _encode(vision, [file.read(f"vit.in.{i}")[0]])
        file.check(f"vit.single_out.{i}", features[0][None])


def test_features_that_the_connector_was_given(golden: Golden, vision: OryxVisionModel) -> None:
    file = golden.file(IO)
    for name in ("low", "high"):
        features, _ = _encode(vision, [file.read(f"proj.in.{name}")[0]])
        file.check(f"proj.in.{name}_feat", features[0][None])
    frames, _ = _encode(vision, list(file.read("proj.in.video_frames")))
    file.check("proj.video_feat", torch.stack(frames))


def test_an_image_through_the_connector(
    golden: Golden, vision: OryxVisionModel, connector: VisionConnector
) -> None:
    file, patch = golden.file(IO), vision.config.patch_size
    grids = [_grid(file.read(f"proj.in.{name}"), patch) for name in ("low", "high")]
    low, high = (file.read(f"proj.in.{name}_feat")[0] for name in ("low", "high"))
    both = _connect(connector, torch.cat([low, high]), grids, is_video=False)
    file.check("proj.image_out", both[None])
    file.check("proj.image_out_no_high", _connect(connector, low, grids[:1], is_video=False)[None])


def test_a_video_through_the_connector(
    golden: Golden, vision: OryxVisionModel, connector: VisionConnector
) -> None:
    file = golden.file(IO)
    frames = file.read("proj.in.video_frames")
    grids = [_grid(frames, vision.config.patch_size)] * len(frames)
    features = file.read("proj.video_feat").flatten(0, 1)
    file.check("proj.video_out", _connect(connector, features, grids, is_video=True)[None])


def test_sizes_borders_and_pixels(golden: Golden, sizes: PictureSizes) -> None:
    file, facts = golden.file(IO), golden.facts("ola_tiny")
    numbers = [i for i in range(100) if f"pre_{i}" in facts]
    patch_size = facts["vision"]["patch_size"]
    assert numbers
    for i in numbers:
        raw = _raw_image(golden, i)
        low, high = image_pictures(Image.fromarray(raw), sizes)
        video = frame_pictures(raw[None], sizes)[0]
        for kind, picture in (("low", low), ("high", high), ("video", video)):
            channels_first = np.ascontiguousarray(picture.transpose(2, 0, 1)[None])
            known = facts[f"pre_{i}"]
            assert list(channels_first.shape) == known[kind], (i, kind)
            digest = hashlib.sha256(channels_first.tobytes()).hexdigest()
            assert digest == known[f"{kind}_u8_sha256"], (i, kind)
            _check_stored_views(file, f"pre.{i}.{kind}_u8", torch.from_numpy(channels_first))
            patches, _ = pixel_patches([picture], patch_size, sizes)
            mean, std = known[f"{kind}_mean_std"]
            assert float(patches.mean()) == pytest.approx(mean, abs=1e-5)
            assert float(patches.std()) == pytest.approx(std, abs=1e-5)


def test_pictures_that_went_through_the_whole_model(golden: Golden, sizes: PictureSizes) -> None:
    file = golden.file(IO)
    images = sorted({name.split(".")[1] for name in file.names if name.startswith("full.image")})
    assert images
    for name in images:
        raw = Image.fromarray(file.read(f"full.{name}.raw").numpy())
        for kind, picture in zip(("low", "high"), image_pictures(raw, sizes), strict=True):
            actual = torch.from_numpy(picture).permute(2, 0, 1)[None]
            file.check(f"full.{name}.{kind}_u8", actual, "exact")
    frames = frame_pictures(file.read("full.video.raw").numpy(), sizes)
    file.check("full.video.u8", torch.from_numpy(frames).permute(0, 3, 1, 2)[:, None], "exact")


def test_frames_taken_of_a_video(golden: Golden) -> None:
    for count, expected in golden.facts("ola_tiny")["infer_video_frames"].items():
        sampled, kept = official_infer_frames(int(count))
        assert sampled == expected["sampled_original_indices"]
        assert kept == expected["positions_kept_by_infer_py"]
        if int(count) >= OFFICIAL_FRAMES:
            assert spread(int(count), OFFICIAL_FRAMES).tolist() == sampled
        else:  # the official script repeats frames; we take each once
            assert spread(int(count), OFFICIAL_FRAMES).tolist() == sorted(set(sampled))


def official_infer_frames(count: int, frames: int = OFFICIAL_FRAMES) -> tuple[list[int], list[int]]:
    """Frames the official script samples, and the positions among them that it then keeps.

    It mixes up positions and frame numbers: position p is kept if a frame numbered p was sampled.
    """
    sampled = np.linspace(0, count - 1, frames).astype(int).tolist()
    return sampled, [p for p in range(len(sampled)) if p in sampled]


def _converted(
    rules: Sequence[KeyRule], prefix: str, weights: dict[str, Tensor]
) -> dict[str, Tensor]:
    """The tensors the rules are about, by their name in a module that stands at `prefix`."""
    state = {}
    for name, tensor in weights.items():
        if (found := rename(rules, f"model.{name}")) is not None:
            ours, transform = found
            state[ours.removeprefix(prefix)] = transform(tensor) if transform else tensor
    return state


@torch.no_grad()
def _encode(
    vision: OryxVisionModel, pictures: list[Tensor]
) -> tuple[list[Tensor], list[tuple[int, int]]]:
    """[C, H, W] each -> [T, W] each, in one pack."""
    patches, grids = zip(*(patchify(p, vision.config.patch_size) for p in pictures), strict=True)
    features = vision(torch.cat(patches), torch.tensor(grids)).last_hidden_state
    return list(torch.split(features, [len(p) for p in patches])), list(grids)


@torch.no_grad()
def _connect(
    connector: VisionConnector, features: Tensor, grids: list[tuple[int, int]], *, is_video: bool
) -> Tensor:
    """One medium -> [tokens, D]."""
    counts, kind = torch.tensor([len(grids)]), torch.tensor([is_video])
    (tokens,) = connector(features, torch.tensor(grids), counts, kind)
    assert len(tokens) == token_count(grids, is_video=is_video, pool=connector.pool)
    return tokens


def _grid(pixels: Tensor, patch_size: int) -> tuple[int, int]:
    return pixels.shape[-2] // patch_size, pixels.shape[-1] // patch_size


def _numbered(file: GoldenFile, prefix: str) -> list[int]:
    return sorted(int(n.removeprefix(prefix)) for n in file.names if n.startswith(prefix))


def _raw_image(golden: Golden, i: int) -> Pixels:
    """Raw image i as stored, or made again by the recipe of the set's README."""
    file, facts = golden.file(IO), golden.facts("ola_tiny")
    if f"pre.{i}.raw" in file:
        return file.read(f"pre.{i}.raw").numpy()
    width, height = facts[f"pre_{i}"]["size_wh"]
    random = np.random.RandomState(facts["seed"] + 100 + i)
    coarse = random.randint(0, 256, (height // 9 + 2, width // 9 + 2, 3)).astype(np.uint8)
    smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR)
    noise = random.randint(-15, 16, (height, width, 3))
    raw = np.clip(np.asarray(smooth).astype(int) + noise, 0, 255).astype(np.uint8)
    assert hashlib.sha256(raw.tobytes()).hexdigest() == facts[f"pre_{i}_raw_sha256"]
    file.check(f"pre.{i}.raw_stride16", torch.from_numpy(raw[::16, ::16]), "exact")
    return raw


def _check_stored_views(file: GoldenFile, name: str, actual: Tensor) -> None:
    """Large results are stored as a coarse view and a corner."""
    if name in file:
        file.check(name, actual, "exact")
    else:
        file.check(f"{name}_stride8", actual[..., ::8, ::8], "exact")
        file.check(f"{name}_corner48", actual[..., :48, :48], "exact")
