"""A stage trains exactly the parts it names; every parameter is of one part."""

import numpy as np
import olas
import pytest
import tiny
import torch
from peft import LoraConfig, get_peft_model
from PIL import Image
from torch import nn

from unisono.errors import RecipeError
from unisono.manifests.row import PairRow, Row
from unisono.models.ola.lora import lora_targets
from unisono.models.onepeace import AUDIO_LANGUAGE, VISION_LANGUAGE, OnePeaceForPretraining
from unisono.training import goals
from unisono.training.objectives.connector_ctc import ConnectorCtc, occurring_tokens
from unisono.training.objectives.next_token import NextToken
from unisono.training.objectives.onepeace import OnePeaceContrast
from unisono.training.parts import depth_finder, part_of, parts_of, set_trainable

FULL = {"vision": True, "speech": True, "sound": True}
OLA_PARTS = {
    *("vision", "vision_connector", "speech_encoder", "sound_encoder", "audio_connector"),
    "language_model",
}
EVERYTHING = ("text", "image", "audio", "attention", "decoder", "logit_scale")


def pretraining() -> OnePeaceForPretraining:
    torch.manual_seed(0)
    return OnePeaceForPretraining(tiny.onepeace()[0].config).train()


def adapted() -> nn.Module:
    model, _ = olas.ola(**FULL)
    return get_peft_model(model, LoraConfig(r=2, target_modules=lora_targets(model)))


def changed_by_a_step(model: nn.Module, objective: object, rows: list[Row]) -> set[str]:
    """The parameters that one step of plain gradient descent changes."""
    inputs, _ = objective.collate([objective.prepare(row) for row in rows])
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    trained = [p for p in model.parameters() if p.requires_grad]
    objective.loss(model, inputs, draw=0).loss.backward()
    torch.optim.SGD(trained, lr=1.0).step()
    return {name for name, p in model.named_parameters() if not torch.equal(p, before[name])}


def pairs() -> list[Row]:
    draws = np.random.default_rng(0)
    pixels = draws.integers(0, 255, (4, 48, 48, 3), dtype=np.uint8)
    sounds = draws.uniform(-0.5, 0.5, (4, 17_000)).astype(np.float32)
    words = ("one cat", "a dog barks", "rain on a roof", "bells")
    return [
        PairRow(str(i), text=w, image=Image.fromarray(pixels[i]), audio=(sounds[i], 16_000))
        for i, w in enumerate(words)
    ]


def test_parts_of_ola() -> None:
    model, _ = olas.ola(**FULL)
    assert parts_of(model).keys() == OLA_PARTS
    assert parts_of(adapted()).keys() == OLA_PARTS | {"lora"}
    of_none = {name for name, _ in model.named_parameters() if not part_of(name)}
    assert of_none == {"encoders.hearing.speech.embed_positions.weight"}


def test_parts_of_onepeace() -> None:
    model = pretraining()
    assert set(parts_of(model)) == set(EVERYTHING)
    assert sum(parts_of(model).values()) == sum(p.numel() for p in model.parameters())


def test_names_are_known_in_wrappers() -> None:
    name = "encoders.vision_connector.begin"
    for wrapped in (
        f"module.{name}",
        f"base_model.model.{name}",
        f"_orig_mod.module.{name}",
        f"model.{name}",
        f"module.model.base_model.model.{name}",
    ):
        assert part_of(wrapped) == "vision_connector"
    assert (
        part_of("base_model.model.language_model.model.layers.0.q_proj.base_layer.weight")
        == "language_model"
    )
    assert part_of("module.log_scale") == part_of("blank.weight") == "alignment"


@pytest.mark.parametrize("stage", [VISION_LANGUAGE, AUDIO_LANGUAGE])
def test_as_the_model_itself_freezes(stage: object) -> None:
    model = pretraining()
    model.set_trainable(stage)
    wanted = {name for name, p in model.named_parameters() if p.requires_grad}
    names = EVERYTHING if stage is VISION_LANGUAGE else ("audio", "decoder", "logit_scale")
    set_trainable(model, names)
    assert {name for name, p in model.named_parameters() if p.requires_grad} == wanted


