"""Places, relations, masks, colours and questions of scenes."""

import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from unisono.picturebook.colours import COLOURS, colour_of, recoloured, shade
from unisono.picturebook.drawing import Drawing
from unisono.picturebook.scene import (
    OPPOSITE,
    PLACES,
    SIZE_PX,
    Box,
    Scene,
    Thing,
    arrange,
    box_of,
    mask_of,
    place_of,
    run_lengths,
    side_of,
)
from unisono.picturebook.scene_questions import CHECK, Question, dialogue, questions
from unisono.picturebook.scene_templates import TEMPLATES
from unisono.picturebook.scene_things import vocabulary

BOXES = st.builds(
    Box, st.integers(0, 100), st.integers(0, 100), st.integers(1, 28), st.integers(1, 28)
)


def thing(name: str, at: tuple[int, int], *, colour: str | None = None, size: int = 30) -> Thing:
    """A square thing with its centre at a point."""
    drawing = Drawing(name, Path(f"{name}.png"), name, "toy", "", "train", {}, (), False)
    box = Box(at[0] - size // 2, at[1] - size // 2, size, size)
    return Thing(name, drawing, box, colour, colour_drawn=colour is not None)


def asked(scene: Scene, *absent: str, test: bool = False) -> list[Question]:
    return questions(scene, absent, random.Random(0), test=test)


def answer(scene: Scene, form: str, **slots: str) -> list[str]:
    return [q.answers[0] for q in asked(scene) if q.form == form and q.slots == slots]


@pytest.mark.parametrize(
    ("centre", "place"),
    [
        ((20, 20), "top left"),
        ((64, 20), "top"),
        ((64, 64), "middle"),
        ((108, 64), "right"),
        ((20, 108), "bottom left"),
        ((50, 20), None),  # between the left and the middle
        ((64, 78), None),
    ],
)
def test_a_place_is_named_only_where_it_is_plain(
    centre: tuple[int, int], place: str | None
) -> None:
    assert place_of(thing("dog", centre).box) == place


@pytest.mark.parametrize(
    ("centre", "side"),
    [((20, 64), "left"), ((110, 70), "right"), ((64, 15), "above"), ((70, 110), "below")],
)
def test_sides(centre: tuple[int, int], side: str) -> None:
    assert side_of(thing("dog", centre).box, thing("cat", (64, 64)).box) == side


def test_a_diagonal_neighbour_is_on_no_side() -> None:
    assert side_of(thing("dog", (20, 20)).box, thing("cat", (64, 64)).box) is None


@given(BOXES, BOXES)
def test_sides_are_opposite(one: Box, other: Box) -> None:
    side, back = side_of(one, other), side_of(other, one)
    assert (side is None) == (back is None)
    assert side is None or back == OPPOSITE[side]


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**81 - 1))
def test_a_mask_comes_back_from_its_run_lengths(height: int, width: int, bits: int) -> None:
    mask = np.array([bits >> i & 1 for i in range(height * width)], dtype=bool)
    mask = mask.reshape(height, width)
    runs = run_lengths(mask)
    assert sum(runs["counts"]) == mask.size
    np.testing.assert_array_equal(mask_of(runs), mask)


def test_run_lengths_go_down_the_columns_as_cocos_do() -> None:
    mask = np.array([[0, 1, 1], [0, 1, 0]], dtype=bool)
    assert run_lengths(mask) == {"size": [2, 3], "counts": [2, 3, 1]}
    assert box_of(mask).xywh == [1, 0, 2, 2]
    assert run_lengths(~mask)["counts"] == [0, 2, 3, 1]


@given(st.integers(0, 10**6), st.lists(st.sampled_from([(40, 30), (24, 44)]), max_size=4))
def test_arranged_things_are_apart_and_inside(seed: int, shapes: list[tuple[int, int]]) -> None:
    boxes = arrange(shapes, [None] * len(shapes), random.Random(seed))
    for box in boxes or []:
        assert box.left >= 0
        assert box.top >= 0
        assert box.left + box.width <= SIZE_PX
        assert box.top + box.height <= SIZE_PX
    covered = np.zeros((SIZE_PX, SIZE_PX), dtype=int)
    for box in boxes or []:
        covered[box.top : box.top + box.height, box.left : box.left + box.width] += 1
    assert covered.max(initial=0) <= 1


