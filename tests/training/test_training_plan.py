"""A plan says what a run would do, and refuses what cannot be."""

import io
import json
from pathlib import Path

import pytest
import torch
from rich.console import Console

from unisono.errors import RecipeError
from unisono.training.data import check_data, open_source
from unisono.training.memory import estimate
from unisono.training.model_config import empty_model, model_config
from unisono.training.plan import Amount, make_plan
from unisono.training.plan_show import show
from unisono.training.recipe import Recipe
from unisono.training.recipe_read import read_recipe
from unisono.training.start import begin

OLA, ONEPEACE, NANO = "ola-7b/tiny", "onepeace-4b/tiny", "ola-nano/tiny"


def shown(recipe: Recipe, **options: int) -> str:
    console = Console(width=200, file=io.StringIO())
    show(make_plan(recipe, **options), console)
    return console.file.getvalue()


def data_for(folder: Path, rows: int = 30) -> Path:
    for name in ("image_captions", "sound_captions"):
        lines = [json.dumps({"text": str(i), "image": "x.png"}) for i in range(rows)]
        (folder / f"{name}.jsonl").write_text("\n".join(lines))
    return folder


@pytest.mark.parametrize(
    ("length", "batch", "ranks", "budget"),
    [
        ("{steps: 7}", "{samples: 4}", 1, (("=", 7), ("=", 28))),
        ("{steps: 7}", "{samples: 4, accumulate: 3}", 2, (("=", 7), ("=", 168))),
        ("{steps: 7}", "{samples: 4, tokens: 90}", 1, (("=", 7), ("<=", 28))),
        ("{samples: 30}", "{samples: 4}", 2, (("=", 4), ("=", 30))),
        ("{samples: 30}", "{tokens: 64}", 3, (("<=", 10), ("=", 30))),
        ("{epochs: 1.5}", "{samples: 4}", 1, (("=", 12), ("=", 45))),
        ("{tokens: 640}", "{tokens: 64}", 2, ((">=", 5), None)),
    ],
)
def test_budgets(
    length: str, batch: str, ranks: int, budget: tuple[object, ...], tmp_path: Path
) -> None:
    recipe = read_recipe(
        OLA,
        [
            f"stages.1_1.length={length}",
            f"stages.1_1.batch={batch}",
            f"data_dir={data_for(tmp_path)}",
        ],
    )
    found = make_plan(recipe, ranks=ranks).stages[0].budget
    assert (found.steps, found.samples) == tuple(b and Amount(*b) for b in budget)  # type: ignore[misc]


def test_the_mixture_is_in_percent() -> None:
    recipe = read_recipe(OLA, ["stages.3_2.mixture={audio: 1, video: 3}"])
    assert dict(make_plan(recipe).stages[-1].shares) == {"audio": 0.25, "video": 0.75}
    assert "75.0%*" in shown(recipe)


def test_our_choices_are_marked() -> None:
    text = shown(read_recipe(ONEPEACE, ["stages.2.our_choice=[optimizer.lr]"]))
    first, second = (line for line in text.splitlines() if "cosine" in line)
    assert "0.001*" in second
    assert "*" not in first


@pytest.mark.parametrize("name", [OLA, ONEPEACE, NANO])
def test_counts_are_those_of_the_real_model(name: str) -> None:
    recipe = read_recipe(name)
    plan = make_plan(recipe).stages[0]
    real = begin(recipe.model).model
    trained = set(plan.settings.trainable) - {"alignment"}  # of the stage, not of the model
    from unisono.training.parts import parts_of

    counts = parts_of(real)
    assert {part: plan.parts[part] for part in counts} == counts
    own = plan.parts.get("alignment", 0)
    assert plan.trained == sum(counts[part] for part in trained) + own


def test_memory_of_weights_and_optimizer_is_exact() -> None:
    recipe = read_recipe(ONEPEACE)
    stage = recipe.stages[0]
    plan = make_plan(recipe, ranks=4)
    model = begin(recipe.model).model
    every = sum(p.numel() for p in model.parameters())
    alone, ddp, fsdp = plan.stages[0].memory.values()
    assert alone.weights == 4 * every
    assert alone.optimizer == 8 * plan.stages[0].trained
    assert ddp.gradients == 2 * alone.gradients == 8 * plan.stages[0].trained
    assert fsdp.optimizer == alone.optimizer / 4
    assert fsdp.total < alone.total < ddp.total
    with_ema = read_recipe(ONEPEACE, ["stages.1.optimizer.ema=0.99"])
    assert make_plan(with_ema).stages[0].memory[1, "ddp"].optimizer == 12 * plan.stages[0].trained
    assert stage.name == "1"


def test_checkpointing_saves_activations() -> None:
    deep = ["model.config.text_config.num_hidden_layers=12"]
    kept = make_plan(read_recipe(OLA, deep)).stages[0].memory[1, "ddp"].activations
    again = make_plan(read_recipe(OLA, [*deep, "gradient_checkpointing=true"]))
    assert again.stages[0].memory[1, "ddp"].activations < kept / 2


