"""Which tokens pretraining hides: whole words, single patches, blocks of frames.

Ratios and rules are those of ONE-PEACE (arXiv 2305.11172, section 2.3, and the official code). In
the joint pass of texts and images, tokens that were visible when each was alone are hidden first,
so that the two passes teach different tokens. [CLS], eos and padding are never masked. All draws
come from a generator that is given, so that a run can be repeated.

Shapes: B batch, T tokens with [CLS], K kept tokens of the row that keeps most.
"""

import math
from collections.abc import Mapping

import numpy as np
import torch
from numpy.random import Generator
from numpy.typing import NDArray
from torch import Tensor

from unisono.errors import ModelConfigError, UnsupportedModalityError
from unisono.models.onepeace.image import PATCH_PX
from unisono.models.onepeace.losses import JOINT
from unisono.models.onepeace.pretraining import Masked

Mask = NDArray[np.bool_]
Ratios = Mapping[str, float]
"""Modality, or "joint_" + modality where both are encoded together -> share to be masked."""

VISION_LANGUAGE_RATIOS: Ratios = {
    "text": 0.15,
    "image": 0.75,
    "joint_text": 0.40,
    "joint_image": 0.6875,
}
AUDIO_LANGUAGE_RATIOS: Ratios = {"audio": 0.55, "joint_text": 0.40, "joint_audio": 0.45}

BLOCK_FRAMES = 5
"""Frames of sound masked together, 0.1 s: one alone could be guessed from its neighbours."""

BLOCK_SURPLUS = 0.1
"""Added to the ratio when blocks are counted, since blocks overlap."""


def mask_generator(seed: int, *, step: int, rank: int = 0) -> Generator:
    """Draws of their own for every step and rank, the same in every run with this seed."""
    return np.random.default_rng(np.random.SeedSequence((seed, step, rank)))


def sample_masks(
    inputs: Mapping[str, Tensor],
    ratios: Ratios,
    generator: Generator,
    *,
    word_starts: Tensor | None = None,
) -> dict[str, Masked]:
    """The masks of one pretraining batch.

    A text or image that `ratios` masks both alone and jointly gets `mask_others` for the joint
    pass; everything else is drawn by the sampler of its modality.

    Args:
        inputs: as the processor makes them, of all modalities that `ratios` names.
        ratios: what is masked, how much.
        generator: see `mask_generator`.
        word_starts: `OnePeaceProcessor.word_starts` of the texts; needed where text is masked.

    Returns:
        One mask for every name of `ratios`, as `OnePeaceForPretraining` takes them.

    Raises:
        ModelConfigError: a ratio is not between 0 and 1, or `word_starts` is missing.
        UnsupportedModalityError: `ratios` names a modality that the inputs do not have.
    """
    masks: dict[str, Masked] = {}
    for name, ratio in sorted(ratios.items(), key=lambda entry: entry[0].startswith(JOINT)):
        modality = name.removeprefix(JOINT)
        if name != modality and modality in ratios and modality in _COMPLEMENTED:
            lengths = _maskable(modality, inputs)
            masks[name] = mask_others(masks[modality], lengths, ratio, generator)
        else:
            masks[name] = _masked(modality, inputs, ratio, generator, word_starts)
    return masks


def mask_words(word_starts: Tensor, lengths: Tensor, ratio: float, generator: Generator) -> Masked:
    """Mask whole words of texts.

    Args:
        word_starts: bool [B, T - 1], True at tokens that begin a word; the first token of a row
            is taken for one.
        lengths: [B], real tokens, without [CLS] and with eos, which is the last of them.
        ratio: of the words; rounded up, so that every text has something to learn from.
        generator: see `mask_generator`.

    Raises:
        ModelConfigError: the ratio is not between 0 and 1.
    """
    _check_ratio(ratio)
    begins, words = word_starts.cpu().numpy(), lengths.tolist()
    mask = np.zeros((len(begins), begins.shape[1] + 1), dtype=np.bool_)
    for row, starts, length in zip(mask, begins, words, strict=True):
        inner = max(length - 1, 0)  # eos is left alone
        row[1 : inner + 1] = _some_words(starts[:inner], ratio, generator)
    return _result(mask, lengths + 1)


def mask_patches(batch: int, patches: int, ratio: float, generator: Generator) -> Masked:
    """Mask patches of images, each for itself.

    Args:
        batch: B.
        patches: of an image, T - 1.
        ratio: of the patches, rounded down: equally many in every image.
        generator: see `mask_generator`.

    Raises:
        ModelConfigError: the ratio is not between 0 and 1.
    """
    ranks = generator.random((batch, patches)).argsort(axis=1).argsort(axis=1)
    mask = np.zeros((batch, patches + 1), dtype=np.bool_)
    mask[:, 1:] = ranks < _share(patches, ratio)
    return _result(mask, torch.full((batch,), patches + 1))


def mask_others(alone: Masked, maskable: Tensor, ratio: float, generator: Generator) -> Masked:
    """Mask single tokens, first of all those that another mask leaves visible.

    Args:
        alone: the other mask.
        maskable: [B], how many tokens behind [CLS] may be masked.
        ratio: of the maskable tokens, rounded down.
        generator: see `mask_generator`.

    Raises:
        ModelConfigError: the ratio is not between 0 and 1.
    """
    hidden = alone.mask_indices.cpu().numpy()[:, 1:]
    counts = maskable.tolist()
    mask = np.zeros((len(hidden), hidden.shape[1] + 1), dtype=np.bool_)
    for row, before, count in zip(mask, hidden, counts, strict=True):
        order = generator.permutation(count)
        order = order[before[order].argsort(kind="stable")]
        row[1 + order[: _share(count, ratio)]] = True
    visible = alone.preserve_ids.cpu() >= 0
    return _result(mask, visible.sum(dim=1) + torch.from_numpy(hidden.sum(axis=1)))


