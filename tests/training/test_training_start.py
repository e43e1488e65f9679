"""What a stage begins with: random weights, a folder, parts of others; and what it ends as."""

from pathlib import Path
from typing import Any

import olas
import pytest
import tiny
import torch
from torch import nn

import unisono
from unisono.errors import CheckpointError, RecipeError
from unisono.models.ola.lora import merge_adapter
from unisono.models.onepeace import OnePeaceForPretraining
from unisono.training.finish import is_done, mark_done, save_stage
from unisono.training.parts import part_of, parts_of
from unisono.training.recipe import LoraSettings, ModelSettings
from unisono.training.recipe_read import read_recipe
from unisono.training.start import Started, begin

OLA, ONEPEACE = (read_recipe(f"{name}/tiny").model for name in ("ola-7b", "onepeace-4b"))


def states_equal(one: nn.Module, other: nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def differing(one: nn.Module, other: nn.Module) -> set[str]:
    theirs = dict(other.named_parameters())
    return {part_of(n) for n, p in one.named_parameters() if not torch.equal(p, theirs[n])}


def changed(settings: ModelSettings, **fields: Any) -> ModelSettings:
    return settings.model_copy(update=fields)


@pytest.mark.parametrize("settings", [OLA, ONEPEACE])
def test_random_weights_follow_the_seed(settings: ModelSettings) -> None:
    first, again, other = (begin(settings, seed=seed).model for seed in (1, 1, 2))
    assert states_equal(first, again)
    assert not states_equal(first, other)
    assert first.training
    assert {p.dtype for p in first.parameters()} == {torch.float32}


@pytest.mark.parametrize("settings", [OLA, ONEPEACE])
def test_a_stage_begins_as_the_one_before_ended(settings: ModelSettings, tmp_path: Path) -> None:
    started = begin(settings)
    folder = save_stage(started.model, started.processor, tmp_path)
    next_one = begin(settings, folder=str(folder))
    assert states_equal(started.model, next_one.model)
    assert type(next_one.model) is type(started.model)
    assert next_one.processor.tokenizer.get_vocab() == started.processor.tokenizer.get_vocab()


def test_a_stage_may_change_the_config(tmp_path: Path) -> None:
    started = begin(ONEPEACE)
    folder = save_stage(started.model, started.processor, tmp_path)
    assert (
        begin(
            ONEPEACE, folder=str(folder), changes={"drop_path_rate": 0.3}
        ).model.config.drop_path_rate
        == 0.3
    )
    with pytest.raises(
        RecipeError, match="drop_path is no field of OnePeaceConfig; did you mean 'drop_path_rate'"
    ):
        begin(ONEPEACE, folder=str(folder), changes={"drop_path": 0.3})


def test_the_end_of_a_stage_is_a_model_to_load(tmp_path: Path) -> None:
    for name, settings in (("ola", OLA), ("onepeace", ONEPEACE)):
        started = begin(settings)
        folder = save_stage(started.model, started.processor, tmp_path / name)
        loaded = unisono.load(folder)
        if name == "onepeace":
            vectors = loaded.embed(text=["a dog", "a cat"])
            assert vectors.shape == (2, 32)
        else:
            assert isinstance(loaded.chat("Hello", max_new_tokens=2).text, str)


def test_lora_ends_merged_and_as_an_adapter(tmp_path: Path) -> None:
    settings = changed(OLA, lora=LoraSettings(rank=2, dropout=0.0))
    base = begin(OLA, seed=3)
    save_stage(base.model, base.processor, tmp_path / "base")
    start = begin(settings, folder=str(tmp_path / "base" / "model"))
    assert "lora" in parts_of(start.model)
    with torch.no_grad():
        for name, parameter in start.model.named_parameters():
            if part_of(name) == "lora":
                parameter.normal_(std=0.5)
    ids = torch.tensor([[65, 66, 67]])
    wanted = start.model.eval()(input_ids=ids).logits
    folder = save_stage(start.model, start.processor, tmp_path / "end")
    merged = begin(OLA, folder=str(folder)).model.eval()
    torch.testing.assert_close(merged(input_ids=ids).logits, wanted)
    assert differing(merged, base.model) == {"language_model"}
    by_adapter = merge_adapter(base.model, tmp_path / "end" / "adapter").eval()
    torch.testing.assert_close(by_adapter(input_ids=ids).logits, wanted)


def test_lora_targets_by_name() -> None:
    only = begin(changed(OLA, lora=LoraSettings(rank=2, targets=("q_proj",)))).model
    adapted = [name for name, _ in only.named_parameters() if "lora_A" in name]
    assert adapted
    assert all(".q_proj." in name and "language_model" in name for name in adapted)
    with pytest.raises(RecipeError, match="targets names query, but .* q_proj"):
        begin(changed(OLA, lora=LoraSettings(targets=("query",))))


def test_parts_come_from_folders_of_their_own(tmp_path: Path) -> None:
    donor: Any = begin(OLA, seed=5).model
    donor.language_model.save_pretrained(tmp_path / "lm")
    donor.encoders.vision.save_pretrained(tmp_path / "vision")
    parts = {"language_model": str(tmp_path / "lm"), "vision": str(tmp_path / "vision")}
    made = begin(changed(OLA, parts=parts), seed=6).model
    random = {"vision_connector", "speech_encoder", "sound_encoder", "audio_connector"}
    assert differing(made, donor) - {""} == random


def test_a_part_of_another_shape_is_refused(tmp_path: Path) -> None:
    model, _ = olas.ola(vision=True)
    model.encoders.vision.save_pretrained(tmp_path / "vision")
    wide = dict(
        OLA.config,
        vision_config={
            "model_type": "oryx_vit",
            "hidden_size": 32,
            "num_attention_heads": 2,
            "num_hidden_layers": 2,
            "intermediate_size": 24,
            "position_grid": 6,
        },
    )
    with pytest.raises(
        RecipeError, match=r"model.parts.vision .* does not fit: .*size mismatch"
    ) as caught:
        begin(changed(OLA, parts={"vision": str(tmp_path / "vision")}, config=wide))
    assert "\n" not in str(caught.value)


def test_new_parts_begin_at_random_and_others_must_be_there(tmp_path: Path) -> None:
    blind, processor = olas.ola()
    blind.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    vision = {
        "vision_config": OLA.config["vision_config"],
        "picture_sizes": OLA.config["picture_sizes"],
    }
    settings = ModelSettings(
        family="ola", source=str(tmp_path), config=vision, new_parts=("vision", "vision_connector")
    )
    seeing = begin(settings).model
    assert set(parts_of(seeing)) == {"vision", "vision_connector", "language_model"}
    for name, parameter in blind.named_parameters():
        assert torch.equal(parameter, seeing.get_parameter(name))
    with pytest.raises(
        RecipeError, match="no weights for vision_connector: name them in model.new_parts"
    ):
        begin(changed(settings, new_parts=("vision",)))
    with pytest.raises(RecipeError, match="new_parts names eyes, but the model's parts are"):
        begin(changed(settings, new_parts=("eyes",)))


def test_a_retrieval_model_gets_a_new_decoder(tmp_path: Path) -> None:
    model, processor = tiny.onepeace()
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    settings = ModelSettings(family="onepeace", source=str(tmp_path), new_parts=("decoder",))
    started: Started = begin(settings)
    assert isinstance(started.model, OnePeaceForPretraining)
    assert states_equal(started.model.onepeace, model)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"tokenizer": None}, "model.tokenizer must be given"),
        ({"tokenizer": "./nowhere"}, "no tokenizer can be read from './nowhere'"),
        ({"source": "./nowhere/at/all"}, "model.source './nowhere/at/all' must be a folder"),
        ({"parts": {"vision": "./nowhere"}}, "model.parts.vision: no weights can be read"),
        ({"parts": {"ears": "x"}}, "model.parts names ears, but"),
        ({"config": {"visoin_config": {}}}, "model.config.visoin_config is no field of OlaConfig; did you mean 'vision_config'"),  # noqa: E501
        ({"config": {"text_config": {"model_type": "nonesuch"}}}, "'nonesuch' is no model that transformers knows"),  # noqa: E501
        ({"config": {"text_config": {"hiden_size": 3}}}, "text_config.hiden_size is no field .* 'hidden_size'"),  # noqa: E501
        ({"config": dict(OLA.config, audio_stack=7)}, "audio_frames_per_chunk must be a multiple of audio_stack"),  # noqa: E501
        ({"config": dict(OLA.config, vision_pool=3)}, "lowres_unit must be a multiple|vision_pool must be"),  # noqa: E501
        ({"config": dict(OLA.config, video_frames="many")}, "video_frames"),
    ],
)  # fmt: skip
def test_wrong_models_are_one_clear_line(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        begin(changed(OLA, **fields))
    assert "\n" not in str(caught.value)


def test_a_finished_stage_knows_what_it_was(tmp_path: Path) -> None:
    recipe = read_recipe("ola-7b/tiny")
    stage = recipe.stages[0]
    assert not is_done(tmp_path, recipe, stage)
    mark_done(tmp_path, recipe, stage)
    assert is_done(tmp_path, recipe, stage)
    other = read_recipe("ola-7b/tiny", ["stages.1_1.optimizer.lr=1e-5"])
    with pytest.raises(
        CheckpointError, match=r"other settings: optimizer.lr was 0.001, is 1e-05.*--fresh"
    ):
        is_done(tmp_path, other, other.stages[0])
    (tmp_path / "done.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"done.json' cannot be read"):
        is_done(tmp_path, recipe, stage)


def test_a_stage_is_written_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = begin(OLA)
    save_stage(started.model, started.processor, tmp_path)
    before = sorted((tmp_path / "model").iterdir())

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(type(started.processor), "save_pretrained", full)
    with pytest.raises(CheckpointError, match="No space left on device"):
        save_stage(started.model, started.processor, tmp_path)
    assert sorted((tmp_path / "model").iterdir()) == before
    assert not list(tmp_path.glob("*.partial"))
