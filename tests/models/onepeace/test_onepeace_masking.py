"""What the samplers may never do, on any batch; and that what they make trains."""

import math
from itertools import groupby

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_onepeace import images, randomised, sounds, texts, tiny_config
from torch import Tensor

from unisono.errors import ModelConfigError, UnsupportedModalityError
from unisono.models.onepeace import (
    AUDIO_LANGUAGE,
    VISION_LANGUAGE,
    Masked,
    OnePeaceForPretraining,
)
from unisono.models.onepeace.masking import (
    AUDIO_LANGUAGE_RATIOS,
    VISION_LANGUAGE_RATIOS,
    laid_blocks,
    mask_frames,
    mask_generator,
    mask_others,
    mask_patches,
    mask_words,
    preserved,
    sample_masks,
)

RATIO = st.floats(0, 1)
LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=5)
SEED = st.integers(0, 10_000)


def generator(seed: int = 0) -> np.random.Generator:
    return mask_generator(seed, step=0)


def check_form(mask: Masked, lengths: list[int]) -> None:
    """Types and shapes; [CLS] and padding; kept positions are what is not masked."""
    ids, hidden = mask
    assert (hidden.dtype, ids.dtype) == (torch.bool, torch.int64)
    assert hidden.shape == (len(lengths), max(lengths))
    assert not hidden[:, 0].any()
    kept = []
    for row, positions, length in zip(hidden, ids.tolist(), lengths, strict=True):
        assert not row[length:].any()
        own = [i for i in range(length) if not row[i]]
        assert positions == own + [-1] * (len(positions) - len(own))
        kept.append(len(own))
    assert ids.shape[1] == max(kept)


def floor_of(ratio: float, count: int) -> int:
    return math.floor(round(ratio * count, 9))


@settings(deadline=None, max_examples=80)
@given(st.data(), LENGTHS, RATIO, SEED)
def test_words(data: st.DataObject, lengths: list[int], ratio: float, seed: int) -> None:
    width = max(lengths)
    starts = torch.tensor(
        [data.draw(st.lists(st.booleans(), min_size=width, max_size=width)) for _ in lengths]
    )
    mask = mask_words(starts, torch.tensor(lengths), ratio, generator(seed))
    check_form(mask, [n + 1 for n in lengths])
    for row, begins, length in zip(mask.mask_indices[:, 1:], starts, lengths, strict=True):
        assert not row[length - 1]  # eos
        words = words_of(row[: length - 1], begins)
        assert all(len(set(word)) == 1 for word in words)
        assert sum(word[0] for word in words) == math.ceil(round(ratio * len(words), 9))


def words_of(row: Tensor, begins: Tensor) -> list[list[bool]]:
    words: list[list[bool]] = []
    for hidden, begin in zip(row.tolist(), begins.tolist(), strict=False):
        if begin or not words:
            words.append([])
        words[-1].append(hidden)
    return words


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 6), st.integers(1, 80), RATIO, SEED)
def test_patches(batch: int, patches: int, ratio: float, seed: int) -> None:
    mask = mask_patches(batch, patches, ratio, generator(seed))
    check_form(mask, [patches + 1] * batch)
    assert mask.mask_indices.sum(dim=1).tolist() == [floor_of(ratio, patches)] * batch
    assert (mask.preserve_ids >= 0).all()


@settings(deadline=None, max_examples=80)
@given(LENGTHS, RATIO, SEED, st.integers(1, 9))
def test_frames(lengths: list[int], ratio: float, seed: int, block: int) -> None:
    mask = mask_frames(torch.tensor(lengths), ratio, generator(seed), block=block)
    check_form(mask, [n + 1 for n in lengths])
    wanted = [floor_of(ratio, n) for n in lengths]
    assert mask.mask_indices.sum(dim=1).tolist() == wanted


@settings(deadline=None, max_examples=80)
@given(st.integers(1, 90), st.integers(0, 12), st.integers(1, 9), SEED)
def test_blocks_are_whole(frames: int, blocks: int, block: int, seed: int) -> None:
    mask = laid_blocks(frames, blocks, block, generator(seed))
    place, found = 0, 0
    for hidden, run in groupby(mask.tolist()):
        length = len(list(run))
        if hidden:
            at_an_end = place == 0 or place + length == frames
            assert length >= (1 if at_an_end else block)
            found += 1
        place += length
    assert found <= blocks
    assert mask.any() == (blocks > 0)


def test_frames_come_in_runs() -> None:
    """Single draws at the same ratio would make runs of 1 / (1 - ratio) = 1.8 on average."""
    mask = mask_frames(torch.full((50,), 200), 0.45, generator()).mask_indices
    runs = [len(list(run)) for row in mask.tolist() for hidden, run in groupby(row) if hidden]
    assert np.mean(runs) > 3


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=4), RATIO, RATIO, SEED)
def test_others(lengths: list[int], first: float, second: float, seed: int) -> None:
    """Lengths with eos; what was visible is hidden before anything is hidden twice."""
    starts = torch.ones(len(lengths), max(lengths), dtype=torch.bool)
    alone = mask_words(starts, torch.tensor(lengths), first, generator(seed))
    maskable = torch.tensor(lengths) - 1
    joint = mask_others(alone, maskable, second, generator(seed + 1))
    check_form(joint, [n + 1 for n in lengths])
    for a, j, count in zip(alone.mask_indices, joint.mask_indices, maskable.tolist(), strict=True):
        assert not j[count + 1 :].any()
        assert int(j.sum()) == floor_of(second, count)
        visible = count - int(a.sum())
        assert int((a & j).sum()) == max(0, floor_of(second, count) - visible)


