"""The processor on a tiny vocabulary of the official form; pictures and sounds made here."""

import base64
import io
import json
import math
import wave
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from official_onepeace_layout import MERGES, write_vocabulary
from PIL import Image
from tiny_onepeace import CONV, randomised, tiny_config
from transformers import AutoProcessor, AutoTokenizer, PreTrainedTokenizerFast

from unisono.errors import (
    ConversationError,
    IncompleteFileError,
    MediaNotFoundError,
    ModelConfigError,
    UnsupportedModalityError,
)
from unisono.models.onepeace import OnePeaceConfig, OnePeaceModel
from unisono.models.onepeace.processor import OnePeaceProcessor
from unisono.models.onepeace.processor_audio import batch_clips, normalised_clip
from unisono.models.onepeace.processor_text import dataset_text, hub_text, load_tokenizer


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerFast:
    folder = tmp_path_factory.mktemp("official")
    write_vocabulary(folder)
    return load_tokenizer(folder)


@pytest.fixture
def processor(tokenizer: PreTrainedTokenizerFast) -> OnePeaceProcessor:
    return OnePeaceProcessor(tokenizer, image_size=48, conv_layers=CONV)


def noise(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def tone(seconds: float) -> np.ndarray:
    return np.sin(np.arange(round(seconds * 16_000)) / 9).astype(np.float32) * 0.3 + 0.1


# --- the vocabulary ------------------------------------------------------------------------


def test_ids_follow_the_dictionary(tmp_path: Path) -> None:
    order = write_vocabulary(tmp_path)
    tokenizer = load_tokenizer(tmp_path)
    assert tokenizer.convert_ids_to_tokens(range(len(tokenizer))) == order
    assert tokenizer.tokenize(" a dog's") == ["Ġa", "Ġdog", "'s"]


def test_roberta_files_make_the_same_tokenizer(
    tmp_path: Path, tokenizer: PreTrainedTokenizerFast
) -> None:
    entries = {**tokenizer.get_vocab(), "<mask>": len(tokenizer)}
    (tmp_path / "vocab.json").write_text(json.dumps(entries))
    (tmp_path / "merges.txt").write_text("\n".join(f"{a} {b}" for a, b in MERGES))
    other = load_tokenizer(tmp_path)
    assert other.get_vocab() == tokenizer.get_vocab()
    assert other.encode(" the dog's") == tokenizer.encode(" the dog's")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("encoder.json", "{", "not JSON"),
        ("encoder.json", "[1]", "object"),
        ("dict.txt", "5 1\n5 1\n", "twice"),
        ("dict.txt", "5 1\n", "lacks 260 tokens"),
        ("vocab.bpe", "a b c\n", "two tokens"),
        ("vocab.bpe", "q q\n", "merges do not fit"),
    ],
)
def test_broken_vocabularies(tmp_path: Path, name: str, content: str, says: str) -> None:
    write_vocabulary(tmp_path)
    (tmp_path / name).write_text(content)
    with pytest.raises(ModelConfigError, match=says):
        load_tokenizer(tmp_path)


def test_a_missing_vocabulary_names_the_files(tmp_path: Path) -> None:
    write_vocabulary(tmp_path)
    (tmp_path / "dict.txt").unlink()
    with pytest.raises(IncompleteFileError, match=r"dict\.txt nor vocab\.json"):
        load_tokenizer(tmp_path)


# --- text ----------------------------------------------------------------------------------


def test_two_ways_to_prepare_a_text() -> None:
    given = "..!  A\tDog,\n\nthere\nOK \n"
    assert hub_text(given) == " ..!  a\tdog,\n\nthere\nok \n"
    assert dataset_text("!A\tDog,\n\nthere\nOK\n") == " a dog, there\nok"
    assert dataset_text(given) == " a dog, there\nok"


def test_texts_are_padded_and_masked(processor: OnePeaceProcessor) -> None:
    batch = processor(["A dog", "a"])
    vocabulary = processor.tokenizer.get_vocab()
    ids = [[vocabulary["Ġa"], vocabulary["Ġdog"], 2], [vocabulary["Ġa"], 2, 1]]
    assert batch["input_ids"].tolist() == ids
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 1, 0]]
    assert processor("A dog")["input_ids"].tolist() == [ids[0]]


