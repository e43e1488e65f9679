"""Tasks over whole inputs: targets, losses, heads on pretrained encoders; and they do learn."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_onepeace
import torch
from PIL import Image, ImageDraw

from unisono.conversation import Message
from unisono.errors import BadRowError, ModelConfigError, RecipeError
from unisono.manifests.row import ConversationRow, PairRow
from unisono.models.onepeace import (
    OnePeaceConfig,
    OnePeaceForClassification,
    OnePeaceForGrounding,
    OnePeaceForPretraining,
    OnePeaceForRanking,
)
from unisono.models.onepeace.bias import resized_table
from unisono.training.goals import Classification, Grounding, Ranking
from unisono.training.labels import choose_labels, target_of
from unisono.training.model_config import model_config
from unisono.training.objectives.tasks import Classify, Ground, Rank
from unisono.training.parts import parts_of
from unisono.training.recipe import ModelSettings
from unisono.training.start import begin
from unisono.training.start_head import with_head

COLOURS = ("red", "green", "blue")


def picture(colour: str, box: tuple[int, int, int, int] = (8, 8, 40, 32)) -> Image.Image:
    drawn = Image.new("RGB", (96, 64), "white")
    x, y, width, height = box
    ImageDraw.Draw(drawn).rectangle((x, y, x + width, y + height), fill=colour)
    return drawn


def sound(pitch_hz: float) -> tuple[np.ndarray, int]:
    times = np.arange(16_000, dtype=np.float32) / 16_000
    return np.sin(2 * np.pi * pitch_hz * times), 16_000


def row(**fields: Any) -> PairRow:
    media = {name: fields.pop(name) for name in ("text", "image", "audio") if name in fields}
    return PairRow("rows:1", **media, fields=fields)


def config(**head: Any) -> OnePeaceConfig:
    fields = tiny.onepeace()[0].config.to_dict()
    kept = {k: v for k, v in fields.items() if k not in ("id2label", "label2id", "num_labels")}
    return OnePeaceConfig(**{**kept, "decoder_config": None, **head})


# --- what is chosen from, and what is right ------------------------------------------------


def test_labels_are_found_in_the_rows() -> None:
    rows = [row(label=c) for c in ("red", "blue", "red", "green")] + [row(), row(label=5)]
    of_images = Classification(inputs=("image",))
    assert choose_labels(of_images, rows) == ("blue", "green", "red")
    assert choose_labels(of_images.model_copy(update={"most": 2}), rows) == ("blue", "red")
    assert choose_labels(of_images, rows, ["red", "blue"]) == ("red", "blue")
    named = of_images.model_copy(update={"labels": ("a", "b")})
    assert choose_labels(named, rows, ["red", "blue"]) == ("a", "b")
    for some, message in (([rows[0]], "two labels or more"), ([], "two labels or more")):
        with pytest.raises(RecipeError, match=message):
            choose_labels(of_images, some)
    with pytest.raises(RecipeError, match="'red' is there twice"):
        choose_labels(of_images, [], ["red", "blue", "red"])


def test_what_is_right() -> None:
    people = Classification(inputs=("text",), field="answers", target="people")
    said = row(answers=["A dog."] * 2 + ["dog"] + ["cat"] * 7)
    assert target_of(said, people) == pytest.approx({"dog": 0.9, "cat": 1.0})
    several = Classification(inputs=("audio",), field="labels", target="several")
    assert target_of(row(labels=["a", "b"]), several) == {"a": 1.0, "b": 1.0}
    assert target_of(row(text="bell"), Classification(inputs=("audio",), field="text")) == {
        "bell": 1.0
    }
    for broken, settings, message in (
        (row(), people, "no field answers"),
        (row(answers="dog"), people, "answers must be texts"),
        (row(labels=[1]), several, "labels must be texts"),
        (row(label=""), Classification(inputs=("image",)), "label must be a text"),
    ):
        with pytest.raises(BadRowError, match=f"^rows:1: .*{message}"):
            target_of(broken, settings)


# --- objectives ------------------------------------------------------------------------------


def batch(objective: Any, rows: Sequence[PairRow]) -> dict[str, torch.Tensor]:
    examples = [objective.prepare(one) for one in rows]
    inputs, weight = objective.collate(examples)
    assert weight == len(rows)
    assert all(objective.length(one) > 1 for one in examples)
    return dict(inputs)


def model_of(kind: Any, **changes: Any) -> Any:
    torch.manual_seed(0)
    return tiny_onepeace.randomised(kind(config(**changes)))


def test_one_label() -> None:
    settings = Classification(inputs=("text", "image"))
    objective = Classify(tiny.onepeace()[1], settings, COLOURS)
    rows = [row(text="what?", image=picture(c), label=c) for c in ("red", "blue")]
    inputs = batch(objective, rows)
    assert inputs["target"].tolist() == [0, 2]
    model = model_of(OnePeaceForClassification, head_config={}, num_labels=3)
    found = objective.loss(model, inputs, draw=0)
    media = {name: x for name, x in inputs.items() if name != "target"}
    logits = model(**media).logits
    expected = torch.nn.functional.cross_entropy(logits, inputs["target"], reduction="sum")
    torch.testing.assert_close(found.loss, expected)
    assert found.terms["right"] == (logits.argmax(1) == inputs["target"]).sum()
    patches = (tiny.onepeace()[1].image_size // 16) ** 2
    text = len(inputs["input_ids"][0]) + 1
    assert objective.length(objective.prepare(rows[0])) == patches + 1 + text
    for broken, message in (
        (row(text="what?", label="red"), "has no image"),
        (row(text="what?", image=picture("red"), label="pink"), "'pink' is none of the model's"),
        (ConversationRow("c:1", (Message(role="user", content="a"),), {"label": "red"}), "pairs"),
    ):
        with pytest.raises(BadRowError, match=message):
            objective.prepare(broken)


@pytest.mark.parametrize("target", ["several", "people"])
def test_several_labels(target: Any) -> None:
    settings = Classification(inputs=("audio",), field="said", target=target)
    objective = Classify(tiny.onepeace()[1], settings, COLOURS)
    rows = [row(audio=sound(200), said=["red", "blue"]), row(audio=sound(400), said=["green"])]
    inputs = batch(objective, rows)
    model = model_of(
        OnePeaceForClassification,
        head_config={"modality": "audio", "multi_label": True},
        num_labels=3,
    )
    found = objective.loss(model, inputs, draw=0)
    media = {name: x for name, x in inputs.items() if name != "target"}
    logits = model(**media).logits
    by_hand = torch.nn.functional.binary_cross_entropy_with_logits(
        logits, inputs["target"], reduction="sum"
    )
    torch.testing.assert_close(found.loss, by_hand)
    unknown = row(audio=sound(300), said=["red", "puce"])
    if target == "several":
        assert inputs["target"].tolist() == [[1, 0, 1], [0, 1, 0]]
        with pytest.raises(BadRowError, match="'puce' is none"):
            objective.prepare(unknown)
    else:  # answers nobody can choose are passed over
        assert objective.prepare(unknown).target.tolist() == pytest.approx([1 / 6, 0, 0])


def test_two_pictures() -> None:
    settings = Classification(inputs=("text", "image", "image_2"))
    objective = Classify(tiny.onepeace()[1], settings, ("false", "true"))
    pairs = [("red", "red", "true"), ("red", "blue", "false")]
    rows = [
        row(text="both are red", image=picture(a), image_2=picture(b), label=label)
        for a, b, label in pairs
    ]
    inputs = batch(objective, rows)
    assert inputs["pixel_values_2"].shape == inputs["pixel_values"].shape
    model = model_of(OnePeaceForClassification, head_config={"images": 2}, num_labels=2)
    assert objective.loss(model, inputs, draw=0).loss.isfinite()
    with pytest.raises(BadRowError, match="has no image_2"):
        objective.prepare(row(text="both are red", image=picture("red"), label="true"))


def test_boxes() -> None:
    objective = Ground(tiny.onepeace()[1], Grounding())
    rows = [
        row(text="red", image=picture("red"), box=[24, 16, 48, 32]),
        row(text="blue", image=picture("blue"), box=[0, 0, 96, 64]),
    ]
    inputs = batch(objective, rows)
    np.testing.assert_allclose(inputs["target"], [[0.25, 0.25, 0.75, 0.75], [0, 0, 1, 1]])
    model = model_of(OnePeaceForGrounding, head_config={"modality": "image"})
    found = objective.loss(model, inputs, draw=0)
    media = {name: x for name, x in inputs.items() if name != "target"}
    torch.testing.assert_close(found.loss, 2 * model(**media, boxes=inputs["target"]).loss)
    assert 0 <= found.terms["found"] <= 2
    for broken in (None, [1, 2, 3], [1, 2, 0, 4], "abcd"):
        with pytest.raises(BadRowError, match=r"^rows:1: a box must"):
            objective.prepare(row(text="red", image=picture("red"), box=broken))


@pytest.mark.parametrize("loss", ["cross_entropy", "hinge"])
def test_choices(loss: Any) -> None:
    settings = Ranking(inputs=("audio",), candidates=3, loss=loss)
    objective = Rank(tiny.onepeace()[1], settings)
    rows = [
        row(text="what?", audio=sound(200), choices=["a dog", "a", "rain"], choice=1),
        row(text="which one?", audio=sound(900), choices=["x", "yy", "z"], choice=0),
    ]
    inputs = batch(objective, rows)
    assert inputs["input_ids"].shape[:2] == (2, 3)
    model = model_of(OnePeaceForRanking, head_config={})
    found = objective.loss(model, inputs, draw=0)
    media = {name: x for name, x in inputs.items() if name != "target"}
    logits = model(**media).logits.tolist()
    by_hand = 0.0
    for scores, right in zip(logits, (1, 0), strict=True):
        if loss == "hinge":
            by_hand += sum(max(0.0, 1 + one - scores[right]) for one in scores)
        else:
            by_hand += float(np.log(np.exp(scores).sum()) - scores[right])
    assert found.loss.item() == pytest.approx(by_hand, rel=1e-4)
    good = {"text": "what?", "audio": sound(200), "choices": ["a", "b", "c"], "choice": 0}
    for change, message in (
        ({"choices": ["a", "b"]}, "choices must be 3 texts"),
        ({"choice": 3}, "choice must be from 0 to 2"),
        ({"choice": True}, "choice must be from 0 to 2"),
        ({"text": None}, "has no text"),
    ):
        with pytest.raises(BadRowError, match=message):
            objective.prepare(row(**{**good, **change}))


# --- it learns, and only what can be learned --------------------------------------------------


def fitted(rows: Sequence[PairRow], steps: int = 40) -> float:
    """Share right of the rows that were learned."""
    objective = Classify(tiny.onepeace()[1], Classification(inputs=("image",)), COLOURS)
    torch.manual_seed(1)
    plain = config(head_config={"modality": "image"}, num_labels=3, text_config=None)
    model = OnePeaceForClassification(plain).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    inputs = batch(objective, rows)
    right = 0.0
    for draw in range(steps):
        computed = objective.loss(model, inputs, draw=draw)
        optimizer.zero_grad()
        (computed.loss / len(rows)).backward()
        optimizer.step()
        right = float(computed.terms["right"]) / len(rows)
    return right


def test_it_learns_colours_but_not_what_is_not_there() -> None:
    draws = np.random.default_rng(0)
    boxes = [(*draws.integers(0, 40, 2).tolist(), 30, 20) for _ in range(24)]
    rows = [
        row(image=picture(COLOURS[i % 3], box), label=COLOURS[i % 3]) for i, box in enumerate(boxes)
    ]
    assert fitted(rows) >= 0.95
    alike = [row(image=picture("red"), label=COLOURS[i % 3]) for i in range(24)]
    assert fitted(alike) <= 0.5


# --- heads on pretrained encoders ---------------------------------------------------------------


@pytest.fixture
def pretrained(tmp_path: Path) -> Path:
    model, processor = tiny.onepeace()
    torch.manual_seed(0)
    whole = tiny_onepeace.randomised(OnePeaceForPretraining(model.config))
    whole.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    return tmp_path


def settings_of(folder: Path, **fields: Any) -> ModelSettings:
    return ModelSettings(family="onepeace", source=str(folder), **fields)


def test_a_head_keeps_the_encoder(pretrained: Path) -> None:
    settings = settings_of(pretrained, head="classification", config={"bias_per_layer": True})
    started = begin(settings, labels=COLOURS)
    model = started.model
    assert model.config.id2label == dict(enumerate(COLOURS))
    assert model.head.classifier[-1].out_features == 3
    whole = OnePeaceForPretraining.from_pretrained(pretrained).onepeace.state_dict()
    for name, weight in model.onepeace.state_dict().items():
        first = name if name in whole else f"{name.rpartition('.')[0]}.0"
        torch.testing.assert_close(weight, whole[first])
    assert len(model.onepeace.adapters["text"].relative_bias) == 2
    assert set(parts_of(model)) == {"text", "image", "audio", "attention", "head"}
    again = begin(settings, labels=COLOURS, seed=1)
    assert not torch.equal(again.model.head.classifier[0].weight, model.head.classifier[0].weight)
    # A model that has the head already goes on with it.
    folder = pretrained / "tuned"
    model.save_pretrained(folder)
    started.processor.save_pretrained(folder)
    on = begin(settings_of(folder, head="classification"), labels=COLOURS).model
    torch.testing.assert_close(on.head.classifier[0].weight, model.head.classifier[0].weight)
    with pytest.raises(ModelConfigError, match="of another shape: head.classifier"):
        begin(settings_of(folder, head="classification"), labels=("a", "b"))


def test_pictures_of_another_size(pretrained: Path) -> None:
    had = OnePeaceForPretraining.from_pretrained(pretrained).onepeace
    grid = had.config.image_config.bias_grid
    changes = {"image_config": {"bias_grid": grid + 1}}
    started = begin(settings_of(pretrained, head="grounding", config=changes))
    assert started.processor.image_size == 16 * (grid + 1)
    table = had.state_dict()["adapters.image.relative_bias.0"]
    torch.testing.assert_close(
        started.model.onepeace.state_dict()["adapters.image.relative_bias.0"],
        resized_table(table, grid, (grid + 1, grid + 1)),
    )
    # For a contrast too: without a head, projections and logit scale stay.
    tuned = begin(settings_of(pretrained, new_parts=["decoder"], config={"bias_per_layer": True}))
    assert len(tuned.model.onepeace.adapters["image"].relative_bias) == 2
    torch.testing.assert_close(
        tuned.model.onepeace.projections["text"].weight, had.projections["text"].weight
    )


def test_less_than_the_whole_model(pretrained: Path) -> None:
    changes = {"text_config": None, "audio_config": None, "head_config": {"modality": "image"}}
    started = begin(settings_of(pretrained, head="classification", config=changes), labels=COLOURS)
    assert set(parts_of(started.model)) == {"image", "attention", "head"}
    assert started.processor.tokenizer is None


def test_marks_of_second_pictures_are_new(pretrained: Path) -> None:
    changes = {"text_config": {"type_embeddings": 1}, "image_config": {"type_embeddings": 2}}
    settings = settings_of(pretrained, head="classification", config=changes)
    model = begin(settings, labels=("true", "false")).model
    assert len(model.onepeace.adapters["image"].type_embeddings) == 2


def test_another_encoder_is_refused(pretrained: Path) -> None:
    settings = settings_of(pretrained, head="grounding")
    plain = model_config(settings)
    for change, message in (
        ({"intermediate_size": 52}, "does not fit"),
        ({"num_hidden_layers": 3}, "has no weights for"),
    ):
        other = OnePeaceConfig(**{**plain.to_dict(), **change})
        with pytest.raises(RecipeError, match=message):
            with_head(str(pretrained), other, OnePeaceForGrounding)
    with pytest.raises(RecipeError, match="no model can be read from"):
        with_head(str(pretrained / "nowhere"), plain, OnePeaceForGrounding)
