"""Pretraining: masked encoding, the decoder, both stages' losses and gradients."""

import pytest
import torch
from golden import Golden, GoldenFile
from official_onepeace import inputs, masks, norms, pretraining_model
from torch import Tensor

from unisono.models.onepeace import AUDIO_LANGUAGE, VISION_LANGUAGE, OnePeaceForPretraining
from unisono.models.onepeace.convert_keys import to_ours

STAGES = {
    "vl": (VISION_LANGUAGE, "itc", "i2t", "t2i", "grad_norms_image_text"),
    "al": (AUDIO_LANGUAGE, "atc", "a2t", "t2a", "grad_norms_audio_text_stage2_frozen"),
}


@pytest.fixture(scope="module")
def io(golden: Golden) -> GoldenFile:
    return golden.file("onepeace_tiny_io")


@pytest.fixture(scope="module")
def model(golden: Golden) -> OnePeaceForPretraining:
    return pretraining_model(golden)


def stage_inputs(io: GoldenFile, stage: str) -> dict[str, Tensor]:
    given = inputs(io, *STAGES[stage][0].pair)
    if stage == "al":
        given["input_ids"] = io.read("in.al_src_tokens")
    return given


@pytest.mark.parametrize(
    ("stage", "case"),
    [("vl", "text"), ("vl", "image"), ("vl", "vl"), ("al", "audio"), ("al", "al")],
)
def test_masked_encoding_and_decoding(
    model: OnePeaceForPretraining, io: GoldenFile, stage: str, case: str
) -> None:
    pair, start = STAGES[stage][0].pair, f"pretrain_{stage}."
    given, chosen = stage_inputs(io, stage), masks(io, f"{start}in.", stage)
    names = set(pair) if case == stage else {case}
    prefix = "joint_" if case == stage else ""
    with torch.no_grad():
        decoded = model.decode(names, {m: chosen[prefix + m] for m in names}, given)
        for m in names:
            io.check(f"{start}{case}.enc_{m}", decoded.visible[m], "onepeace")
            io.check(f"{start}{case}.dec_{m}_before_head", decoded.decoded[m], "onepeace")
            heads = model.decoder.heads[m](decoded.decoded[m])
            io.check(f"{start}{case}.dec_{m}", heads, "onepeace")


def test_teachers(model: OnePeaceForPretraining, io: GoldenFile) -> None:
    with torch.no_grad():
        for m in ("text", "image"):
            alone = model.onepeace(**inputs(io, m)).last_hidden_states
            io.check(f"pretrain_vl.teacher_{m}", alone[m], "onepeace")
        for stage, (settings, *_) in STAGES.items():
            given = stage_inputs(io, stage)
            joint = model.onepeace(joint=True, **given).last_hidden_states
            for m in settings.pair:
                io.check(f"pretrain_{stage}.teacher_{stage}_{m}", joint[m], "onepeace")


@pytest.mark.parametrize("name", ["vl", "al"])
def test_losses_and_gradients(golden: Golden, io: GoldenFile, name: str) -> None:
    stage, contrast, there, back, norm_key = STAGES[name]
    start = f"pretrain_{name}.loss."
    model = pretraining_model(golden)
    model.set_trainable(stage)
    out = model(
        stage=stage, masks=masks(io, f"pretrain_{name}.in.", name), **stage_inputs(io, name)
    )
    out.loss.backward()

    def loss(term: str, value: Tensor) -> None:
        io.check(start + term, value[None], "loss")

    loss("loss", out.loss)
    loss(f"{contrast}_loss", out.losses.pop("contrast"))
    for term, value in out.losses.items():
        loss(f"dcl_{term.replace('joint', name)}_loss", value)
    io.check(f"{start}logit_scale_exp", out.logit_scale[None], "onepeace")
    other = next(m for m in stage.pair if m != "text")
    for key, asked in ((there, other), (back, "text")):
        stored = io.read(f"{start}{key}_ncorrect")
        assert int(stored) == int(out.correct[asked])

    ours = to_ours(golden.facts("onepeace_tiny")[norm_key])
    found = {n.removeprefix("onepeace."): p for n, p in model.named_parameters()}
    for key in [n for n in io.names if n.startswith(f"{start}grad.")]:
        parameter = found[to_ours([key.removeprefix(f"{start}grad.")]).popitem()[1]]
        assert parameter.grad is not None
        io.check_gradient(key, parameter.grad)
    measured = {n.removeprefix("onepeace."): v for n, v in norms(model).items()}
    for official, expected in golden.facts("onepeace_tiny")[norm_key].items():
        if official not in ours:
            assert expected is None, f"{official} has a gradient but no name of ours"
        elif expected is None:
            assert not measured[ours[official]], official
        else:
            assert measured[ours[official]] == pytest.approx(expected, rel=1e-4), official