@settings(deadline=None, max_examples=60)
@given(text=st.text(max_size=120), clean=st.booleans())
def test_any_text_becomes_ids(tokenizer: PreTrainedTokenizerFast, text: str, clean: bool) -> None:
    processor = OnePeaceProcessor(tokenizer, max_text_tokens=20, clean_text=clean)
    ids = processor.text_ids(text)
    assert ids[-1] == 2
    assert 2 <= len(ids) <= 21
    assert not set(ids[:-1]) & {0, 1, 2, 3}
    prepared = dataset_text(text) if clean else hub_text(text)
    whole = OnePeaceProcessor(tokenizer, max_text_tokens=10_000, clean_text=clean).text_ids(text)
    assert tokenizer.decode(whole[:-1]) == prepared
    assert whole[: len(ids) - 1] == ids[:-1]


def test_specials_in_a_text_are_characters(processor: OnePeaceProcessor) -> None:
    assert processor.tokenizer.decode(processor.text_ids("<pad></s>")[:-1]) == " <pad></s>"


def test_word_starts(processor: OnePeaceProcessor) -> None:
    ids = processor(["A dog's it", "x"])["input_ids"]
    tokens = [processor.tokenizer.convert_ids_to_tokens(row) for row in ids.tolist()]
    starts = processor.word_starts(ids)
    expected = [["Ġa", "Ġdog", "Ġ", "</s>"], ["Ġ", "</s>"] + ["<pad>"] * (ids.shape[1] - 3)]
    for row, marked, wanted in zip(tokens, starts.tolist(), expected, strict=True):
        assert [t for t, m in zip(row, marked, strict=True) if m] == wanted
    within = ids[:, 1:]  # as if a text began in the middle of a word
    assert processor.word_starts(within)[:, 0].all()


# --- pictures ------------------------------------------------------------------------------


def test_every_kind_of_picture(processor: OnePeaceProcessor, tmp_path: Path) -> None:
    picture = Image.fromarray(noise(70, 40))
    path, stream = tmp_path / "a.png", io.BytesIO()
    picture.save(path)
    picture.save(stream, "PNG")
    url = "data:image/png;base64," + base64.b64encode(stream.getvalue()).decode()
    kinds = [picture, np.asarray(picture), path, str(path), stream.getvalue(), url]
    pixels = processor(images=kinds)["pixel_values"]
    assert pixels.shape == (6, 3, 48, 48)
    assert pixels.dtype == torch.float32
    assert all(torch.equal(pixels[0], other) for other in pixels[1:])
    assert torch.equal(processor(images=picture)["pixel_values"], pixels[:1])


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 90), st.integers(1, 90), st.integers(0, 255))
def test_a_plain_picture_stays_plain(width: int, height: int, grey: int) -> None:
    processor = OnePeaceProcessor(None, image_size=32)
    picture = Image.new("RGB", (width, height), (grey,) * 3)
    pixels = processor(images=picture)["pixel_values"][0]
    mean, std = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)
    for channel, m, s in zip(pixels, mean, std, strict=True):
        wanted = torch.full((32, 32), (grey / 255 - m) / s)
        torch.testing.assert_close(channel, wanted, atol=1e-5, rtol=0)


@settings(deadline=None, max_examples=40)
@given(st.data())
def test_boxes_come_back(data: st.DataObject) -> None:
    sizes = data.draw(st.lists(st.tuples(st.integers(1, 60), st.integers(1, 60)), min_size=1))
    unit = st.floats(0, 1, width=32)
    fractions = torch.tensor([data.draw(st.tuples(*[unit] * 4)) for _ in sizes])
    images = [Image.new("RGB", size) for size in sizes]
    processor = OnePeaceProcessor(None, image_size=32)
    boxes = processor.boxes_in_pixels(fractions, images)
    wide = torch.tensor([[w, h, w, h] for w, h in sizes])
    assert bool((boxes <= wide).all())
    targets = processor(images=images, boxes=boxes)["boxes"]
    torch.testing.assert_close(targets, fractions, atol=1e-5, rtol=1e-5)


# --- sound ---------------------------------------------------------------------------------


