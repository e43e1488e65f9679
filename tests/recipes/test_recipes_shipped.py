"""Every recipe that comes with the library is valid, plans in seconds, and says what is ours."""

import io
import time

import pytest
from one_thread import one_thread
from rich.console import Console

from unisono.training.plan import make_plan
from unisono.training.plan_show import rendered
from unisono.training.recipe import Recipe, StageSettings
from unisono.training.recipe_read import read_recipe, recipe_names

__all__ = ["one_thread"]
NAMES = recipe_names()
TINY = [name for name in NAMES if "tiny" in name]


def shown(recipe: Recipe) -> str:
    console = Console(width=160, file=io.StringIO())
    console.print(rendered(make_plan(recipe)))
    return console.file.getvalue()


def test_a_tiny_twin_of_each() -> None:
    full = {name for name in NAMES if name not in TINY}
    extended = {name.replace("-tiny", "") for name in TINY if name.startswith("finetune/")}
    assert {name for name in full if name.startswith("finetune/")} == extended
    folders = {name.partition("/")[0] for name in full} - {"finetune"}
    assert folders == {name.partition("/")[0] for name in TINY} - {"finetune"}
    assert folders == {"ola-7b", "onepeace-4b", "ola-nano", "onepeace-nano"}


@pytest.mark.parametrize("name", NAMES)
def test_it_plans_without_weights_or_data(name: str) -> None:
    recipe = read_recipe(name)
    started = time.perf_counter()
    text = shown(recipe)
    assert time.perf_counter() - started < 20
    assert recipe.title in text
    for stage in recipe.stages:
        assert stage.name in text
    assert "not at hand" in text  # this machine has none of the data


@pytest.mark.parametrize("name", TINY)
def test_a_twin_has_the_same_stages(name: str) -> None:
    twin = read_recipe(name)
    full = read_recipe(
        name.removesuffix("-tiny")
        if name.startswith("finetune/")
        else next(n for n in NAMES if n.startswith(name.partition("/")[0]) and n not in TINY)
    )
    for mine, theirs in zip(twin.stages, full.stages, strict=True):
        assert mine.name == theirs.name
        assert mine.trainable == theirs.trainable
        assert mine.objective == theirs.objective
        assert mine.mixture == theirs.mixture
    assert sum(stage.length.steps or 99 for stage in twin.stages) == 20


@pytest.mark.parametrize("name", NAMES)
def test_our_choices_are_keys(name: str) -> None:
    for stage in read_recipe(name).stages:
        plain = stage.model_dump()
        for key in stage.our_choice:
            first, _, rest = key.partition(".")
            assert first in StageSettings.model_fields
            assert not rest or rest in plain[first], key


def test_the_published_figures_of_onepeace() -> None:
    recipe = read_recipe("onepeace-4b/pretrain")
    first, second = recipe.stages
    assert (first.batch.samples or 0) * recipe.ranks == 32_768
    assert first.length.steps == 200_000
    optimizer = first.optimizer
    assert (optimizer.lr, optimizer.betas, optimizer.warmup_steps) == (5e-4, (0.9, 0.98), 3000)
    assert (optimizer.weight_decay, optimizer.clip_norm, optimizer.floor_lr) == (0.05, 3.0, 1e-6)
    assert (second.length.epochs, second.optimizer.lr, second.optimizer.warmup_ratio) == (
        10,
        2e-4,
        0.1,
    )
    assert second.reset == ("logit_scale",)
    plan = make_plan(recipe)
    assert 3.9e9 < sum(plan.stages[0].parts.values()) < 4.0e9  # "4B"
    assert plan.stages[1].budget.samples is not None
    assert plan.stages[1].budget.samples.value == 24_000_000


def test_the_published_figures_of_ola() -> None:
    recipe = read_recipe("ola-7b/progressive")
    assert [stage.name for stage in recipe.stages] == ["1.1", "1.2", "1.3", "2", "3.1", "3.2"]
    last = recipe.stages[-1]
    assert (last.optimizer.lr, last.optimizer.warmup_ratio, last.optimizer.floor_ratio) == (
        1e-5,
        0.05,
        0.01,
    )
    assert last.batch.tokens == 16_384
    assert set(last.trainable) == {"vision_connector", "audio_connector", "language_model"}
    for stage in recipe.stages[:-1]:
        assert "optimizer.lr" in stage.our_choice
    assert "1e-05" in shown(recipe)
    assert "0.001*" in shown(recipe)
    size = sum(make_plan(recipe).stages[0].parts.values())
    assert 8.8e9 < size < 9.0e9
