"""What is shipped of a run answers, hears, sees and embeds as the run's own model does."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shipped_nano
import tiny
import torch
from fakes import tone
from peft import LoraConfig, PeftModel, get_peft_model
from PIL import Image
from safetensors.torch import load_file

import unisono
from unisono.engines.adapter_file import read_adapter
from unisono.errors import CheckpointError
from unisono.models.ola import OlaForConditionalGeneration, OlaProcessor
from unisono.models.ola.lora import lora_targets
from unisono.models.onepeace import OnePeaceForPretraining
from unisono.training import ship as shipping
from unisono.training.finish import mark_done, save_stage
from unisono.training.recipe import Recipe
from unisono.training.recipe_read import read_recipe
from unisono.training.recipe_yaml import written
from unisono.training.ship import ship

pytestmark = pytest.mark.usefixtures("one_thread")

PICTURE = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8))
QUESTION: list[dict[str, Any]] = [
    {
        "role": "user",
        "content": [
            {"type": "image", "image": PICTURE},
            {"type": "audio", "audio": tone(0.8)},
            {"type": "text", "text": "?"},
        ],
    }
]
ATOL = 3e-2


@pytest.fixture(scope="module")
def one_thread() -> Any:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def _write_recipe(run: Path, *stages: str, **changes: Any) -> Recipe:
    """One of LoRA, with stages of these names."""
    recipe = read_recipe("finetune/ola-lora-tiny", [f"out={run}"])
    first = recipe.stages[0].model_copy(update={"trainable": ("lora", "audio_connector")})
    copies = tuple(first.model_copy(update={"name": name, **changes}) for name in stages)
    recipe = recipe.model_copy(update={"stages": copies})
    run.mkdir(parents=True, exist_ok=True)
    (run / "recipe.yaml").write_text(written(recipe.model_dump(mode="json")))
    return recipe


def _save(model: Any, processor: Any, stage: Path) -> None:
    """As at the end of a stage."""
    save_stage(model, processor, stage)
    recipe = read_recipe(stage.parent.parent / "recipe.yaml")
    mark_done(stage, recipe, next(one for one in recipe.stages if one.name == stage.name))


def _train(model: OlaForConditionalGeneration, stage: Path, seed: int, **changes: Any) -> Any:
    """What a stage with an adapter leaves; the model with the adapter merged."""
    torch.manual_seed(seed)
    settings = {"r": 4, "lora_alpha": 8, "target_modules": lora_targets(model), **changes}
    adapted = get_peft_model(model, LoraConfig(**settings))
    with torch.no_grad():
        for name, parameter in adapted.named_parameters():
            if ".lora_" in name:
                parameter.normal_(std=0.1)
            elif "audio_connector" in name:
                parameter.add_(torch.randn_like(parameter), alpha=0.05)
    _save(adapted, OlaProcessor(tiny.byte_tokenizer(), model.config), stage)
    return OlaForConditionalGeneration.from_pretrained(stage / "model").eval()


@pytest.fixture
def base() -> OlaForConditionalGeneration:
    return tiny.ola(speech=True, sound=True, vision=True)[0]


@pytest.fixture
def run(base: OlaForConditionalGeneration, tmp_path: Path) -> tuple[Path, Any]:
    """A run of two stages, the second with fewer layers adapted and another rank."""
    folder = tmp_path / "run"
    _write_recipe(folder, "one", "two")
    between = _train(base_copy(base), folder / "stages" / "one", 1)
    targets = [name for name in lora_targets(between) if name.endswith(("q_proj", "up_proj"))]
    last = _train(between, folder / "stages" / "two", 2, r=2, target_modules=targets)
    return folder, last


def base_copy(model: OlaForConditionalGeneration) -> OlaForConditionalGeneration:
    """Training changes its model; the shipped part of it must stay."""
    other = OlaForConditionalGeneration(model.config).eval()
    other.load_state_dict(model.state_dict())
    return other


@torch.inference_mode()
def _logits(model: OlaForConditionalGeneration) -> torch.Tensor:
    """[V], after the question."""
    inputs = OlaProcessor(tiny.byte_tokenizer(), model.config)(QUESTION)
    found: torch.Tensor = model(**inputs).logits[0, -1]
    return found


@pytest.mark.parametrize("engine", ["llama.cpp", "torch"])
def test_round_trip(
    engine: Any,
    base: OlaForConditionalGeneration,
    run: tuple[Path, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With the language model it began with, what was shipped is the last stage's model."""
    folder, trained = run
    destination = shipped_nano.install_ola(monkeypatch, tmp_path, base)
    shipped = ship(folder, destination)
    names = {"config.json", "model.safetensors"}
    adapter = {"adapter/adapter_config.json", "adapter/adapter_model.safetensors"}
    assert shipped.files.keys() == names | adapter
    assistant = unisono.load(shipped_nano.NAME, engine=engine)
    reader = assistant.reader
    embeddings = reader.embed(reader.processor.prompt(QUESTION))
    found = reader.engine.read(embeddings, reader.engine.new_cache())
    wanted = _logits(trained)
    assert (wanted - _logits(base)).abs().max() > 20 * ATOL
    torch.testing.assert_close(found, wanted, atol=ATOL, rtol=0)