def test_every_kind_of_sound(processor: OnePeaceProcessor, tmp_path: Path) -> None:
    pcm = (tone(1.2) * 32767).astype(np.int16)
    path = tmp_path / "a.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(pcm.tobytes())
    url = "data:audio/wav;base64," + base64.b64encode(path.read_bytes()).decode()
    kinds = [pcm, (pcm, 16_000), path, str(path), path.read_bytes(), url]
    batch = processor(audio=kinds)
    assert batch["audio_values"].shape == (6, len(pcm))
    assert bool(batch["audio_mask"].all())
    assert all(torch.equal(batch["audio_values"][0], other) for other in batch["audio_values"])
    one = processor(audio=(pcm, 16_000))["audio_values"]
    assert torch.equal(one, batch["audio_values"][:1])


def test_another_rate_is_resampled(processor: OnePeaceProcessor) -> None:
    assert processor(audio=(tone(2.0), 32_000))["audio_values"].shape == (1, 16_000)


def test_normalised_before_it_is_cut() -> None:
    samples = np.concatenate([tone(2.0), np.zeros(16_000, np.float32)])
    clip = normalised_clip(samples, 32_000)
    whole = (samples - samples.mean()) / math.sqrt(samples.var() + 1e-5)
    torch.testing.assert_close(clip, torch.from_numpy(whole[:32_000]), atol=1e-4, rtol=1e-4)
    assert abs(float(clip.mean())) > 0.1  # what was cut counted in the mean


def test_short_clips_are_repeated() -> None:
    clip = normalised_clip(tone(0.3), 240_000)
    assert len(clip) == 16_000
    assert torch.equal(clip[4800:9600], clip[:4800])
    assert torch.equal(clip[14_400:], clip[:1600])
    assert normalised_clip(np.ones(1, np.float32), 240_000).tolist() == [0.0] * 16_000


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(200, 3000), min_size=1, max_size=4))
def test_batches_are_masked_to_the_frame(samples: list[int]) -> None:
    processor = OnePeaceProcessor(None, conv_layers=CONV)
    values, mask = batch_clips([torch.ones(n) for n in samples], processor.frames)
    assert values.shape == (len(samples), max(samples))
    for n, row, own in zip(samples, values, mask, strict=True):
        assert row.tolist() == [1.0] * n + [0.0] * (max(samples) - n)
        frames = stepped(n)
        assert own.tolist() == [1] * (frames + 1) + [0] * (stepped(max(samples)) - frames)


def stepped(samples: int) -> int:
    """Frames by laying windows one after the other."""
    for _, kernel, stride in CONV:
        samples = len(range(0, samples - kernel + 1, stride))
    return samples


# --- all together --------------------------------------------------------------------------


def test_what_it_makes_a_model_reads(tokenizer: PreTrainedTokenizerFast) -> None:
    text = {"vocab_size": len(tokenizer), "position_buckets": 8, "max_position_embeddings": 64}
    conv = [[8, 10, 5], [8, 4, 4], [8, 4, 4], [8, 4, 4]]  # 50 frames a second
    audio = {**tiny_config().audio_config.to_dict(), "conv_layers": conv}
    model = randomised(OnePeaceModel(tiny_config(text_config=text, audio_config=audio)))
    processor = OnePeaceProcessor.from_config(tokenizer, model.config)
    assert processor.image_size == 48
    sounds = [tone(1.5), tone(1.0)]
    batch = processor(text=["a dog", "a"], images=[noise(9, 5)] * 2, audio=sounds)
    both = model(**batch).embeddings
    assert set(both) == {"text", "image", "audio"}
    for name, source in (("text", "a"), ("audio", sounds[1])):  # padding changes nothing
        alone = model(**processor(**{name: source})).embeddings[name]
        torch.testing.assert_close(both[name][1:], alone, atol=1e-4, rtol=1e-4)


def test_saved_and_read_again(processor: OnePeaceProcessor, tmp_path: Path) -> None:
    processor.clean_text, processor.max_text_tokens = True, 9
    processor.save_pretrained(tmp_path)
    AutoProcessor.register(OnePeaceConfig, OnePeaceProcessor, exist_ok=True)
    for read in (
        OnePeaceProcessor.from_pretrained(tmp_path),
        AutoProcessor.from_pretrained(tmp_path),
    ):
        assert isinstance(read, OnePeaceProcessor)
        assert read.to_dict() == processor.to_dict()
        text = "..the  <s> dog's naïve house"
        assert read.text_ids(text) == processor.text_ids(text)
    plain = AutoTokenizer.from_pretrained(tmp_path)
    assert plain.encode(" dog </s>") == processor.text_ids("dog </s>")


