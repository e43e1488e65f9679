"""Three mixtures of the same sources at equal steps."""

import json
from collections import Counter
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from streams import Listed

from unisono.errors import RecipeError
from unisono.training.mixture import Mixture
from unisono.training.recipe import Recipe
from unisono.training.strategies import arranged

STEPS = {"image": 100, "video": 60, "sound": 40}


def recipe(strategy: str, **changes: Any) -> Recipe:
    def stage(name: str, mixture: dict[str, float], **more: Any) -> dict[str, Any]:
        return {
            "name": name,
            "objective": {"kind": "next_token"},
            "mixture": mixture,
            "trainable": [f"{name}_connector", "language_model"],
            "length": {"steps": STEPS[name]},
            "batch": {"tokens": 100},
            "optimizer": {"lr": 1.0 / STEPS[name]},
            **more,
        }

    kinds = {"pictures": "image", "drawings": "image", "films": "video", "bells": "audio"}
    fields = {
        "model": {"family": "ola"},
        "sources": {name: {"path": name, "modality": kind} for name, kind in kinds.items()},
        "stages": [
            stage("image", {"pictures": 3, "drawings": 1}),
            stage("video", {"films": 1, "pictures": 1}),
            stage("sound", {"bells": 1}),
        ],
        "out": "out",
        "strategy": strategy,
    }
    return Recipe.model_validate(fields | changes)


def test_progressive_is_as_it_stands() -> None:
    given = recipe("progressive")
    assert arranged(given) is given


def test_direct_mixing_draws_each_source_as_often() -> None:
    (stage,) = arranged(recipe("direct_mixing")).stages
    assert stage.length.steps == sum(STEPS.values())
    expected = {"pictures": 75 + 30, "drawings": 25, "films": 30, "bells": 40}
    assert stage.mixture == pytest.approx({n: steps / 200 for n, steps in expected.items()})
    assert stage.trainable == (
        *("image_connector", "language_model", "video_connector", "sound_connector"),
    )
    assert stage.optimizer.lr == 1 / STEPS["sound"]


@pytest.mark.parametrize(
    "batch", [{"samples": 30}, {"tokens": 300}, {"tokens": 100, "accumulate": 3}]
)
def test_steps_of_larger_batches_draw_more(batch: dict[str, int]) -> None:
    stages = [stage.model_dump() for stage in recipe("progressive").stages]
    if "samples" in batch:
        stages[1]["batch"] = stages[2]["batch"] = {"samples": 10}
    stages[0]["batch"] = batch
    (stage,) = arranged(recipe("direct_mixing", stages=stages)).stages
    rows = {"pictures": 3 * 75 + 30, "drawings": 3 * 25, "films": 30, "bells": 40}
    assert stage.mixture == pytest.approx({n: count / 400 for n, count in rows.items()})
    assert stage.length.steps == sum(STEPS.values())


def test_balanced_sampling_draws_modalities_equally() -> None:
    (stage,) = arranged(recipe("balanced_sampling")).stages
    assert stage.length.steps == sum(STEPS.values())
    sources = {name: Listed(name, 50) for name in stage.mixture}
    drawn = Counter(d.source for d in islice(Mixture(sources, stage.mixture, seed=0), 9000))
    shares = [drawn["films"], drawn["bells"], drawn["pictures"] + drawn["drawings"]]
    assert all(abs(share / 9000 - 1 / 3) < 0.02 for share in shares)
    assert drawn["pictures"] / drawn["drawings"] == pytest.approx(105 / 25, rel=0.15)


def test_it_changes_nothing_twice() -> None:
    for strategy in ("direct_mixing", "balanced_sampling"):
        once = arranged(recipe(strategy))
        (first,), (second,) = once.stages, arranged(once).stages
        assert second.mixture == pytest.approx(first.mixture)
        assert second.length == first.length


def test_the_first_row_tells_the_modality(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(json.dumps({"text": "x", "audio": "x.wav"}) + "\n")
    (tmp_path / "b.jsonl").write_text(json.dumps({"text": "x", "image": "x.png"}) + "\n")
    sources = {"a": {"path": "a.jsonl"}, "b": {"path": "b.jsonl"}, "c": {"path": "b.jsonl"}}
    stage = recipe("progressive").stages[0].model_dump() | {"mixture": {"a": 1, "b": 2, "c": 1}}
    given = recipe("balanced_sampling", sources=sources, stages=[stage], data_dir=str(tmp_path))
    (found,) = arranged(given).stages
    assert found.mixture == pytest.approx({"a": 1 / 2, "b": 1 / 3, "c": 1 / 6})
    (tmp_path / "a.jsonl").write_text("{torn\n")
    with pytest.raises(RecipeError, match=r"give sources\.a\.modality"):
        arranged(given)


def test_what_cannot_be_merged() -> None:
    stages = [stage.model_dump() for stage in recipe("progressive").stages]
    stages[0]["length"] = {"tokens": 5}
    with pytest.raises(RecipeError, match="lengths in one unit"):
        arranged(recipe("direct_mixing", stages=stages))
    stages[0]["objective"] = {"kind": "connector_ctc"}
    with pytest.raises(RecipeError, match="one objective"):
        arranged(recipe("direct_mixing", stages=stages))
