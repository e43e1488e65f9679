"""Pairs of a picture and a caption, their vocabulary, and how steps are made."""

import hashlib
import json
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from transformers import AutoTokenizer

from unisono.errors import DataError
from unisono.manifests import open_manifest
from unisono.picturebook import build as building
from unisono.picturebook import pictures, vocabulary
from unisono.picturebook.captions import drawn_caption, with_article
from unisono.picturebook.drawing import Drawing, read_drawings
from unisono.picturebook.pictures import SIDE_PX, TIMES, WILD_TIMES, Placing, placed, varied
from unisono.picturebook.step import Step, draws, made, make

RED = Image.new("RGBA", (40, 20), (255, 0, 0, 255))
ROWS = [
    ("noto-dog", "dog", "noto", "train", {"fr": "chien", "ru": "собака"}, ["pet", "puppy"]),
    ("twemoji-cat", "cat", "twemoji", "train", {}, []),
    ("fxemoji-dog", "dog", "fxemoji", "unseen_drawing", {}, []),
    ("noto-tractor", "tractor", "noto", "unseen_concept", {}, []),
]


def given_drawings(data: Path) -> list[Drawing]:
    folder = data / "drawings"
    folder.mkdir(parents=True)
    with (folder / "drawings.jsonl").open("w") as file:
        for name, concept, hand, split, captions, keywords in ROWS:
            RED.save(folder / f"{name}.png")
            row = {"name": name, "concept": concept, "hand": hand, "split": split}
            more = {"group": "animals", "captions": captions, "keywords": keywords}
            file.write(json.dumps({**row, **more, "photograph": False}) + "\n")
    (folder / "step.json").write_text('{"version": 1}')
    return read_drawings(data)


def digest(folder: Path) -> str:
    whole = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            whole.update(str(path.relative_to(folder)).encode() + path.read_bytes())
    return whole.hexdigest()


# --- captions --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "right"), [("a owl", "an owl"), ("a dog on a ox", "a dog on an ox")]
)
def test_articles(text: str, right: str) -> None:
    assert with_article(text) == right


def test_captions_vary_and_name_the_thing(tmp_path: Path) -> None:
    dog = given_drawings(tmp_path)[0]
    drawn = [drawn_caption(dog, random.Random(seed)) for seed in range(200)]
    english = [text for text, language in drawn if language == "en"]
    assert all("dog" in text for text in english)
    assert len(set(english)) > 10
    assert {language for _, language in drawn} == {"en", "fr", "ru"}
    assert any("puppy" in text for text in english)


# --- pictures --------------------------------------------------------------------------------


def test_placed_keeps_shape_and_stays_inside() -> None:
    picture = placed(RED, Placing(size=0.5, at=(1.0, 0.0)))
    pixels = np.asarray(picture)
    red = (pixels == (255, 0, 0)).all(axis=-1)
    rows, columns = np.nonzero(red)
    assert picture.size == (SIDE_PX, SIDE_PX)
    assert (np.ptp(columns) + 1, np.ptp(rows) + 1) == (SIDE_PX // 2, SIDE_PX // 4)
    assert (columns.max(), rows.min()) == (SIDE_PX - 1, 0)


def test_ground_runs_from_top_to_bottom() -> None:
    picture = placed(RED, Placing(size=0.1, ground=((0, 0, 0), (200, 100, 50))))
    assert picture.getpixel((0, 0)) == pytest.approx((0, 0, 0), abs=4)
    assert picture.getpixel((0, SIDE_PX - 1)) == pytest.approx((200, 100, 50), abs=4)


def test_no_variation_is_like_another() -> None:
    seen = {varied(RED, draws("test", i), flips=True, wild=i % 2 == 0).tobytes() for i in range(20)}
    assert len(seen) == 20


def test_the_step_makes_the_same_bytes_and_keeps_splits_apart(tmp_path: Path) -> None:
    given_drawings(tmp_path)
    make(pictures.STEP, tmp_path)
    folder = tmp_path / "pictures"
    before = digest(folder)
    make(pictures.STEP, tmp_path)
    assert digest(folder) == before
    counts = {path.stem: len(open_manifest(path)) for path in folder.glob("*.jsonl")}
    plain = {"train": 2 * TIMES, "train_plain": 2 * (TIMES - WILD_TIMES)}
    assert counts == {**plain, "test_unseen_drawing": 1, "test_unseen_concept": 1}
    assert {row.text for row in open_manifest(folder / "train_plain.jsonl")} == {"dog", "cat"}
    row = open_manifest(folder / "test_unseen_concept.jsonl")[0]
    assert (row.text, row.fields["drawing"]) == ("tractor", "noto-tractor")
    assert Image.open(str(row.image)).size == (SIDE_PX, SIDE_PX)


def test_the_vocabulary_knows_what_trains_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given_drawings(tmp_path)
    monkeypatch.setattr(vocabulary, "SIZE", 300)
    make(vocabulary.STEP, tmp_path)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "vocabulary")
    assert (tokenizer.bos_token_id, tokenizer.pad_token_id, tokenizer.eos_token_id) == (0, 1, 2)
    assert tokenizer.tokenize(" dog") == ["Ġdog"]
    assert len(tokenizer.tokenize(" tractor")) > 2
    assert tokenizer.decode(tokenizer(" собака!").input_ids) == " собака!"


# --- steps -----------------------------------------------------------------------------------


def test_a_step_that_fails_leaves_the_old_folder(tmp_path: Path) -> None:
    def fill(folder: Path, data: Path) -> None:
        (folder / "file").write_text(str(data == tmp_path))

    def fail(folder: Path, data: Path) -> None:
        (folder / "half").touch()
        raise DataError("no")

    good, bad = (Step("one", version, (), fn) for version, fn in ((1, fill), (2, fail)))
    assert not made(good, tmp_path)
    make(good, tmp_path)
    assert made(good, tmp_path)
    with pytest.raises(DataError):
        make(bad, tmp_path)
    assert (tmp_path / "one" / "file").read_text() == "True"
    assert made(good, tmp_path)
    assert not made(bad, tmp_path)


def test_steps_are_made_once_with_what_they_need(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    order: list[str] = []

    def step(name: str, *needs: str) -> Step:
        return Step(name, 1, needs, lambda folder, data: order.append(name))

    steps = (step("a"), step("b", "a"), step("c"), step("d", "b"))
    monkeypatch.setattr(building, "STEPS", steps)
    assert building.missing(tmp_path, ["d"]) == ["a", "b", "d"]
    assert building.build(tmp_path, ["b"]) == ["a", "b"]
    assert building.build(tmp_path) == ["c", "d"]
    assert building.build(tmp_path) == []
    assert order == ["a", "b", "c", "d"]
    with pytest.raises(DataError, match="no step is called 'e'; there are: a, b, c, d"):
        building.build(tmp_path, ["e"])


def test_every_step_has_what_it_needs_before_it() -> None:
    seen: set[str] = set()
    for step in building.STEPS:
        assert set(step.needs) <= seen, step.name
        seen.add(step.name)


def test_draws_depend_on_what_they_are_for() -> None:
    assert draws("a", 1).random() == draws("a", 1).random()
    assert draws("a", 1).random() != draws("a", 2).random()