def test_a_processor_without_a_tokenizer_is_saved(tmp_path: Path) -> None:
    OnePeaceProcessor(None, image_size=32, conv_layers=None).save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["processor_config.json"]
    read = OnePeaceProcessor.from_pretrained(tmp_path)
    assert (read.tokenizer, read.image_size, read.conv_layers) == (None, 32, None)


@pytest.mark.parametrize(
    ("inputs", "error", "says"),
    [
        ({}, ConversationError, "must be given"),
        ({"text": []}, ConversationError, "text must not be an empty list"),
        ({"audio": []}, ConversationError, "audio must not be an empty list"),
        ({"text": [3]}, ConversationError, "must be a str, but is int"),
        ({"text": "\ud800"}, ConversationError, "not valid Unicode"),
        ({"boxes": [[0, 0, 1, 1]]}, ConversationError, "no images"),
        ({"images": noise(4, 4), "boxes": [[0, 1]]}, ConversationError, r"must be \[1, 4\]"),
        ({"images": noise(4, 4), "boxes": [["a"] * 4]}, ConversationError, "must be numbers"),
        ({"images": noise(4, 4), "boxes": [[0, 0, math.nan, 1]]}, ConversationError, "finite"),
        ({"images": "nowhere.png"}, MediaNotFoundError, "nowhere.png"),
        ({"audio": "nowhere.wav"}, MediaNotFoundError, "nowhere.wav"),
    ],
)
def test_wrong_inputs(
    processor: OnePeaceProcessor, inputs: dict[str, object], error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        processor(**inputs)


@pytest.mark.parametrize("inputs", [{"text": "a"}, {"images": "x.png"}, {"audio": "x.wav"}])
def test_what_a_model_has_no_adapter_for(inputs: dict[str, str]) -> None:
    with pytest.raises(UnsupportedModalityError, match="no adapter for"):
        OnePeaceProcessor(None, image_size=None, conv_layers=None)(**inputs)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"image_size": 40}, "multiple of 16, but is 40"),
        ({"image_size": 0}, "multiple of 16"),
        ({"max_text_tokens": 0}, "at least 1"),
        ({"max_audio_seconds": 0.5}, "at least 1, but is 0.5"),
    ],
)
def test_wrong_settings(settings: dict[str, float], says: str) -> None:
    with pytest.raises(ModelConfigError, match=says):
        OnePeaceProcessor(None, **settings)


def test_a_tokenizer_that_does_not_fit(tokenizer: PreTrainedTokenizerFast) -> None:
    with pytest.raises(ModelConfigError, match="at most 40 entries"):
        OnePeaceProcessor.from_config(tokenizer, tiny_config())
    text = {"vocab_size": 300, "pad_token_id": 0}
    with pytest.raises(ModelConfigError, match="pad_token_id must be 0, but is 1"):
        OnePeaceProcessor.from_config(tokenizer, tiny_config(text_config=text))
    with pytest.raises(ModelConfigError, match="there is no tokenizer"):
        OnePeaceProcessor.from_config(None, tiny_config())
    with pytest.raises(ModelConfigError, match="a padding and an end token"):
        OnePeaceProcessor(PreTrainedTokenizerFast(tokenizer_object=tokenizer.backend_tokenizer))


def test_a_folder_without_a_processor(tmp_path: Path) -> None:
    with pytest.raises(ModelConfigError, match="no processor_config.json"):
        OnePeaceProcessor.from_pretrained(tmp_path)


def test_items_prepared_apart_are_the_batch(processor: OnePeaceProcessor) -> None:
    texts, pictures = ["a dog", "two red dogs bark"], [noise(30, 20), noise(64, 64)]
    clips = [(tone(1.2), 16_000), (tone(2.0), 16_000)]
    together = processor(text=texts, images=pictures, audio=clips)
    items = [
        processor.prepare(text=t, image=i, audio=a)
        for t, i, a in zip(texts, pictures, clips, strict=True)
    ]
    apart = processor.collate(items)
    assert apart.keys() == together.keys()
    assert all(torch.equal(apart[name], together[name]) for name in together)
    with pytest.raises(ConversationError, match="only 1 of 2 have samples"):
        processor.collate([items[0], processor.prepare(text="a", image=pictures[0])])