def test_activations_are_about_what_autograd_keeps() -> None:
    """The formula against the bytes that autograd really saves for a language model."""
    overrides = [
        "model.config.text_config={model_type: qwen2, vocab_size: 259, hidden_size: 64,"
        " intermediate_size: 128, num_hidden_layers: 6, num_attention_heads: 4,"
        " num_key_value_heads: 4, eos_token_id: 257, pad_token_id: 256}",
        "stages.1_1.batch.tokens=256",
    ]
    recipe = read_recipe(OLA, overrides)
    plan = make_plan(recipe).stages[0]
    logits = 8 * 256 * 259
    estimated = plan.memory[1, "ddp"].activations - logits
    model = begin(recipe.model).model
    parameters = {p.data_ptr() for p in model.parameters()}
    kept: dict[int, int] = {}

    def keep(x: torch.Tensor) -> torch.Tensor:
        if x.data_ptr() not in parameters:
            kept[x.data_ptr()] = max(kept.get(x.data_ptr(), 0), x.numel() * x.element_size())
        return x

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda x: x):
        out = model.language_model.model(input_ids=torch.zeros(1, 256, dtype=torch.long))
    del out
    assert estimated / 1.5 < sum(kept.values()) < estimated * 1.5


@pytest.mark.parametrize(
    ("name", "override", "message"),
    [
        (OLA, "stages.1_1.trainable=[eyes]", "trainable of stage 1.1 names eyes, but the model's parts are vision,"),  # noqa: E501
        (OLA, "stages.1_1.trainable=[lora]", "names lora, but"),
        (OLA, "stages.1_1.optimizer.lr_factors={ears: 2}", "lr_factors of stage 1.1 names ears"),
        (OLA, "model.config.sound_config.num_attention_heads=5", "hidden_size must be a multiple of num_attention_heads"),  # noqa: E501
        (NANO, "stages.3_1.trainable=[audio_connector, lora]", "connector_ctc trains nothing beyond"),  # noqa: E501
        (NANO, "model.config.speech_config=null; model.config.sound_config=null", "names .*audio_connector|no hearing encoder"),  # noqa: E501
        (NANO, "model.lora.targets=[banana]", "targets names banana"),
        (ONEPEACE, "model.config.audio_config=null", "audio"),
        (ONEPEACE, "model.config.num_attention_heads=5", "hidden_size must be a multiple of num_attention_heads"),  # noqa: E501
        (ONEPEACE, "model.config.hiden_size=5", "hiden_size is no field .* did you mean 'hidden_size'"),  # noqa: E501
        (ONEPEACE, "stages.2.model={text_config: {vocab: 3}}", "a stage's model.text_config.vocab is no field .*'vocab_size'"),  # noqa: E501
    ],
)  # fmt: skip
def test_impossible_stages_are_one_clear_line(name: str, override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        make_plan(read_recipe(name, override.split("; ")))
    assert "\n" not in str(caught.value)


def test_what_is_not_at_hand_is_a_note_in_a_plan_and_an_error_in_a_run(tmp_path: Path) -> None:
    recipe = read_recipe(ONEPEACE, [f"data_dir={tmp_path}", "model.source=./nowhere/x"])
    plan = make_plan(recipe)
    assert any("image_captions.jsonl" in note for note in plan.notes)
    assert any("./nowhere/x" in note for note in plan.notes)
    assert not plan.stages[0].parts
    assert "not at hand" in shown(recipe)
    with pytest.raises(
        RecipeError, match=r"stage 1, source image_text: there is no '.*image_captions.jsonl'"
    ):
        check_data(recipe, recipe.stages[0])
    data_for(tmp_path)
    check_data(recipe, recipe.stages[0])
    assert len(open_source(recipe, "image_text")) == 30  # type: ignore[arg-type]


def test_a_source_of_another_family_is_refused(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "onepeace"}')
    with pytest.raises(
        RecipeError, match="must be a model of type 'ola', but is of type 'onepeace'"
    ):
        make_plan(read_recipe("finetune/ola-lora", [f"model.source={tmp_path}"]))


def test_estimate_is_for_the_stage_asked() -> None:
    recipe = read_recipe(OLA)
    model = empty_model(model_config(recipe.model), "ola")
    parts = make_plan(recipe).stages[0].parts
    first, second = (
        estimate(model, parts, recipe, stage, ranks=1, how="ddp") for stage in recipe.stages[:2]
    )
    assert first.gradients < second.gradients
    assert first.weights == second.weights


@pytest.mark.parametrize("strategy", ["direct_mixing", "balanced_sampling"])
def test_a_strategy_makes_one_stage_of_all(strategy: str) -> None:
    recipe = read_recipe(OLA, [f"strategy={strategy}"])
    (stage,) = make_plan(recipe).stages
    assert stage.settings.name == strategy
    assert stage.budget.steps == Amount("=", 20)
    assert sum(stage.shares.values()) == pytest.approx(1)
    with pytest.raises(RecipeError, match="one objective"):
        make_plan(read_recipe(NANO, [f"strategy={strategy}"]))
