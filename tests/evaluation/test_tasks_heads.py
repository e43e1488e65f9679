"""Models with a head are scored: right, wrong, failed and left out."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from unisono.evaluation import make_task
from unisono.manifests.row import PairRow
from unisono.runtime import Answer, Predictor


class Scripted(Predictor):
    """Says of a picture what its red value stands for."""

    def __init__(self, task: str, inputs: tuple[str, ...], answers: Sequence[Answer]) -> None:
        self.task, self.inputs, self.answers = task, inputs, answers

    def open(self, item: Any) -> int:
        from unisono.media import load_image

        return int(np.asarray(load_image(item["image"]).convert("RGB"))[0, 0, 0])

    def answer(self, opened: Sequence[int]) -> list[Answer]:
        return [self.answers[one] for one in opened]


def row(place: int, image: Any = None, text: str | None = None, **fields: Any) -> PairRow:
    picture = Image.new("RGB", (8, 8), (place, 0, 0)) if image is None else image
    return PairRow(f"row {place}", text=text, image=picture, fields=fields)


def scores(name: str, rows: list[PairRow], model: Predictor, **settings: str) -> dict[str, Any]:
    task = make_task(name, **settings)
    return dict(task.score(task.predict(model, rows)))


ANSWERS = [Answer({"cat": 0.7, "dog": 0.3}), Answer({"dog": 0.9, "cat": 0.1})]


def test_one_label(tmp_path: Path) -> None:
    torn = tmp_path / "torn.png"
    torn.write_bytes(b"")
    rows = [row(0, label="cat"), row(1, label="cat"), row(1, label="dog")]
    rows += [row(2, image=str(torn), label="cat"), row(3, label=None)]
    found = scores("classified", rows, Scripted("classify", ("image",), ANSWERS))["accuracy"]
    assert found.amounts.tolist() == [1, 0, 1, 0]  # torn is wrong, without a label left out
    assert found.value == 0.5


def test_people_and_several() -> None:
    model = Scripted("classify", ("image",), ANSWERS)
    rows = [row(0, answers=["cat"] * 3 + ["dog"] * 7), row(1, answers=["cat"] * 10)]
    found = scores("classified", rows, model, field="answers", target="people")["vqa_accuracy"]
    assert found.amounts.tolist() == pytest.approx([0.9, 0.0])
    rows = [row(0, labels=["cat"]), row(1, labels=["dog"])]
    assert scores("classified", rows, model, field="labels", target="several")["map"].value == 1
    rows = [row(0, labels=["dog"]), row(1, labels=["cat"])]
    assert scores("classified", rows, model, field="labels", target="several")["map"].value == 0.5


def test_boxes() -> None:
    model = Scripted(
        "ground", ("text", "image"), [Answer(box=(0, 0, 4, 4)), Answer(box=(4, 4, 8, 8))]
    )
    rows = [row(0, text="a", box=[0, 0, 4, 3]), row(1, text="a", box=[0, 0, 4, 4])]
    rows.append(row(0, text="a", box="none"))
    found = scores("grounded", rows, model)
    assert found["accuracy@0.5"].amounts.tolist() == [1, 0]
    assert found["overlap"].amounts.tolist() == pytest.approx([0.75, 0.0])


def test_choices() -> None:
    model = Scripted("rank", ("text", "image", "choices"), ANSWERS)
    rows = [
        row(0, text="which?", choices=["dog", "cat"], choice=1),
        row(1, text="which?", choices=["dog", "cat"], choice=1),
        row(1, text="which?", choices=["dog", "cat"], choice=2),
    ]
    assert scores("ranked", rows, model)["accuracy"].amounts.tolist() == [1, 0]