def test_only_what_was_made_in_half_precision(run: tuple[Path, Any], tmp_path: Path) -> None:
    ship(run[0], tmp_path / "weights" / "mine")
    state = load_file(tmp_path / "weights" / "mine" / "model.safetensors")
    assert {tensor.dtype for tensor in state.values()} == {torch.float16}
    ours = ("vision", "vision_connector", "hearing.sound", "audio_connector")
    assert {key for key in state if not key.startswith(tuple(f"encoders.{o}." for o in ours))} == (
        set()
    )
    assert any(key.startswith("encoders.hearing.sound.") for key in state)


def test_peft_reads_the_adapter(
    base: OlaForConditionalGeneration, run: tuple[Path, Any], tmp_path: Path
) -> None:
    ship(run[0], tmp_path / "weights" / "mine")
    model = base_copy(base)
    model.encoders.load_state_dict(run[1].encoders.state_dict())
    adapted = PeftModel.from_pretrained(model, tmp_path / "weights" / "mine" / "adapter")
    torch.testing.assert_close(_logits(adapted), _logits(run[1]), atol=ATOL, rtol=0)


def test_a_smaller_rank_is_the_nearest(run: tuple[Path, Any], tmp_path: Path) -> None:
    """Ranks 4 and 2 add up to 6: 6 loses nothing, 3 what the smaller singular values hold."""
    mine = tmp_path / "weights" / "mine"
    assert ship(run[0], mine).adapter_lost == 0.0
    whole = _deltas(mine / "adapter")
    assert ship(run[0], mine, rank=6).adapter_lost == 0.0
    assert all(
        (_deltas(mine / "adapter")[n] - d).norm() < 0.01 * d.norm() for n, d in whole.items()
    )
    lost = ship(run[0], mine, rank=3).adapter_lost
    found = _deltas(mine / "adapter")
    values = {name: torch.linalg.svdvals(delta)[3:].norm() for name, delta in whole.items()}
    for name, delta in whole.items():
        assert float((delta - found[name]).norm()) == pytest.approx(
            float(values[name]), rel=0.02, abs=1e-3
        )
    left = torch.stack(list(values.values())).norm()
    every = torch.stack([delta.norm() for delta in whole.values()]).norm()
    assert 0.05 < lost == pytest.approx(float(left / every), rel=0.02)


def _deltas(folder: Path) -> dict[str, torch.Tensor]:
    return {name: one.up @ one.down for name, one in read_adapter(folder).items()}


def test_a_run_that_goes_on_from_another(
    base: OlaForConditionalGeneration, run: tuple[Path, Any], tmp_path: Path
) -> None:
    """The adapters of the first run are in the weights that the second began with."""
    folder, trained = run
    first = folder / "stages" / "two" / "model"
    _write_recipe(tmp_path / "next", "three", starts_from=str(first))
    last = _train(trained, tmp_path / "next" / "stages" / "three", 3)
    ship(tmp_path / "next", tmp_path / "weights" / "mine")
    model = base_copy(base)
    model.encoders.load_state_dict(last.encoders.state_dict())
    adapted = PeftModel.from_pretrained(model, tmp_path / "weights" / "mine" / "adapter")
    torch.testing.assert_close(_logits(adapted), _logits(last), atol=ATOL, rtol=0)


def test_the_card_stays_and_an_old_adapter_goes(
    run: tuple[Path, Any], base: OlaForConditionalGeneration, tmp_path: Path
) -> None:
    destination = tmp_path / "weights" / "mine"
    ship(run[0], destination)
    (destination / "generation_config.json").write_text("{}")
    plain = tmp_path / "plain"
    _write_recipe(plain, "one")
    _save(base, OlaProcessor(tiny.byte_tokenizer(), base.config), plain / "stages" / "one")
    shipped = ship(plain, destination)
    assert sorted(shipped.files) == ["config.json", "model.safetensors"]
    assert {path.name for path in destination.iterdir()} == {
        *("config.json", "model.safetensors", "generation_config.json"),
    }