@pytest.mark.parametrize(
    "trainable",
    [
        ("vision_connector",),
        ("vision_connector", "vision", "language_model"),
        ("audio_connector",),
        ("vision_connector", "audio_connector", "language_model"),
        ("speech_encoder",),
        ("sound_encoder", "vision"),
    ],
)
def test_a_step_of_ola_changes_what_is_named(trainable: tuple[str, ...]) -> None:
    model, processor = olas.ola(**FULL)
    set_trainable(model, trainable)
    changed = changed_by_a_step(model, NextToken(processor, goals.NextToken()), olas.rows())
    assert {part_of(name) for name in changed} == set(trainable)


@pytest.mark.parametrize("trainable", [("lora",), ("lora", "audio_connector")])
def test_a_step_of_an_adapter(trainable: tuple[str, ...]) -> None:
    model = adapted()
    _, processor = olas.ola(**FULL)
    set_trainable(model, trainable)
    changed = changed_by_a_step(model, NextToken(processor, goals.NextToken()), olas.rows())
    assert {part_of(name) for name in changed} == set(trainable)


def test_a_step_of_alignment() -> None:
    model, processor = olas.ola(speech=True)
    rows: list[Row] = [PairRow("0", text="ab", audio=pairs()[0].audio)]
    objective = ConnectorCtc(processor, goals.ConnectorCtc(), occurring_tokens(rows, processor))
    wrapped = objective.wrap(model)
    set_trainable(wrapped, ("audio_connector", "alignment"))
    changed = changed_by_a_step(wrapped, objective, rows)
    assert {part_of(name) for name in changed} == {"audio_connector", "alignment"}


@pytest.mark.parametrize(
    ("stage", "trainable"),
    [
        ("vision_language", ("text", "image", "attention", "decoder", "logit_scale")),
        ("audio_language", ("audio", "decoder", "logit_scale")),
        ("audio_language", ("audio",)),
    ],
)
def test_a_step_of_onepeace_changes_what_is_named(stage: str, trainable: tuple[str, ...]) -> None:
    model, (_, processor) = pretraining(), tiny.onepeace()
    set_trainable(model, trainable)
    objective = OnePeaceContrast(processor, goals.Contrastive(stage=stage))
    changed = changed_by_a_step(model, objective, pairs())
    assert {part_of(name) for name in changed} == set(trainable)


def test_an_unknown_part_is_refused() -> None:
    model, _ = olas.ola(vision=True)
    with pytest.raises(
        RecipeError,
        match="trainable of stage 3.1 names audio_connector, but the .* vision, vision_connector, language_model",  # noqa: E501
    ):
        set_trainable(model, ["audio_connector"], stage="3.1")


def test_depths() -> None:
    depth = depth_finder(pretraining())
    assert depth("onepeace.encoder.layers.1.ffn.text.norm.weight") == (2, 4)
    assert depth("module.onepeace.encoder.layers.0.attention_norm.weight") == (1, 4)
    assert depth("onepeace.adapters.audio.stem.layers.1.norm.weight") == (0, 4)
    assert depth("onepeace.adapters.image.stem.norm2.weight") == (0, 4)
    assert depth("onepeace.encoder.norms.text.weight") == (3, 4)
    assert depth("onepeace.projections.text.weight") == (3, 4)
    assert depth("decoder.heads.text.weight") == (3, 4)
    ola = depth_finder(olas.ola(**FULL)[0])
    assert ola("language_model.model.embed_tokens.weight") == (0, 4)
    assert ola("language_model.lm_head.weight") == (3, 4)
    assert ola("encoders.vision.layers.1.mlp.fc1.weight") == (2, 4)
    assert ola("encoders.vision_connector.linear1.weight") is None