@pytest.mark.parametrize("place", PLACES)
def test_a_thing_is_put_where_it_is_wished(place: str) -> None:
    boxes = arrange([(40, 30), (30, 30)], [place, None], random.Random(1))
    assert boxes is not None
    assert place_of(boxes[0]) == place


def disc(rgb: tuple[int, int, int], size: int = 40) -> Image.Image:
    """A disc with a black rim, on nothing."""
    picture = Image.new("RGBA", (size, size))
    ImageDraw.Draw(picture).ellipse((0, 0, size - 1, size - 1), fill=(*rgb, 255), outline="black")
    return picture


@pytest.mark.parametrize(
    ("rgb", "colour"),
    [
        ((220, 20, 20), "red"),
        ((255, 140, 0), "orange"),
        ((250, 220, 30), "yellow"),
        ((40, 160, 60), "green"),
        ((50, 90, 220), "blue"),
        ((130, 60, 180), "purple"),
        ((255, 170, 200), "pink"),
        ((120, 72, 30), "brown"),
        ((20, 20, 20), "black"),
        ((130, 130, 130), "grey"),
        ((250, 250, 250), "white"),
        ((240, 215, 180), None),  # beige
        ((60, 190, 180), None),  # turquoise
    ],
)
def test_colours_have_their_names(rgb: tuple[int, int, int], colour: str | None) -> None:
    assert colour_of(disc(rgb)) == colour


@given(st.sampled_from(COLOURS), st.integers(0, 10**6))
def test_every_shade_has_its_colours_name(colour: str, seed: int) -> None:
    assert colour_of(disc(shade(colour, random.Random(seed)))) == colour


def test_what_is_transparent_has_no_colour() -> None:
    picture = Image.new("RGBA", (40, 40), (255, 0, 0, 0))
    picture.paste((0, 0, 255, 255), (0, 0, 10, 10))
    assert colour_of(picture) == "blue"


def test_two_colours_in_equal_parts_are_none() -> None:
    picture = Image.new("RGBA", (40, 40), (220, 20, 20, 255))
    picture.paste((50, 90, 220, 255), (0, 0, 40, 20))
    assert colour_of(picture) is None
    assert recoloured(picture, "green") is None


@pytest.mark.parametrize("old", COLOURS)
@pytest.mark.parametrize("new", COLOURS)
def test_painting_over_keeps_shape_and_rim(old: str, new: str) -> None:
    before = disc(shade(old, random.Random(3)))
    after = recoloured(before, new)
    assert after is not None
    assert colour_of(after) == new
    assert after.getchannel("A").tobytes() == before.getchannel("A").tobytes()
    if old != "black":
        assert after.getpixel((0, 19))[:3] == (0, 0, 0)  # type: ignore[index]


SCENE = Scene((thing("dog", (22, 64), colour="red"), thing("apple", (104, 64), colour="green")))


def test_answers_about_two_things() -> None:
    assert answer(SCENE, "what at", at="on the left") == ["a dog"]
    assert answer(SCENE, "what at", at="on the right") == ["an apple"]
    assert answer(SCENE, "what both") == ["a dog and an apple"]
    assert answer(SCENE, "what coloured", colour="green") == ["an apple"]
    assert answer(SCENE, "colour", name="dog") == ["red"]
    assert answer(SCENE, "where", name="apple") == ["right"]
    assert answer(SCENE, "where seen from", name="dog", other="apple") == ["left of the apple"]
    assert answer(SCENE, "what beside", side="left of", name="apple") == ["a dog"]
    assert answer(SCENE, "how many", names="dogs") == []  # their number was not drawn by lot


