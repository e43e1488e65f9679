"""The five fine-tuned classifiers: encodings, logits, losses."""

from typing import Any

import pytest
import torch
from golden import Golden, GoldenFile
from official_onepeace import inputs
from torch import Tensor

from unisono.models.onepeace.convert import from_official, task_of
from unisono.models.onepeace.heads import OnePeaceTaskOutput


@pytest.fixture(scope="module")
def io(golden: Golden) -> GoldenFile:
    return golden.file("onepeace_tiny_io")


@pytest.fixture
def classify(golden: Golden, io: GoldenFile) -> Any:
    def run(name: str, task: str, given: dict[str, Tensor]) -> OnePeaceTaskOutput:
        state = golden.file(f"onepeace_tiny_classify_{name}").under("")
        cfg = golden.facts("onepeace_tiny")[f"classify_{name}"]["cfg"]
        assert task_of(state, cfg) == task
        changes: dict[str, Any] = {"official_padding": True}
        if name == "vqa":
            head = from_official(state, cfg).config.head_config
            head.multi_label = True
            changes["head_config"] = head
        model = from_official(state, cfg, **changes)
        with torch.no_grad():
            out = model(**given)
        for modality, tokens in out.last_hidden_states.items():
            io.check(f"classify_{name}.encoder_{modality}", tokens, "onepeace")
        return out

    return run


def test_visual_question_answering(classify: Any, io: GoldenFile) -> None:
    target = io.read("classify_vqa.target")
    out = classify("vqa", "classification", {**inputs(io, "text", "image"), "labels": target})
    io.check("classify_vqa.logits", out.logits, "onepeace")
    io.check("classify_vqa.loss_bce_sum", out.loss[None] * len(target), "loss")


def test_grounding(classify: Any, io: GoldenFile) -> None:
    given = inputs(io, "text")
    given["pixel_values"] = io.read("classify_grounding.in.src_images")
    out = classify(
        "grounding", "grounding", {**given, "boxes": io.read("classify_grounding.target")}
    )
    io.check("classify_grounding.logits", out.logits, "onepeace")
    io.check("classify_grounding.coords", out.boxes, "normalised")
    io.check("classify_grounding.loss", out.loss[None], "loss")


def test_sound_classification(classify: Any, io: GoldenFile) -> None:
    target = io.read("classify_vggsound.target")
    out = classify("vggsound", "classification", {**inputs(io, "audio"), "labels": target})
    io.check("classify_vggsound.logits", out.logits, "onepeace")
    io.check("classify_vggsound.loss_ce_sum", out.loss[None] * len(target), "loss")


def test_ranking_answers_about_a_sound(classify: Any, io: GoldenFile) -> None:
    given = inputs(io, "audio")
    given["input_ids"] = io.read("in.al_src_tokens")[:, None]
    out = classify("aqa", "ranking", given)
    io.check("classify_aqa.logits", out.logits, "onepeace")


def test_two_images(classify: Any, io: GoldenFile) -> None:
    given = inputs(io, "text", "image")
    given["pixel_values_2"] = io.read("classify_nlvr2.in.src_images_2")
    out = classify("nlvr2", "classification", given)
    io.check("classify_nlvr2.logits", out.logits, "onepeace")
