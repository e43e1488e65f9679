"""Recipes are read, extended and overridden; what is wrong with one is said in one line."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from unisono.errors import RecipeError
from unisono.training.recipe_read import read_recipe, recipe_names
from unisono.training.recipe_yaml import MAX_BYTES, parse

BASE = """
title: a base
model: {family: ola, tokenizer: bytes, config: {text_config: {model_type: llama, hidden_size: 32}}}
sources:
  a: {path: a.jsonl}
  b: {path: b.jsonl}
stages:
  - name: "1.1"
    objective: {kind: next_token, max_tokens: 64}
    mixture: {a: 1, b: 3}
    trainable: [vision_connector]
    length: {samples: 100}
    batch: {tokens: 64}
    optimizer: {lr: 1e-3, warmup_ratio: 0.1}
  - name: "2"
    objective: {kind: next_token}
    mixture: {a: 1}
    trainable: [language_model]
    length: {epochs: 1}
    batch: {tokens: 64}
    optimizer: {lr: 1e-4}
out: runs/base
"""


@pytest.fixture
def base(tmp_path: Path) -> Path:
    path = tmp_path / "base.yaml"
    path.write_text(BASE)
    return path


def written(folder: Path, text: str, name: str = "own.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_a_file_is_read(base: Path) -> None:
    recipe = read_recipe(base)
    assert recipe.title == "a base"
    assert recipe.stages[0].optimizer.lr == 1e-3
    assert recipe.data_dir == str(base.parent)


def test_an_extending_recipe_changes_stages_by_name(base: Path) -> None:
    own = written(
        base.parent,
        """
        extends: base.yaml
        data_dir: there
        model: {config: {text_config: {vocab_size: 9}}}
        stages:
          - name: "2"
            mixture: {b: 1}
            length: {steps: 7}
            optimizer: {weight_decay: 0.1}
          - {name: "3", objective: {kind: connector_ctc}, mixture: {a: 1},
             trainable: [audio_connector], length: {steps: 1}, batch: {samples: 2},
             optimizer: {lr: 1}}
        """,
    )
    recipe = read_recipe(own)
    first, second, third = recipe.stages
    assert first == read_recipe(base).stages[0]
    assert (second.mixture, second.length.steps, second.length.epochs) == ({"b": 1}, 7, None)
    assert (second.optimizer.lr, second.optimizer.weight_decay) == (1e-4, 0.1)
    assert third.objective.kind == "connector_ctc"
    text = recipe.model.config["text_config"]
    assert text == {"model_type": "llama", "hidden_size": 32, "vocab_size": 9}
    assert recipe.data_dir == "there"


def test_another_kind_of_thing_replaces_the_old_one(base: Path) -> None:
    own = written(
        base.parent,
        """
        extends: base.yaml
        model: {config: {text_config: {model_type: qwen2, vocab_size: 9}}}
        stages: [{name: "2", objective: {kind: connector_ctc, scale: 2}}]
        """,
    )
    recipe = read_recipe(own)
    assert recipe.model.config["text_config"] == {"model_type": "qwen2", "vocab_size": 9}
    assert recipe.stages[1].objective.model_dump()["scale"] == 2


def test_what_extends_itself_is_refused(tmp_path: Path) -> None:
    written(tmp_path, "extends: b.yaml", "a.yaml")
    written(tmp_path, "extends: a.yaml", "b.yaml")
    with pytest.raises(RecipeError, match="extends itself"):
        read_recipe(tmp_path / "a.yaml")


@pytest.mark.parametrize(
    ("override", "found"),
    [
        ("stages.0.optimizer.lr=1e-5", lambda r: r.stages[0].optimizer.lr == 1e-5),
        ("stages.1_1.optimizer.lr=2e-5", lambda r: r.stages[0].optimizer.lr == 2e-5),
        ("stages.2.batch.tokens=9", lambda r: r.stages[1].batch.tokens == 9),  # by its name
        ("stages.1_1.length.steps=20", lambda r: r.stages[0].length.steps == 20),
        ("out=runs/x", lambda r: r.out == "runs/x"),
        ("model.source=null", lambda r: r.model.source is None),
        ("model.config.text_config.vocab_size=7",
         lambda r: r.model.config["text_config"]["vocab_size"] == 7),
        ("guards.bad_rows=0.5", lambda r: r.guards.bad_rows == 0.5),
        ("stages.2.trainable=[vision, lora]", lambda r: r.stages[1].trainable == ("vision", "lora")),  # noqa: E501
        ("stages.1_1.mixture.a=5", lambda r: r.stages[0].mixture == {"a": 5, "b": 3}),
    ],
)  # fmt: skip
def test_overrides(base: Path, override: str, found: Any) -> None:
    assert found(read_recipe(base, [override]))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("stages.0.optimizer.lr=-1", r"base.yaml: stages.1_1.optimizer.lr must be greater than 0, but is -1 instead"),  # noqa: E501
        ("stages.0.optimizer.warmup=1", r"stages.1_1.optimizer.warmup is no key of a recipe; did you mean 'warmup_"),  # noqa: E501
        ("stages.0.objective.max_token=1", r"stages.1_1.objective.max_token is no key .*did you mean 'max_tokens'\?"),  # noqa: E501
        ("modle.family=ola", r"modle is no key of a recipe; did you mean 'model'\?"),
        ("model.family=llava", "model.family must be 'ola' or 'onepeace', but is 'llava' instead"),
        ("stages.0.length.days=2", "stages.1_1.length"),
        ("stages.0.length={steps: 2, epochs: 1}", "stages.1_1.length: one of steps, samples, tokens, epochs"),  # noqa: E501
        ("stages.0.batch={workers: 2}", "stages.1_1.batch: tokens or samples must be given"),
        ("stages.0.mixture={c: 1}", r"the mixture of stage 1.1 names \['c'\]"),
        ("stages.0.name=2", "stages.0.*name must be a valid string|stages.*name"),
        ("stages.1.name='1.1'", "must have different names"),
        ("stages.9.batch.tokens=1", "there is no stage '9' among 1.1, 2"),
        ("stages.0.optimizer.warmup_steps=5", "only one of warmup_steps and warmup_ratio"),
        ("stages.0.optimizer.floor_lr=1", "floor_lr must be at most lr"),
        ("stages.0.objective={kind: onepeace, stage: vision_language}", "stage 1.1: a contrast needs|needs batch.samples"),  # noqa: E501
        ("model.family=onepeace", "objective of stage 1.1 must be onepeace or audio_spectrum for"),
        ("stages.0.objective.kind=magic", "stages.1_1.objective"),
        ("out", "an override must be key=value"),
        ("out.x=1", "single value"),
        ("out=[", "override out"),
        ("precision=int8", "precision must be 'fp32', 'bf16' or 'fp16', but is 'int8' instead"),
    ],
)  # fmt: skip
def test_a_wrong_recipe_is_one_clear_line(base: Path, override: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        read_recipe(base, [override])
    assert "\n" not in str(caught.value)


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    own = written(tmp_path, BASE.replace("out: runs/base", ""))
    with pytest.raises(RecipeError, match=r"own.yaml: out is missing"):
        read_recipe(own)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\na: 2", "line 2: the key 'a' stands twice"),
        ("a: &x [1]\nb: *x", r"line 2: a recipe has no aliases"),
        ("a: [1", "own.yaml"),
        ("- 1", "must be keys with values, but is list"),
        ("", "must be keys with values"),
        ("1: 2", "a key must be a word"),
        ("a: !!python/object/apply:os.system ['true']", "could not determine a constructor"),
        ("a: " + "[" * 3000, "nested too deeply|own.yaml"),
        ("a: '" + "x" * MAX_BYTES + "'", "must be at most"),
        ("a: 2000-13-45", "own.yaml"),
        ("a: \x07", "own.yaml"),
        ("extends: 3", "extends must be a recipe's name"),
        ("extends: nowhere.yaml", "cannot be read: No such file"),
    ],
)
def test_bad_yaml(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message) as caught:
        read_recipe(written(tmp_path, text))
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"a: \xff\xfe")
    with pytest.raises(RecipeError, match="not UTF-8"):
        read_recipe(path)


def test_an_unknown_name_suggests_a_known_one() -> None:
    with pytest.raises(RecipeError, match="did you mean 'ola-7b/progressive'"):
        read_recipe("ola-7b/progresive")
    with pytest.raises(RecipeError, match="--list"):
        read_recipe("zzz")


def test_ours_are_listed() -> None:
    names = recipe_names()
    assert "onepeace-4b/pretrain" in names
    assert names == sorted(names)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.text("abc xyz_-.é", max_size=9)
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.text("abcdef", min_size=1, max_size=5), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip


@given(VALUES)
def test_what_yaml_writes_is_read_back(value: Any) -> None:
    quoted = yaml.safe_dump({"key": value}, allow_unicode=True)
    assert parse(quoted, "x") == {"key": value}
