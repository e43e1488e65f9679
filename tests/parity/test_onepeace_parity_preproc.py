"""ONE-PEACE's preprocessing and masks against what the official code made."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from golden import Golden, GoldenFile
from PIL import Image
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from unisono.models.onepeace.masking import (
    AUDIO_LANGUAGE_RATIOS,
    VISION_LANGUAGE_RATIOS,
    preserved,
    sample_masks,
)
from unisono.models.onepeace.processor import OnePeaceProcessor
from unisono.models.onepeace.processor_image import CLIP_MEAN, CLIP_STD, resize_ratios
from unisono.models.onepeace.processor_text import (
    SPECIALS,
    dataset_text,
    load_tokenizer,
    word_start_table,
)


@pytest.fixture(scope="module")
def facts(golden: Golden) -> Any:
    return golden.facts("onepeace_preproc")


@pytest.fixture(scope="module")
def expected(golden: Golden) -> GoldenFile:
    return golden.file("onepeace_preproc")


@pytest.fixture(scope="module")
def tokenizer(
    golden: Golden, expected: GoldenFile, tmp_path_factory: pytest.TempPathFactory
) -> PreTrainedTokenizerFast:
    """From the official files, written and read again."""
    files = golden.folder / "onepeace_bpe"
    if not files.is_dir():
        expected.read("hub.process_text_batch")
        pytest.skip("the set comes without the official vocabulary")
    folder: Path = tmp_path_factory.mktemp("tokenizer")
    OnePeaceProcessor(load_tokenizer(files)).save_pretrained(folder)
    read = OnePeaceProcessor.from_pretrained(folder).tokenizer
    assert isinstance(read, PreTrainedTokenizerFast)
    return read


def numbered(file: GoldenFile, start: str) -> list[Tensor]:
    """The tensors start + "0", start + "1" …, in order."""
    found = file.under(start)
    return [found[str(i)] for i in range(len(found))]


def test_dictionary(facts: Any, tokenizer: PreTrainedTokenizerFast, golden: Golden) -> None:
    assert len(tokenizer) == facts["dictionary_len"]
    names = ("bos_token_id", "pad_token_id", "eos_token_id", "unk_token_id")
    assert [getattr(tokenizer, name) for name in names] == [
        facts["dict_specials"][name] for name in ("bos", "pad", "eos", "unk")
    ]
    assert list(SPECIALS) == facts["dict_first_symbols"][: facts["dict_nspecial"]]
    last = facts["dict_last_symbols"]
    ends = tokenizer.convert_ids_to_tokens(range(len(tokenizer) - len(last), len(tokenizer)))
    assert [e for e in ends if e.startswith("madeup")] == [e for e in last if not e.isdigit()]


def test_ids_of_the_inference_path(
    facts: Any, expected: GoldenFile, tokenizer: PreTrainedTokenizerFast
) -> None:
    processor = OnePeaceProcessor(tokenizer)
    each = [processor.text_ids(text) for text in facts["texts"]]
    assert each == facts["hub_process_text_each"]
    batch = processor(facts["texts"])
    expected.check("hub.process_text_batch", batch["input_ids"], "exact")
    assert torch.equal(batch["attention_mask"] == 0, batch["input_ids"] == 1)


def test_ids_of_the_training_path(facts: Any, tokenizer: PreTrainedTokenizerFast) -> None:
    cleaned = [dataset_text(text) for text in facts["texts"]]
    assert cleaned == [" " + text for text in facts["dataset_process_text"]]
    processor = OnePeaceProcessor(tokenizer, clean_text=True)
    each = [processor.text_ids(text) for text in facts["texts"]]
    assert each == facts["dataset_encode_text_max70_eos"]


def test_special_tokens_in_a_text_are_characters(tokenizer: PreTrainedTokenizerFast) -> None:
    ids = OnePeaceProcessor(tokenizer).text_ids("<s> a <pad> b </s> <unk> <|endoftext|>")
    assert not set(ids[:-1]) & set(tokenizer.all_special_ids)
    assert tokenizer.decode(ids[:-1]) == " <s> a <pad> b </s> <unk> <|endoftext|>"


def test_words_of_the_official_vocabulary(tokenizer: PreTrainedTokenizerFast) -> None:
    processor = OnePeaceProcessor(tokenizer)
    ids = processor(["An unbelievably loud rhinoceros, snoring."])["input_ids"]
    starts = processor.word_starts(ids)[0].tolist()
    assert sum(starts[:-1]) == 5
    assert word_start_table(tokenizer)[list(tokenizer.all_special_ids)].all()


def test_pixels(expected: GoldenFile) -> None:
    raw = [image.numpy() for image in numbered(expected, "image.raw.")]
    sizes = [expected.read("image.widths").tolist(), expected.read("image.heights").tolist()]
    assert [[r.shape[1] for r in raw], [r.shape[0] for r in raw]] == sizes
    side = expected.read("image.hub_pixels").shape[-1]
    pixels = OnePeaceProcessor(None, image_size=side)(images=raw)["pixel_values"]
    expected.check("image.hub_pixels", pixels, "normalised")
    assert torch.equal(eight_bits(pixels), eight_bits(expected.read("image.hub_pixels")))


def eight_bits(pixels: Tensor) -> Tensor:
    mean, std = (torch.tensor(three)[:, None, None] for three in (CLIP_MEAN, CLIP_STD))
    return ((pixels * std + mean) * 255).round().to(torch.uint8)


def test_grounding(expected: GoldenFile) -> None:
    images = [Image.fromarray(image.numpy()) for image in numbered(expected, "image.raw.")]
    regions = torch.stack(numbered(expected, "grounding.region."))
    side = expected.read("grounding.pixels.0").shape[-1]
    processor = OnePeaceProcessor(None, image_size=side)
    batch = processor(images=images, boxes=regions)
    ratios = resize_ratios([image.size for image in images], side)
    for i in range(len(images)):
        expected.check(f"grounding.pixels.{i}", batch["pixel_values"][i], "normalised")
        expected.check(f"grounding.target.{i}", batch["boxes"][i : i + 1], "normalised")
        expected.check(f"grounding.ratio_wh.{i}", ratios[i], "normalised")
    back = processor.boxes_in_pixels(batch["boxes"], images)
    torch.testing.assert_close(back, regions)


def test_sound(expected: GoldenFile) -> None:
    processor = OnePeaceProcessor(None)
    for i, pcm in enumerate(numbered(expected, "audio.pcm16.")):
        batch = processor(audio=pcm.numpy())
        values, mask = batch["audio_values"], batch["audio_mask"]
        lengths = torch.tensor([values.shape[1], mask.shape[1]])
        expected.check(f"audio.hub_len.{i}", lengths, "exact")
        assert bool(mask.all())
        head = expected.read(f"audio.hub_head.{i}")
        expected.check(f"audio.hub_head.{i}", values[0, : len(head)], "normalised")
        expected.check(f"audio.hub_tail.{i}", values[0, -len(head) :], "normalised")
        moments = torch.stack([values.mean(), values.std(correction=0)])
        expected.check(f"audio.hub_stat_mean_std.{i}", moments, "default")


def test_batch_of_sounds(expected: GoldenFile, facts: Any) -> None:
    rows, samples = facts["audio_batch3_shape"]
    clips = [pcm.numpy() for pcm in numbered(expected, "audio.pcm16.")[:rows]]
    batch = OnePeaceProcessor(None)(audio=clips)
    assert batch["audio_values"].shape == (rows, samples)
    expected.check("audio.batch3_padding_masks", batch["audio_mask"] == 0, "exact")


MASKED = {
    "pretrain_vl.in.text": ("in.src_tokens", 0.15),
    "pretrain_vl.in.image": (None, VISION_LANGUAGE_RATIOS["image"]),
    "pretrain_vl.in.vl_text": ("in.src_tokens", 0.4),
    "pretrain_vl.in.vl_image": (None, VISION_LANGUAGE_RATIOS["joint_image"]),
    "pretrain_al.in.al_text": ("in.al_src_tokens", 0.4),
    "pretrain_al.in.audio": ("in.audio_padding_masks", AUDIO_LANGUAGE_RATIOS["audio"]),
    "pretrain_al.in.al_audio": ("in.audio_padding_masks", AUDIO_LANGUAGE_RATIOS["joint_audio"]),
}


@pytest.fixture(scope="module")
def io(golden: Golden) -> GoldenFile:
    return golden.file("onepeace_tiny_io")


def lengths_of(io: GoldenFile, source: str | None, mask: Tensor) -> Tensor:
    """Tokens of each row, with [CLS]."""
    if source is None:
        return torch.full((len(mask),), mask.shape[1])
    stored = io.read(source)
    return (~stored).sum(dim=1) if stored.dtype == torch.bool else (stored != 1).sum(dim=1) + 1


@pytest.mark.parametrize("name", MASKED)
def test_kept_positions(io: GoldenFile, name: str) -> None:
    mask = io.read(f"{name}_mask_indices")
    kept = preserved(mask, lengths_of(io, MASKED[name][0], mask))
    assert kept.dtype == torch.int64
    io.check(f"{name}_preserve_ids", kept, "exact")


@pytest.mark.parametrize("name", [name for name in MASKED if "text" not in name])
def test_as_many_are_masked_as_officially(io: GoldenFile, name: str) -> None:
    source, ratio = MASKED[name]
    mask = io.read(f"{name}_mask_indices")
    lengths = lengths_of(io, source, mask)
    if source is None:
        side = 16 * round((mask.shape[1] - 1) ** 0.5)
        inputs = {"pixel_values": torch.zeros(len(mask), 3, side, side)}
        modality = "image"
    else:
        inputs = {"audio_mask": torch.arange(mask.shape[1]) < lengths[:, None]}
        modality = "audio"
    ours = sample_masks(inputs, {modality: ratio}, np.random.default_rng(0))[modality]
    assert ours.mask_indices.shape == mask.shape
    assert ours.mask_indices.sum(dim=1).tolist() == mask.sum(dim=1).tolist()
    assert ours.preserve_ids.shape == io.read(f"{name}_preserve_ids").shape