def test_what_is_not_plain_is_not_asked() -> None:
    scene = Scene((thing("dog", (22, 22)), thing("cat", (22, 100)), thing("car", (50, 64))))
    assert answer(scene, "where", name="dog") == ["top left"]
    assert answer(scene, "where", name="car") == []  # between left and middle
    assert not [q for q in asked(scene) if q.form == "what at"]
    assert answer(scene, "colour", name="dog") == []  # everybody knows a dog's colour
    corner = Scene((thing("dog", (22, 22)), thing("cat", (22, 64)), thing("car", (104, 64))))
    assert answer(corner, "what at", at="on the left") == []  # the dog is on the left, too
    assert answer(corner, "what at", at="at the top left") == ["a dog"]
    assert answer(corner, "what beside", side="left of", name="car") == []  # two are
    aslant = Scene((thing("dog", (22, 64)), thing("cat", (60, 14)), thing("car", (104, 64))))
    assert answer(aslant, "where seen from", name="dog", other="car") == ["left of the car"]
    assert answer(aslant, "what beside", side="left of", name="car") == []  # or is it the cat?


def test_copies_are_counted_and_have_no_place_of_their_own() -> None:
    mice = tuple(thing("mouse", at, colour="blue") for at in ((22, 22), (22, 100), (104, 22)))
    scene = Scene((*mice, thing("car", (104, 104))), count=3)
    assert answer(scene, "how many", names="mice") == ["three"]
    assert answer(scene, "colour of all", names="mice") == ["blue"]
    assert answer(scene, "where", name="mouse") == []
    assert answer(scene, "where", name="car") == ["bottom right"]


def test_the_plural_gives_the_number_away() -> None:
    mice = tuple(thing("mouse", at, colour="blue") for at in ((22, 22), (104, 104)))
    asked_ = [q for q in asked(Scene(mice, count=2)) if q.form in ("how many", "colour of all")]
    for seed in range(20):
        forms = [q.form for q in dialogue(asked_, 4, random.Random(seed))]
        assert forms != ["colour of all", "how many"]


def test_no_turn_tells_what_a_later_one_asks() -> None:
    told_before_asked = 0
    for seed in range(200):
        turns = dialogue(asked(SCENE, "cow", "bus"), 6, random.Random(seed))
        said = ""
        for turn in turns:
            if turn.form in ("what at", "what coloured", "what beside", "what both"):
                told_before_asked += any(name in said for name in turn.tells)
            said += f" {turn.text} " + (turn.answers[0] if turn.kind != CHECK else "")
            if turn.form == "presence" and turn.answers == ("no",):
                assert turn.slots["a_name"] in ("a cow", "a bus")
    assert told_before_asked == 0


def test_yes_is_as_likely_as_no() -> None:
    answers = [
        turn.answers[0]
        for seed in range(600)
        for turn in dialogue(asked(SCENE, "cow", "bus", "cat"), 5, random.Random(seed))
        if turn.kind == CHECK
    ]
    assert len(answers) > 400
    assert 0.44 < answers.count("yes") / len(answers) < 0.56


@pytest.mark.parametrize("form", TEMPLATES)
def test_words_of_the_test_are_never_trained(form: str) -> None:
    train, test = TEMPLATES[form]
    assert train
    assert test
    assert not set(train) & set(test)
    assert {q.template for q in asked(SCENE) if q.form == form} <= set(train)
    assert {q.template for q in asked(SCENE, test=True) if q.form == form} <= set(test)


def test_names_in_sentences() -> None:
    words = vocabulary()
    assert [words.plural(n) for n in ("dog", "bus", "fox", "cherry", "toy", "leaf")] == [
        *("dogs", "buses", "foxes", "cherries", "toys", "leaves")
    ]
    articles = [words.with_article(n) for n in ("dog", "apple", "hourglass", "ufo", "bread", "sun")]
    assert articles == ["a dog", "an apple", "an hourglass", "a ufo", "bread", "the sun"]


def test_the_vocabulary_speaks_of_what_it_has() -> None:
    words = vocabulary()
    names = set(words.names.values())
    assert words.plurals.keys() <= names
    assert words.uncounted <= names
    assert {other for others in words.confusable.values() for other in others} <= names
    assert all(len(name.split()) <= 2 for name in names)
    assert words.mistakable("wolf", ("apple", "dog"))
    assert not words.mistakable("wolf", ("apple", "car"))
