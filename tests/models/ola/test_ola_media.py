"""Pictures, videos and sounds together: one batch, one packed pass, the same numbers."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import recordings
import tiny
import torch
from fakes import tone
from PIL import Image

from unisono.conversation import AudioPart, ImagePart, Message, Part, TextPart, VideoPart
from unisono.errors import UnsupportedModalityError
from unisono.models.ola import OlaForConditionalGeneration, OlaProcessor
from unisono.models.ola.encoders import _picture_slices
from unisono.models.ola.prompt import AudioSpan, ImageSpan, VideoSpan

ALL = {"speech": True, "sound": True, "vision": True}
LEVELS = (20, 90, 160, 230, 60, 130)


def picture(width: int = 90, height: int = 70, seed: int = 0) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def film(audio: str = "aac", **options: Any) -> bytes:
    return recordings.make_video(LEVELS, audio=audio, **options)


def asked(*parts: Part, text: str = "What is it?") -> list[Message]:
    texts = (TextPart(text=text),) if text else ()
    return [Message(role="user", content=(*parts, *texts))]


QUESTIONS = {
    "text": "hi",
    "image": asked(ImagePart(image=picture())),
    "images": asked(ImagePart(image=picture(40, 130, 1)), ImagePart(image=picture(65, 64, 2))),
    "video": asked(VideoPart(video=film())),
    "silent video": asked(VideoPart(video=film(audio=""))),
    "audio": asked(AudioPart(audio=tone(1.4))),
    "spoken question": asked(ImagePart(image=picture(seed=3)), AudioPart(audio=tone(0.5)), text=""),
}


@pytest.mark.parametrize("question", QUESTIONS)
def test_placeholders_are_as_many_as_features(question: str) -> None:
    model, processor = tiny.ola(**ALL)
    batch = processor(QUESTIONS[question])
    media = {k: v for k, v in batch.items() if k not in ("input_ids", "attention_mask")}
    features = model.encoders(**media)
    for kind in processor.config.placeholder_ids:
        assert int((batch["input_ids"] == kind).sum()) == len(features.get(kind, ()))
    assert bool(features) == (question != "text")


@torch.no_grad()
def test_a_mixed_batch_gives_what_each_would_alone() -> None:
    model, processor = tiny.ola(**ALL)
    batch = processor(list(QUESTIONS.values()))
    together = model(**batch).logits
    for row, question in zip(together, QUESTIONS.values(), strict=True):
        alone = model(**processor(question)).logits[0]
        torch.testing.assert_close(row[-len(alone) :], alone, atol=1e-4, rtol=1e-4)


def test_a_mixed_batch_generates_what_each_would_alone() -> None:
    model, processor = tiny.ola(**ALL)
    options = {"max_new_tokens": 6, "do_sample": False, "eos_token_id": -1}
    batch = processor(list(QUESTIONS.values()))
    together = model.generate(**batch, **options)[:, batch["input_ids"].shape[1] :]
    for row, question in zip(together, QUESTIONS.values(), strict=True):
        one = processor(question)
        alone = model.generate(**one, **options)[0, one["input_ids"].shape[1] :]
        assert row.tolist() == alone.tolist()
    assert len({tuple(row.tolist()) for row in together}) > 1, "the questions must matter"


def test_slices_without_gradients_equal_one_pass_with_them() -> None:
    model, processor = tiny.ola(**ALL)
    pictures = [ImagePart(image=picture(60 + 10 * i, 50, i)) for i in range(5)]
    batch = processor(asked(*pictures, AudioPart(audio=tone(6.5))))
    media = {k: v for k, v in batch.items() if k not in ("input_ids", "attention_mask")}
    whole = model.encoders(**media)
    with torch.no_grad(), pytest.MonkeyPatch.context() as patch:
        patch.setattr("unisono.models.ola.encoders._PATCHES_AT_ONCE", 40)
        sliced = model.encoders(**media)
    for kind, tokens in whole.items():
        torch.testing.assert_close(sliced[kind], tokens, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("sizes", [[5], [5, 6], [16_384, 1], [20_000, 3, 4], [8_000] * 7])
def test_slices_are_whole_pictures_and_bounded(sizes: list[int]) -> None:
    starts = [0, *np.cumsum(sizes).tolist()]
    slices = list(_picture_slices(starts))
    assert [i for one in slices for i in range(one.start, one.stop)] == list(range(len(sizes)))
    for one in slices:
        assert one.stop - one.start == 1 or sum(sizes[one]) <= 16_384


def test_a_video_has_frames_and_sound() -> None:
    _, processor = tiny.ola(**ALL)
    prompt = processor.prompt(QUESTIONS["video"])
    seen, heard = prompt.spans
    assert isinstance(seen, VideoSpan)
    assert isinstance(heard, AudioSpan)
    assert len(seen.pictures) == processor.config.video_frames
    assert seen.start + seen.length == heard.start, "side by side, the picture first"
    assert prompt.notices == ()


@pytest.mark.parametrize(
    ("kinds", "notices"), [(ALL, ("the video has no sound",)), ({"vision": True}, ())]
)
def test_a_video_without_sound_is_seen_and_that_is_said(
    kinds: dict[str, bool], notices: tuple[str, ...]
) -> None:
    _, processor = tiny.ola(**kinds)
    prompt = processor.prompt(QUESTIONS["silent video"])
    assert [type(span) for span in prompt.spans] == [VideoSpan]
    assert prompt.notices == notices


def test_the_sound_of_a_video_can_be_left_out() -> None:
    _, processor = tiny.ola(**ALL)
    prompt = processor.prompt(asked(VideoPart(video=film(), use_audio=False)))
    assert [type(span) for span in prompt.spans] == [VideoSpan]
    assert prompt.notices == ()


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP", "GIF"])
def test_picture_files(form: str, tmp_path: Path) -> None:
    _, processor = tiny.ola(**ALL)
    path = tmp_path / f"picture.{form.lower()}"
    picture().save(path)
    (span,) = processor.prompt(asked(ImagePart(image=str(path)))).spans
    assert isinstance(span, ImageSpan)
    low, high = span.pictures
    assert high.shape == (96, 96, 3)
    assert low.shape[0] * low.shape[1] <= 64 * 64


@pytest.mark.parametrize(
    ("form", "codec", "audio"),
    [
        ("mp4", "libx264", "aac"),
        ("webm", "libvpx-vp9", "libopus"),
        ("matroska", "libx264", "libopus"),
    ],
)
def test_video_files(form: str, codec: str, audio: str) -> None:
    _, processor = tiny.ola(**ALL)
    data = film(form=form, codec=codec, audio=audio)
    assert len(processor.prompt(asked(VideoPart(video=data))).spans) == 2


def test_pictures_need_a_vision_encoder() -> None:
    model, processor = tiny.ola(speech=True)
    with pytest.raises(UnsupportedModalityError, match="no vision encoder"):
        processor.prompt(QUESTIONS["image"])
    seeing, seeing_processor = tiny.ola(vision=True)
    with pytest.raises(UnsupportedModalityError, match="no vision encoder"):
        model(**seeing_processor(QUESTIONS["image"]))
    assert seeing.encoders.hearing is None


def test_gradients_flow_into_what_is_left_trainable() -> None:
    model, processor = tiny.ola(**ALL)
    model.requires_grad_(False)
    model.encoders.vision_connector.requires_grad_(True)
    batch = processor(QUESTIONS["images"])
    model(**batch, labels=batch["input_ids"].clamp(max=250)).loss.backward()
    trained = {n for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    wanted = {n for n, _ in model.named_parameters() if n.startswith("encoders.vision_connector")}
    assert trained == wanted


def test_checkpointing_gives_the_same_gradients() -> None:
    found = []
    for checkpointing in (False, True):
        model, processor = tiny.ola(**ALL)
        model.train()
        if checkpointing:
            model.activation_checkpointing_enable()
        batch = processor(asked(ImagePart(image=picture()), AudioPart(audio=tone(1.0))))
        model(**batch, labels=batch["input_ids"].clamp(max=250)).loss.backward()
        found.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    plain, checkpointed = found
    assert plain.keys() == checkpointed.keys()
    assert any(name.startswith("encoders.vision.") for name in plain)
    for name, gradient in plain.items():
        torch.testing.assert_close(checkpointed[name], gradient, atol=1e-6, rtol=1e-4)


@torch.no_grad()
def test_bfloat16_is_close() -> None:
    model, processor = tiny.ola(**ALL)
    batch = processor(asked(ImagePart(image=picture()), VideoPart(video=film())))
    exact = model(**batch).logits
    rough = model.to(torch.bfloat16)(**batch).logits.float()
    assert (rough - exact).abs().mean() < 0.03 * exact.abs().mean()


@torch.no_grad()
def test_a_saved_model_gives_the_same_logits(tmp_path: Path) -> None:
    model, processor = tiny.ola(**ALL)
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    question = QUESTIONS["video"]
    again = OlaForConditionalGeneration.from_pretrained(tmp_path).eval()
    batch = OlaProcessor.from_pretrained(tmp_path)(question)
    assert torch.equal(again(**batch).logits, model(**processor(question)).logits)


@pytest.mark.parametrize(
    "name", ["one pixel", "animated", "cmyk", "16 bit", "rotated", "one frame", "uneven times"]
)
def test_odd_media_are_read(name: str) -> None:
    _, processor = tiny.ola(**ALL)
    prompt = processor.prompt(asked(odd(name)))
    (span,) = [s for s in prompt.spans if isinstance(s, ImageSpan)]
    assert span.length > 3
    if name == "rotated":
        assert span.pictures[1].shape == (96, 64, 3), "upright"


def odd(name: str) -> Part:
    if name == "one frame":
        return VideoPart(video=recordings.make_video([100]))
    if name == "uneven times":
        return VideoPart(video=recordings.make_video(LEVELS, [0, 10, 300, 310, 2000, 2600]))
    buffer = io.BytesIO()
    if name == "one pixel":
        picture(1, 1).save(buffer, "PNG")
    elif name == "animated":
        frames = [picture(seed=seed).convert("P") for seed in range(3)]
        frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:])
    elif name == "cmyk":
        picture().convert("CMYK").save(buffer, "JPEG")
    elif name == "16 bit":
        Image.fromarray(np.full((40, 50), 40_000, dtype=np.uint16)).save(buffer, "PNG")
    else:
        exif = Image.Exif()
        exif[0x0112] = 6  # to be turned by a quarter
        picture(90, 60).save(buffer, "JPEG", exif=exif)
    return ImagePart(image=buffer.getvalue())