def test_too_large_with_its_neighbours(
    run: tuple[Path, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = tmp_path / "weights" / "mine"
    size = ship(run[0], destination).bytes_together
    monkeypatch.setattr(shipping, "MOST_BYTES", size + 1000)
    assert ship(run[0], destination).bytes_together == size  # it replaces itself
    other = tmp_path / "weights" / "other"
    other.mkdir()
    (other / "config.json").write_text(" " * 1001)
    before = {path: path.read_bytes() for path in destination.rglob("*") if path.is_file()}
    with pytest.raises(CheckpointError, match=r"at most 0 MB together, but would have 0\.\d MB"):
        ship(run[0], destination)
    assert all(path.read_bytes() == content for path, content in before.items())
    assert sorted(path.name for path in destination.parent.iterdir()) == ["mine", "other"]


@pytest.mark.parametrize("part", ["language_model", "speech_encoder"])
def test_parts_of_others_may_not_have_been_trained(part: str, tmp_path: Path) -> None:
    model, processor = tiny.ola(speech=True)
    _write_recipe(tmp_path / "run", "one", trainable=("audio_connector", part))
    _save(model, processor, tmp_path / "run" / "stages" / "one")
    with pytest.raises(CheckpointError, match=f"stage one of .* trained {part}, which is not"):
        ship(tmp_path / "run", tmp_path / "mine")


def test_numbers_that_half_precision_cannot_hold(tmp_path: Path) -> None:
    model, processor = tiny.ola(speech=True)
    assert model.encoders.audio_connector is not None
    with torch.no_grad():
        next(model.encoders.audio_connector.parameters()).fill_(1e5)
    _write_recipe(tmp_path / "run", "one")
    _save(model, processor, tmp_path / "run" / "stages" / "one")
    with pytest.raises(CheckpointError, match=r"has 100000, which half precision cannot hold"):
        ship(tmp_path / "run", tmp_path / "mine")


def test_there_is_no_average_of_an_adapter(run: tuple[Path, Any], tmp_path: Path) -> None:
    last = run[0] / "stages" / "two"
    shutil.copytree(last / "model", last / "averaged")
    with pytest.raises(CheckpointError, match="no average is kept of an adapter"):
        ship(run[0], tmp_path / "mine", averaged=True)


def test_what_is_no_complete_run(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no folder of a run"):
        ship(tmp_path, tmp_path / "mine")
    recipe = _write_recipe(tmp_path / "run", "one")
    with pytest.raises(CheckpointError, match="is the run complete"):
        ship(tmp_path / "run", tmp_path / "mine")
    stage = tmp_path / "run" / "stages" / "one"
    save_stage(*tiny.ola(speech=True), stage)  # of an earlier run, or cut off before the end
    with pytest.raises(CheckpointError, match="is the run complete"):
        ship(tmp_path / "run", tmp_path / "mine")
    mark_done(stage, recipe, recipe.stages[0])
    ship(tmp_path / "run", tmp_path / "mine")


def test_onepeace_without_its_decoder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = read_recipe("onepeace-4b/tiny", [f"out={tmp_path / 'run'}"])
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.yaml").write_text(written(recipe.model_dump(mode="json")))
    model, processor = tiny.onepeace()
    config = type(model.config).from_dict({**model.config.to_dict(), "decoder_config": {}})
    whole = OnePeaceForPretraining(config)
    whole.onepeace.load_state_dict(model.state_dict())
    _save(whole, processor, tmp_path / "run" / "stages" / recipe.stages[-1].name)
    shipping.main([str(tmp_path / "run"), str(tmp_path / "w" / "one")])
    assert "model.safetensors" in capsys.readouterr().out
    folder = tmp_path / "w" / "one"
    assert not [key for key in load_file(folder / "model.safetensors") if "decoder" in key]
    assert json.loads((folder / "config.json").read_text()).get("decoder_config") is None
    texts = ["a dog", "rain on a roof"]
    found = torch.as_tensor(unisono.load(folder).embed(text=texts))
    own = torch.as_tensor(
        unisono.load(tmp_path / "run" / "stages" / recipe.stages[-1].name / "model").embed(
            text=texts
        )
    )
    assert (found * own).sum(-1).min() > 0.999