def test_every_place_can_be_masked_and_kept() -> None:
    hidden = mask_patches(400, 12, 0.5, generator()).mask_indices[:, 1:].float().mean(dim=0)
    assert bool(((hidden > 0.35) & (hidden < 0.65)).all())
    starts = torch.tensor([[True, False, True, True, False, True]]).repeat(400, 1)
    words = mask_words(starts, torch.full((400,), 6), 0.5, generator()).mask_indices.float()
    assert bool(((words.mean(dim=0)[1:-1] > 0.35) & (words.mean(dim=0)[1:-1] < 0.7)).all())


def vision_batch() -> dict[str, Tensor]:
    ids = texts(4, 12, lengths=[12, 5, 9, 2])
    return {"input_ids": ids, "attention_mask": (ids != 1).long(), "pixel_values": images(4)}


def audio_batch() -> dict[str, Tensor]:
    ids = texts(3, 12, lengths=[12, 5, 9])
    mask = (ids != 1).long()
    return {"input_ids": ids, "attention_mask": mask, **sounds([900, 700, 500])}


BATCHES = {
    "vision": (vision_batch, VISION_LANGUAGE_RATIOS, VISION_LANGUAGE),
    "audio": (audio_batch, AUDIO_LANGUAGE_RATIOS, AUDIO_LANGUAGE),
}


@pytest.mark.parametrize("name", BATCHES)
def test_a_model_trains_on_them(name: str) -> None:
    make, ratios, stage = BATCHES[name]
    batch = make()
    starts = torch.ones_like(batch["input_ids"], dtype=torch.bool)
    masks = sample_masks(batch, ratios, generator(), word_starts=starts)
    assert set(masks) == set(ratios)
    model = randomised(OnePeaceForPretraining(tiny_config())).train()
    output = model(masks=masks, stage=stage, **batch)
    output.loss.backward()
    assert math.isfinite(output.loss.item())
    terms = {"contrast"} | {n for n, w in {**stage.alone}.items() if w}
    assert terms <= set(output.losses)


def test_joint_masks_of_texts_and_images_are_complements() -> None:
    batch = vision_batch()
    starts = torch.ones_like(batch["input_ids"], dtype=torch.bool)
    masks = sample_masks(batch, VISION_LANGUAGE_RATIOS, generator(), word_starts=starts)
    alone, joint = (masks[name].mask_indices[:, 1:] for name in ("image", "joint_image"))
    assert bool((alone | joint).all())  # 75 % and 68.75 % cover an image
    assert not (masks["text"].mask_indices & masks["joint_text"].mask_indices).any()


@pytest.mark.parametrize("name", BATCHES)
def test_the_same_seed_gives_the_same_masks(name: str) -> None:
    make, ratios, _ = BATCHES[name]
    batch = make()
    starts = torch.ones_like(batch["input_ids"], dtype=torch.bool)

    def drawn(**place: int) -> list[list[list[bool]]]:
        masks = sample_masks(batch, ratios, mask_generator(**place), word_starts=starts)
        return [masks[n].mask_indices.tolist() for n in sorted(masks)]

    reference = drawn(seed=3, step=5, rank=1)
    assert drawn(seed=3, step=5, rank=1) == reference
    for other in (
        {"seed": 4, "step": 5, "rank": 1},
        {"seed": 3, "step": 6, "rank": 1},
        {"seed": 3, "step": 5, "rank": 0},
        {"seed": 3, "step": 1, "rank": 5},
    ):
        assert drawn(**other) != reference


def test_the_global_generators_are_left_alone() -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    before = torch.get_rng_state(), np.random.get_state()[1].copy()
    mask_frames(torch.tensor([40]), 0.5, generator())
    mask_patches(2, 9, 0.5, generator())
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.array_equal(np.random.get_state()[1], before[1])


def test_nothing_masked_keeps_everything() -> None:
    hidden = torch.zeros(2, 4, dtype=torch.bool)
    kept = preserved(hidden, torch.tensor([4, 2]))
    assert kept.tolist() == [[0, 1, 2, 3], [0, 1, -1, -1]]


@pytest.mark.parametrize("ratio", [-0.1, 1.1, math.nan])
def test_ratios_out_of_range(ratio: float) -> None:
    starts = torch.ones(1, 4, dtype=torch.bool)
    for draw in (
        lambda: mask_words(starts, torch.tensor([4]), ratio, generator()),
        lambda: mask_patches(1, 4, ratio, generator()),
        lambda: mask_frames(torch.tensor([4]), ratio, generator()),
    ):
        with pytest.raises(ModelConfigError, match="between 0 and 1"):
            draw()


def test_what_cannot_be_masked() -> None:
    with pytest.raises(ModelConfigError, match="needs word_starts"):
        sample_masks(vision_batch(), {"text": 0.1}, generator())
    with pytest.raises(UnsupportedModalityError, match="no audio_mask"):
        sample_masks(vision_batch(), {"audio": 0.1}, generator())
    with pytest.raises(UnsupportedModalityError, match="'smell'"):
        sample_masks(vision_batch(), {"joint_smell": 0.1}, generator())
    with pytest.raises(ModelConfigError, match="at least 1 frame"):
        mask_frames(torch.tensor([4]), 0.5, generator(), block=0)