def mask_frames(
    lengths: Tensor,
    ratio: float,
    generator: Generator,
    *,
    block: int = BLOCK_FRAMES,
    surplus: float = BLOCK_SURPLUS,
) -> Masked:
    """Mask blocks of frames of sounds.

    As many blocks are laid at random as would make up `ratio` + `surplus` if none overlapped;
    then single frames are freed, or masked, until the number is right. Equal shares for all clips
    keep a batch's visible parts comparable.

    Args:
        lengths: [B], frames of each clip, without [CLS].
        ratio: of each clip's frames, rounded down.
        generator: see `mask_generator`.
        block: frames of a block.
        surplus: see `BLOCK_SURPLUS`.

    Raises:
        ModelConfigError: the ratio is not between 0 and 1, or a block has no frames.
    """
    if block < 1:
        raise ModelConfigError(f"a block must have at least 1 frame, but has {block} instead")
    counts = lengths.tolist()
    mask = np.zeros((len(counts), max(counts) + 1), dtype=np.bool_)
    for row, frames in zip(mask, counts, strict=True):
        wanted = _share(frames, ratio)
        blocks = int(frames * (ratio + surplus) / block) if wanted else 0
        laid = laid_blocks(frames, blocks, block, generator)
        row[1 : frames + 1] = _settled(laid, wanted, generator)
    return _result(mask, lengths + 1)


def preserved(mask_indices: Tensor, lengths: Tensor) -> Tensor:
    """The positions that stay visible.

    Args:
        mask_indices: bool [B, T], True where masked.
        lengths: [B], tokens of each row, with [CLS], without padding.

    Returns:
        int64 [B, K], ascending, filled up by -1.
    """
    length = mask_indices.shape[1]
    places = torch.arange(length, device=mask_indices.device)
    kept = ~mask_indices & (places < lengths[:, None])
    ids = torch.where(kept, places, length).sort(dim=1).values
    ids = ids[:, : int(kept.sum(dim=1).max())]
    return ids.masked_fill(ids == length, -1)


def laid_blocks(frames: int, blocks: int, block: int, generator: Generator) -> Mask:
    """[frames]: blocks around random centres; they may overlap, and are cut at the clip's ends."""
    centres = generator.integers(0, max(frames, 1), size=blocks)
    covered = centres[:, None] + np.arange(block) - block // 2
    mask = np.zeros(frames, dtype=np.bool_)
    mask[covered[(covered >= 0) & (covered < frames)]] = True
    return mask


_COMPLEMENTED = frozenset({"text", "image"})


def _masked(
    modality: str,
    inputs: Mapping[str, Tensor],
    ratio: float,
    generator: Generator,
    word_starts: Tensor | None,
) -> Masked:
    count = _maskable(modality, inputs)
    if modality == "image":
        return mask_patches(len(count), int(count[0]), ratio, generator)
    if modality == "audio":
        return mask_frames(count, ratio, generator)
    if word_starts is None:
        raise ModelConfigError("masking text needs word_starts, but there are none")
    return mask_words(word_starts, count + 1, ratio, generator)


def _maskable(modality: str, inputs: Mapping[str, Tensor]) -> Tensor:
    """[B]: tokens of each sample, without [CLS], eos and padding."""
    if modality == "text":
        return (_of(inputs, "attention_mask").cpu().sum(dim=1) - 1).clamp(min=0)
    if modality == "audio":
        return _of(inputs, "audio_mask").cpu().sum(dim=1) - 1
    if modality == "image":
        batch, _, height, width = _of(inputs, "pixel_values").shape
        return torch.full((batch,), (height // PATCH_PX) * (width // PATCH_PX))
    raise UnsupportedModalityError(f"there is no sampler of masks for {modality!r}")


def _of(inputs: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in inputs:
        raise UnsupportedModalityError(f"the batch to be masked has no {name}")
    return inputs[name]


def _some_words(starts: Mask, ratio: float, generator: Generator) -> Mask:
    """[tokens]: the tokens of words drawn at random."""
    starts = starts.copy()
    starts[:1] = True
    word_of = starts.cumsum() - 1
    words = int(starts.sum())
    drawn = generator.permutation(words)[: math.ceil(_exact(words * ratio))]
    return np.isin(word_of, drawn)


def _settled(mask: Mask, wanted: int, generator: Generator) -> Mask:
    """The mask with as many True as wanted: some are added or taken away at random."""
    excess = int(mask.sum()) - wanted
    changed = generator.permutation(np.flatnonzero(mask if excess > 0 else ~mask))[: abs(excess)]
    settled = mask.copy()
    settled[changed] = excess < 0
    return settled


def _share(count: int, ratio: float) -> int:
    _check_ratio(ratio)
    return math.floor(_exact(count * ratio))


def _exact(product: float) -> float:
    """Without the last digits of binary fractions: 0.29 * 100 is 29, not 28.999…"""
    return round(product, 9)


def _check_ratio(ratio: float) -> None:
    if not 0 <= ratio <= 1:
        raise ModelConfigError(f"a mask ratio must be between 0 and 1, but is {ratio} instead")


def _result(mask: Mask, lengths: Tensor) -> Masked:
    indices = torch.from_numpy(mask)
    return Masked(preserved(indices, lengths), indices)
