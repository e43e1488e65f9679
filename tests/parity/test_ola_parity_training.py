"""The whole model in training: ids, labels, losses and gradients."""

import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
import torch
from golden import STREAMED, Golden, GoldenFile
from official_ola import IMAGE, SPEECH, Ola, collapsed, official_name
from torch import Tensor
from transformers import BatchFeature

from unisono.conversation import AudioPart, ImagePart, Message, Part, TextPart
from unisono.models.ola.prompt import ImageSpan, Prompt, VideoSpan
from unisono.models.ola.supervision import IGNORED

MEDIA = {
    "image": ("image",),
    "video_audio": ("video", "short"),
    "audio": ("short",),
    "text": (),
}
"""Sample -> its media."""


@pytest.fixture(scope="module")
def io(golden: Golden) -> GoldenFile:
    return golden.file("ola_tiny_io")


@pytest.fixture
def training_ola(ola: Ola) -> Ola:
    """The model with everything trainable but its encoders, and Ola's prompts of training."""
    config = ola.processor.config
    form = config.prompt_form
    config.prompt_form = "training"
    ola.model.requires_grad_(True)
    ola.model.encoders.vision.requires_grad_(False)
    ola.model.encoders.hearing.requires_grad_(False)
    yield ola
    config.prompt_form = form
    ola.model.zero_grad(set_to_none=True)


def conversation(ola: Ola, official_ids: Sequence[int], media: Sequence[str]) -> list[Message]:
    """The conversation behind official ids; a video is given as its first frame."""
    text = ola.processor.tokenizer.decode([t for t in official_ids if t >= 0])
    messages = []
    for role, said in re.findall(r"<\|im_start\|>(\w+)\n(.*?)<\|im_end\|>", text, re.DOTALL):
        parts: list[Part] = [TextPart(text=said.lstrip("\n"))]
        if role == "user":
            parts = [part_of(ola, name) for name in media] + parts
        messages.append(Message(role=role, content=tuple(parts)))
    return messages


def part_of(ola: Ola, name: str) -> Part:
    if name in ("image", "video"):
        return ImagePart(image=ola.raw_image(0))
    return AudioPart(audio=ola.sound(name))


def example(ola: Ola, io: GoldenFile, sample: str) -> tuple[Prompt, tuple[int, ...]]:
    official = io.read(f"train.{sample}.input_ids")[0].tolist()
    said = conversation(ola, official, MEDIA[sample])
    prompt, labels = ola.processor.example(said, supervision="answers and controls")
    if "video" in MEDIA[sample]:
        return with_video_for_image(ola, prompt, labels)
    return prompt, labels


def with_video_for_image(
    ola: Ola, prompt: Prompt, labels: tuple[int, ...]
) -> tuple[Prompt, tuple[int, ...]]:
    """Put the stored frames, which are in no container, where the picture is."""
    (old,) = (span for span in prompt.spans if isinstance(span, ImageSpan))
    new = replace(ola.video_span(), start=old.start)
    assert isinstance(new, VideoSpan)
    end, more = old.start + old.length, new.length - old.length
    _, _, video = ola.model.config.placeholder_ids
    ids = (*prompt.ids[: old.start], *[video] * new.length, *prompt.ids[end:])
    spans = tuple(
        new if span is old else replace(span, start=span.start + more * (span.start > old.start))
        for span in prompt.spans
    )
    return Prompt(ids, spans), (*labels[: old.start], *[IGNORED] * new.length, *labels[end:])


def batch_of(ola: Ola, examples: Sequence[tuple[Prompt, tuple[int, ...]]]) -> BatchFeature:
    prompts, labels = zip(*examples, strict=True)
    return ola.processor.collate(prompts, labels=labels, padding_side="right")


@pytest.mark.parametrize("sample", MEDIA)
def test_ids_and_labels(training_ola: Ola, io: GoldenFile, sample: str) -> None:
    prompt, labels = example(training_ola, io, sample)
    official = io.read(f"train.{sample}.input_ids")[0].tolist()
    assert collapsed(prompt) == [None if token in (SPEECH, IMAGE) else token for token in official]
    io.check(f"train.{sample}.labels", torch.tensor([collapsed_labels(prompt, labels)]), "exact")
    assert io.read(f"train.{sample}.attention_mask").all()


def collapsed_labels(prompt: Prompt, labels: Sequence[int]) -> list[int]:
    """One label a medium."""
    inside = {i for s in prompt.spans for i in range(s.start + 1, s.start + s.length)}
    return [label for index, label in enumerate(labels) if index not in inside]


def test_a_batch_is_made_of_the_samples(io: GoldenFile) -> None:
    ids, mask = io.read("train.batch4.input_ids"), io.read("train.batch4.attention_mask")
    labels = io.read("train.batch4.labels")
    for row, sample in enumerate(MEDIA):
        length = io.read(f"train.{sample}.input_ids").shape[1]
        assert ids[row, :length].equal(io.read(f"train.{sample}.input_ids")[0])
        assert labels[row, :length].equal(io.read(f"train.{sample}.labels")[0])
        assert mask[row].sum() == length


@pytest.mark.parametrize("name", [*MEDIA, "batch4"])
def test_loss_and_gradients(training_ola: Ola, io: GoldenFile, golden: Golden, name: str) -> None:
    samples = list(MEDIA) if name == "batch4" else [name]
    batch = batch_of(training_ola, [example(training_ola, io, one) for one in samples])
    io.check(f"train.{name}.merged_labels", batch["labels"], "exact")
    io.check(f"train.{name}.merged_attention_mask", batch["attention_mask"].long(), "exact")
    output = training_ola.model(**batch)
    output.loss.backward()
    io.check(f"train.{name}.loss", output.loss[None], "loss")
    quantity = STREAMED if any("short" in MEDIA[one] for one in samples) else "default"
    io.check(f"train.{name}.supervised_logits", supervised(output.logits, batch), quantity)
    found = gradients(training_ola)
    prefix = f"train.{name}.grad."
    for key in (n.removeprefix(prefix) for n in io.names if n.startswith(prefix)):
        io.check_gradient(prefix + key, found.get(key, torch.zeros_like(io.read(prefix + key))))
    norms = golden.facts("ola_tiny")["train"][name]["grad_norms"]
    check_norms(found, norms)


def supervised(logits: Tensor, batch: BatchFeature) -> Tensor:
    """[supervised tokens, V]: the logits that predict a label."""
    return logits[:, :-1][batch["labels"][:, 1:] != IGNORED]


def gradients(ola: Ola) -> dict[str, Tensor]:
    """The gradients by official key."""
    return {
        official_name(name): parameter.grad
        for name, parameter in ola.model.named_parameters()
        if parameter.grad is not None
    }


def check_norms(found: dict[str, Tensor], norms: dict[str, float | None]) -> None:
    for key, norm in norms.items():
        if norm is None:
            assert key not in found, key
        else:
            actual = float(found[key].norm()) if key in found else 0.0
            assert actual == pytest.approx(norm, rel=1e-4, abs=1e-7), key
    assert found.keys() <= norms.keys()
