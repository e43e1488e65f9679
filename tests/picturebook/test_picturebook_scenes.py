"""The step "scenes", built small from toy drawings."""

import json
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageDraw

from unisono.errors import DataError
from unisono.manifests import ConversationRow, PairRow, Row, open_manifest
from unisono.picturebook import scenes
from unisono.picturebook.colours import COLOURS, shade
from unisono.picturebook.contact_sheets import manifest_sheet, sheet
from unisono.picturebook.cut_outs import paste
from unisono.picturebook.drawing import Drawing
from unisono.picturebook.scene import box_of, mask_of
from unisono.picturebook.scene_blind import blind_scores
from unisono.picturebook.scene_planning import (
    CutOut,
    Wish,
    compositions,
    held_out,
    inventory,
    measured,
    plan,
)
from unisono.picturebook.scene_questions import Question
from unisono.picturebook.step import draws, make

NAMES = (
    *("dog", "car", "apple", "house", "fish", "star", "drum", "key", "hat", "book", "bell"),
    *("cup", "bed", "spider", "crown", "camera", "guitar", "hammer", "tree", "pizza"),
)
HANDS = {"one": "train", "two": "train", "three": "unseen_drawing"}


def cut_out_file(path: Path, number: int) -> None:
    """A polygon of one colour with a dark dot."""
    draw = draws("toy", number)
    picture = Image.new("RGBA", (100, draw.randint(60, 140)))
    pen = ImageDraw.Draw(picture)
    colour = (*shade(draw.choice(COLOURS), draw), 255)
    pen.regular_polygon((50, picture.height // 2, 29), number % 6 + 3, fill=colour)
    pen.ellipse((47, 30, 53, 36), fill="black")
    picture.crop(picture.getbbox()).save(path)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of data with the step "drawings" and, built from it, "scenes"."""
    whole = tmp_path_factory.mktemp("data")
    (whole / "drawings").mkdir()
    rows = []
    for number, (name, hand) in enumerate((n, h) for n in NAMES for h in HANDS):
        cut_out_file(whole / "drawings" / f"{hand}-{name}.png", number)
        known = {"name": f"{hand}-{name}", "concept": name, "hand": hand, "group": ""}
        more = {"split": HANDS[hand], "captions": {}, "keywords": [], "photograph": False}
        rows.append(json.dumps(known | more))
    (whole / "drawings" / "drawings.jsonl").write_text("\n".join(rows), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scenes, "TRAIN_SCENES", 120)
        patch.setattr(scenes, "TEST_QUESTIONS", 48)
        make(scenes.STEP, whole)
    return whole


@pytest.fixture(scope="module")
def rows(data: Path) -> Mapping[str, list[Row]]:
    folder = data / "scenes"
    return {path.stem: list(open_manifest(path)) for path in folder.glob("*.jsonl")}


def conversations(rows: list[Row]) -> list[ConversationRow]:
    return [row for row in rows if isinstance(row, ConversationRow)]


def test_every_manifest_is_there(data: Path, rows: Mapping[str, list[Row]]) -> None:
    counts = {name: len(found) for name, found in rows.items()}
    assert (counts["train"], counts["test"], counts["test_unseen_drawing"]) == (120, 48, 48)
    assert counts["grounding"] > 40
    assert counts["test_grounding"] > 15
    assert set(json.loads((data / "scenes" / "blind.json").read_text())["test"]) == {
        *("what", "colour", "how many", "where")
    }


def test_a_scene_is_the_same_bytes_every_time(data: Path, tmp_path: Path) -> None:
    """Made here alone, without the processes and in another order."""
    drawings = scenes.read_drawings(data)
    known, _ = scenes.stocks([one for one in map(measured, drawings) if one])
    for index in (7, 3):
        shown = scenes.train_scene(known, tmp_path / "train", index)
        scenes.save(shown)
        built = data / "scenes" / "train" / shown.path.name
        assert shown.path.read_bytes() == built.read_bytes()


def test_the_picture_comes_first_and_answers_are_short(rows: Mapping[str, list[Row]]) -> None:
    for row in conversations(rows["train"]):
        kinds = [[part.type for part in message.parts] for message in row.messages]
        assert kinds[0] == ["image", "text"]
        assert all(kind == ["text"] for kind in kinds[1:])
        for message in row.messages[1::2]:
            said = str(message.content)
            assert said == said.lower()
            assert len(said.split()) <= 7


def test_test_answers_come_equally_often(rows: Mapping[str, list[Row]]) -> None:
    kinds = Counter(row.fields["kind"] for row in rows["test"])
    assert kinds == {"what": 12, "colour": 12, "how many": 12, "where": 12}
    numbers = Counter(
        r.fields["answers"][0] for r in rows["test"] if r.fields["kind"] == "how many"
    )
    assert max(numbers.values()) - min(numbers.values()) <= 1
    assert set(numbers) == {"one", "two", "three", "four"}
    colours = Counter(r.fields["answers"][0] for r in rows["test"] if r.fields["kind"] == "colour")
    assert max(colours.values()) - min(colours.values()) <= 1


def test_the_answer_is_one_of_the_accepted(rows: Mapping[str, list[Row]]) -> None:
    for row in conversations(rows["test"]):
        assert row.messages[-1].content == row.fields["answers"][0]
        if row.fields["kind"] == "how many":
            asked = row.fields["names"][row.fields["thing"]]
            assert row.fields["answers"][1] == str(row.fields["names"].count(asked))


def test_tests_show_what_training_never_does(rows: Mapping[str, list[Row]]) -> None:
    def several(name: str) -> list[Mapping[str, Any]]:
        return [row.fields for row in rows[name] if len(row.fields["names"]) > 1]

    layouts = {fields["layout"] for fields in several("train")}
    made = frozenset().union(*(compositions(fields["names"]) for fields in several("train")))
    for test in ("test", "test_unseen_drawing"):
        assert several(test)
        for fields in several(test):
            assert fields["layout"] not in layouts
            assert compositions(fields["names"]) - made
    words = {turn["template"] for row in rows["train"] for turn in row.fields["turns"]}
    assert not words & {row.fields["template"] for row in rows["test"]}


def test_hands_of_the_test_are_never_trained(rows: Mapping[str, list[Row]]) -> None:
    hands = {
        name: {d.partition("-")[0] for row in rows[name] for d in row.fields["drawings"]}
        for name in ("train", "test", "test_unseen_drawing")
    }
    assert hands == {
        "train": {"one", "two"},
        "test": {"one", "two"},
        "test_unseen_drawing": {"three"},
    }


def test_boxes_and_masks_agree_and_do_not_touch(rows: Mapping[str, list[Row]]) -> None:
    for row in rows["train"]:
        masks = [mask_of(runs) for runs in row.fields["masks"]]
        assert [box_of(mask).xywh for mask in masks] == row.fields["boxes"]
        assert np.sum(masks, axis=0).max() == 1


def test_a_phrase_means_the_thing_in_its_mask(rows: Mapping[str, list[Row]]) -> None:
    for row in rows["grounding"]:
        assert isinstance(row, PairRow)
        assert row.text is not None
        assert row.text.startswith(f"the {row.fields['name']}")
        assert box_of(mask_of(row.fields["mask"])).xywh == row.fields["box"]


def test_things_stand_out_from_what_is_behind_them(data: Path) -> None:
    stock = inventory(one for one in map(measured, scenes.read_drawings(data)) if one)
    for seed in range(30):
        draw = draws("contrast", seed)
        pasted = paste(plan(stock, Wish("several"), draw), draw)
        pixels = np.asarray(pasted.image, dtype=float)
        for mask in pasted.masks:
            box = box_of(mask)
            around = np.zeros_like(mask)
            around[box.top : box.top + box.height, box.left : box.left + box.width] = True
            inside, outside = pixels[mask], pixels[around & ~mask]
            if len(outside) > 40:
                distance = np.abs(np.median(inside, axis=0) - np.median(outside, axis=0))
                assert distance.max() > 25


def test_wishes_come_true(data: Path) -> None:
    stock = inventory(one for one in map(measured, scenes.read_drawings(data)) if one)
    for count in (1, 2, 3, 4):
        scene = plan(stock, Wish("counted", count=count, held_out=True), draws("wish", count))
        assert scene.count == count
        names = [thing.name for thing in scene.things]
        assert names.count(names[0]) == count
        assert len(names) == 1 or held_out(scene.layout)
    assert plan(stock, Wish("large", colour="blue"), draws("wish")).things[0].colour == "blue"


def test_blind_guessers_are_found_out() -> None:
    """Where the name gives the colour away, the guesser that reads the name has it."""
    fair = [_colour("dog", c) for c in COLOURS] + [_colour("frog", c) for c in COLOURS]
    unfair = [_colour("dog", "brown")] * 3 + [_colour("frog", "green")] * 3
    assert blind_scores(fair, fair)["colour"]["words"] == pytest.approx(1 / len(COLOURS), abs=1e-3)
    assert blind_scores(unfair, unfair)["colour"] == {"form": 0.5, "words": 1.0}


def _colour(name: str, colour: str) -> Question:
    return Question("colour", "colour", {"name": name}, (colour,))


def test_a_drawing_that_was_never_cut_out_is_no_good(tmp_path: Path) -> None:
    assert _measured(tmp_path, Image.new("RGBA", (90, 90), (200, 0, 0, 255))) is None
    assert _measured(tmp_path, Image.new("RGBA", (90, 20), (200, 0, 0, 255))) is None
    assert _measured(tmp_path, Image.new("RGBA", (90, 90), (200, 0, 0, 20))) is None


def _measured(folder: Path, picture: Image.Image) -> CutOut | None:
    path = folder / f"{picture.size}{picture.getpixel((0, 0))}.png"
    picture.save(path)
    return measured(Drawing("x", path, "dog", "toy", "", "train", {}, (), False))


def test_too_few_things_are_refused() -> None:
    with pytest.raises(DataError, match="scenes need 12 things, but have 0"):
        scenes.stocks([])


def test_a_step_has_contact_sheets(data: Path) -> None:
    sheets = {path.name for path in (data / "scenes" / "sheets").iterdir()}
    assert sheets == {"train.png", "test.png", "test_unseen_drawing.png"}


def test_contact_sheets(rows: Mapping[str, list[Row]]) -> None:
    whole = manifest_sheet(rows["train"], count=6, columns=3)
    assert whole.width == 3 * 134 + 6
    assert whole.height > 2 * 134
    one = Image.new("RGBA", (300, 150), (255, 0, 0, 255))
    small = sheet([one, one], ["a", "b\nc"], columns=2, cell_px=60)
    assert small.size == (2 * 66 + 6, 66 + 26 + 6)
    assert small.getpixel((36, 36)) == (255, 0, 0)
    assert small.getpixel((36, 8)) == (255, 255, 255)  # its shape is kept
    with pytest.raises(ValueError, match="2 pictures need as many captions, not 1"):
        sheet([one, one], ["a"], columns=2)
    with pytest.raises(ValueError, match="columns must be at least 1"):
        sheet([one], ["a"], columns=0)
