"""The whole model in inference: prompts, embeddings, logits and greedy answers."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
import torch
from golden import STREAMED, Golden, GoldenFile
from official_ola import IMAGE, SPEECH, Ola, collapsed
from PIL import Image
from transformers import BatchFeature

from unisono.conversation import AudioPart, ImagePart, Message, Part, TextPart
from unisono.models.ola.prompt import AudioSpan, MediaSpan, Prompt, VideoSpan

CASES = {
    "text_only": "",
    "image_text": "image",
    "video_audio_text": "video short",
    "video_audio_text_infer_literal": "first_frame short",
    "audio_text": "long",
    "image_speech_question": "image short",
}
"""Case -> its media. `first_frame`: all that the official inference script shows of a video."""


@pytest.fixture(scope="module")
def io(golden: Golden) -> GoldenFile:
    return golden.file("ola_tiny_io")


def user_text(prompt: str) -> str:
    """What the user writes in an official prompt."""
    said = prompt.split("<|im_start|>user\n")[1].partition("<|im_end|>")[0]
    for marker in ("<speech>", "<image>", "User's question in speech: "):
        said = said.replace(marker, "")
    return said.strip()


def prompt_of(ola: Ola, golden: Golden, case: str) -> Prompt:
    """Our prompt for an official case."""
    facts = golden.facts("ola_tiny")["cases"][case]
    media, text = CASES[case].split(), user_text(facts["prompt"])
    if "video" in media or "first_frame" in media:
        return with_video(ola, text, first_frame_only="first_frame" in media)
    parts: list[Part] = []
    for name in media:
        if name == "image":
            parts.append(ImagePart(image=image_of(ola, facts, media)))
        else:
            parts.append(AudioPart(audio=ola.sound(name)))
    parts += [TextPart(text=text)] if text else []
    return ola.processor.prompt([Message(role="user", content=tuple(parts))])


def image_of(ola: Ola, facts: Mapping[str, Any], media: list[str]) -> Image.Image:
    """The picture of a case: the fixtures do not name it, but its tokens can be counted."""
    others = [ola.processor.opener().open(AudioPart(audio=ola.sound(m))) for m in media[1:]]
    elsewhere = sum(span.length for opened in others for span in opened.spans)
    length = facts["n_embeds"] - (facts["n_input_ids"] - len(media)) - elsewhere
    return ola.image_of_length(length)


def with_video(ola: Ola, text: str, *, first_frame_only: bool = False) -> Prompt:
    """A prompt about the stored frames and the short clip: they are in no container."""
    frames = ola.video_span(first_frame_only=first_frame_only)
    (sound,) = ola.processor.opener().open(AudioPart(audio=ola.sound("short"))).spans
    plain = ola.processor.prompt(f"\n{text}")
    start = text_start(ola, plain)
    _, audio, video = ola.model.config.placeholder_ids
    ids = [*plain.ids[:start], *[video] * frames.length, *[audio] * sound.length]
    spans = (replace(frames, start=start), replace(sound, start=start + frames.length))
    return Prompt((*ids, *plain.ids[start:]), spans)


def text_start(ola: Ola, prompt: Prompt) -> int:
    """Where the user's text begins."""
    opening = ola.processor.tokenizer.encode("user\n")
    ids = list(prompt.ids)
    return next(i + len(opening) for i in range(len(ids)) if ids[i : i + len(opening)] == opening)


@torch.no_grad()
@pytest.mark.parametrize("case", CASES)
def test_prompt_embeddings_and_logits(ola: Ola, io: GoldenFile, golden: Golden, case: str) -> None:
    prompt = prompt_of(ola, golden, case)
    official = io.read(f"case.{case}.input_ids")[0].tolist()
    assert collapsed(prompt) == [None if token in (SPEECH, IMAGE) else token for token in official]
    quantity = STREAMED if any(isinstance(s, AudioSpan) for s in prompt.spans) else "default"
    batch = ola.processor.collate([prompt])
    embeddings = ola.embed(batch)
    io.check(f"case.{case}.inputs_embeds", embeddings, quantity)
    logits = ola.model(**batch).logits
    io.check(f"case.{case}.logits", logits, quantity)
    if f"case.{case}.image_tokens" in io:
        (tokens,) = (embeddings[:, s.start : s.start + s.length] for s in prompt.spans)
        io.check(f"case.{case}.image_tokens", tokens)


@torch.no_grad()
@pytest.mark.parametrize("case", CASES)
def test_greedy_answers(ola: Ola, io: GoldenFile, golden: Golden, case: str) -> None:
    expected = io.read(f"case.{case}.greedy12")
    batch: BatchFeature = ola.processor.collate([prompt_of(ola, golden, case)])
    ola.model.generation_config.eos_token_id = None  # the reference stops at no token
    written = ola.model.generate(**batch, max_new_tokens=expected.shape[1], do_sample=False)
    io.check(f"case.{case}.greedy12", written[:, batch["input_ids"].shape[1] :], "exact")


def test_a_text_alone_costs_what_the_language_model_costs(ola: Ola, golden: Golden) -> None:
    batch = ola.processor.collate([prompt_of(ola, golden, "text_only")])
    assert set(batch) == {"input_ids", "attention_mask"}
    with torch.no_grad():
        assert ola.model(**batch).logits.equal(ola.model.language_model(**batch).logits)


def spans_of(prompt: Prompt, kind: type[MediaSpan]) -> Sequence[MediaSpan]:
    return [span for span in prompt.spans if isinstance(span, kind)]


def test_the_literal_case_shows_one_frame(ola: Ola, golden: Golden) -> None:
    (all_frames,) = spans_of(prompt_of(ola, golden, "video_audio_text"), VideoSpan)
    (first,) = spans_of(prompt_of(ola, golden, "video_audio_text_infer_literal"), VideoSpan)
    assert len(first.arrays()) == 1 < len(all_frames.arrays())
