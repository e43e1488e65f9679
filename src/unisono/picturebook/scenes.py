"""The step "scenes": pictures of one to four cut-outs whose every box, colour and place is known.

train.jsonl                12,000 scenes, a conversation of 4 to 6 questions about each
test.jsonl                 400 single questions, 100 a kind: layouts, compositions and words
                           of questions that training never has, drawings that it has
test_unseen_drawing.jsonl  400 more, of drawings by hands that training never has
grounding.jsonl            phrases with box and mask, from the scenes of training
test_grounding.jsonl       the same from those of test.jsonl
blind.json                 what guessers score who see no pictures
"""

import json
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from unisono.errors import DataError
from unisono.manifests import ConversationRow, PairRow, write_manifest
from unisono.picturebook.colours import COLOURS
from unisono.picturebook.contact_sheets import write_sheets
from unisono.picturebook.cut_outs import paste
from unisono.picturebook.drawing import read_drawings
from unisono.picturebook.scene import PLACES, SIDES, Scene
from unisono.picturebook.scene_blind import blind_scores
from unisono.picturebook.scene_planning import (
    MOST_THINGS,
    CutOut,
    Group,
    Inventory,
    Wish,
    inventory,
    measured,
    plan,
)
from unisono.picturebook.scene_questions import KINDS, Question, dialogue, questions
from unisono.picturebook.scene_rows import (
    Shown,
    conversation_row,
    grounding_rows,
    question_row,
    save,
)
from unisono.picturebook.scene_templates import BESIDE
from unisono.picturebook.scene_things import vocabulary
from unisono.picturebook.step import Step, draws

TRAIN_SCENES = 12_000
TEST_QUESTIONS = 400
LEAST_HANDS = 2
"""A thing is in scenes if so many hands that may train have drawn it."""

_FEWEST_THINGS = 12
_WORKERS = 2
_CHUNK = 100
_TRIES = 5000
_GROUPS: dict[Group, int] = {"large": 6, "alone": 2, "several": 6, "counted": 4}
_WHAT_FORMS = ("what", "what at", "what", "what coloured")
_COLOUR_GROUPS: tuple[Group, ...] = ("several", "large", "several", "alone")
_Make = Callable[[Inventory, Path, int], Shown]
_WHERE_FORMS = ("where", "where seen from", "what beside")


@dataclass(frozen=True)
class _Task:
    """One question that a test is to have.

    Attributes:
        wish: of the scene.
        form: of the question.
        side: that it is about, if any.
    """

    wish: Wish
    form: str
    side: str | None = None


def build(folder: Path, data: Path) -> None:
    """Make all files of the step; see `Step`.

    Raises:
        DataError: the drawings show too few of the things that scenes are made of.
    """
    drawings = [d for d in read_drawings(data) if d.concept in vocabulary().names]
    with ProcessPoolExecutor(_WORKERS) as pool:
        cut_outs = [one for one in pool.map(measured, drawings, chunksize=_CHUNK) if one]
    known, unseen = stocks(cut_outs)
    learnt = _write_train(folder, known)
    scores = {}
    for name, stock in {"test": known, "test_unseen_drawing": unseen}.items():
        shown = _shown_in_tests(folder / name, stock)
        write_manifest(map(question_row, shown), folder / f"{name}.jsonl")
        scores[name] = blind_scores(learnt, [one.asked[0] for one in shown])
        if name == "test":
            write_manifest(_one_phrase_each(shown), folder / "test_grounding.jsonl")
    (folder / "blind.json").write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")
    write_sheets(folder, ("train", *scores))


def stocks(cut_outs: Sequence[CutOut]) -> tuple[Inventory, Inventory]:
    """What training and its test are made of, and the same things by hands never seen.

    Raises:
        DataError: there are too few things.
    """
    known = inventory((o for o in cut_outs if o.drawing.split == "train"), least_hands=LEAST_HANDS)
    names = vocabulary().names
    others = [o for o in cut_outs if o.drawing.split == "unseen_drawing"]
    unseen = inventory(o for o in others if names[o.drawing.concept] in known.by_name)
    for stock in (known, unseen):
        if len(stock.names) < _FEWEST_THINGS:
            raise DataError(f"scenes need {_FEWEST_THINGS} things, but have {len(stock.names)}")
    return known, unseen


def train_scene(stock: Inventory, folder: Path, index: int) -> Shown:
    """One scene of training with its conversation; depends on its number alone."""
    draw = draws("scenes", "train", index)
    group = draw.choices(list(_GROUPS), weights=list(_GROUPS.values()))[0]
    wish = Wish(group, colour=draw.choice([None, draw.choice(COLOURS)]))
    scene = plan(stock, wish, draw)
    asked = questions(scene, _absent(stock, scene, draw), draw)
    turns = dialogue(asked, draw.randint(4, 6), draw)
    return Shown(scene, paste(scene, draw), folder / f"{index:05d}.jpg", tuple(turns))


def examined_scene(stock: Inventory, folder: Path, index: int) -> Shown:
    """One question of a test with its scene; depends on the folder's name and its number alone.

    Raises:
        DataError: there is no such scene.
    """
    draw = draws("scenes", folder.name, index)
    task = _task(index)
    for _ in range(_TRIES):
        scene = plan(stock, task.wish, draw)
        fitting = [q for q in questions(scene, (), draw, test=True) if _fits(q, task)]
        if fitting:
            asked = (draw.choice(fitting),)
            return Shown(scene, paste(scene, draw), folder / f"{index:05d}.jpg", asked)
    raise DataError(f"no scene was found for question {index} of {folder.name}: {task}")


def _task(index: int) -> _Task:
    """What question number `index` of a test is about; every answer comes equally often."""
    kind, turn = KINDS[index % len(KINDS)], index // len(KINDS)
    if kind == "what":
        form = _WHAT_FORMS[turn % len(_WHAT_FORMS)]
        return _Task(Wish("large" if form == "what" else "several", held_out=True), form)
    if kind == "colour":
        colour, group = COLOURS[turn % len(COLOURS)], _COLOUR_GROUPS[turn % len(_COLOUR_GROUPS)]
        return _Task(Wish(group, colour=colour, held_out=True), "colour")
    if kind == "how many":
        return _Task(Wish("counted", count=1 + turn % MOST_THINGS, held_out=True), kind)
    form, turn = _WHERE_FORMS[turn % len(_WHERE_FORMS)], turn // len(_WHERE_FORMS)
    if form == "where":
        return _Task(Wish("several", place=PLACES[turn % len(PLACES)], held_out=True), form)
    return _Task(Wish("several", held_out=True), form, BESIDE[SIDES[turn % len(SIDES)]])


def _fits(question: Question, task: _Task) -> bool:
    if question.form != task.form:
        return False
    if task.form == "colour":
        return question.thing == 0 and question.answers[0] == task.wish.colour
    if task.form == "where":
        return question.thing == 0 and question.answers[0] == task.wish.place
    return task.side is None or task.side in (*question.answers, question.slots.get("side"))


def _absent(stock: Inventory, scene: Scene, draw: random.Random) -> list[str]:
    """Names of a few things that nobody could take for one in the scene."""
    names = draw.sample(stock.names, min(12, len(stock.names)))
    return [name for name in names if not vocabulary().mistakable(name, scene.names)][:3]


def _write_train(folder: Path, stock: Inventory) -> list[Question]:
    """Files of training; returns all its questions."""
    learnt: list[Question] = []
    phrases: list[PairRow] = []

    def rows() -> Iterator[ConversationRow]:
        for shown in _made(train_scene, stock, folder / "train", TRAIN_SCENES):
            learnt.extend(shown.asked)
            phrases.extend(_one_phrase_each([shown]))
            yield conversation_row(shown)

    write_manifest(rows(), folder / "train.jsonl")
    write_manifest(phrases, folder / "grounding.jsonl")
    return learnt


def _shown_in_tests(folder: Path, stock: Inventory) -> list[Shown]:
    return list(_made(examined_scene, stock, folder, TEST_QUESTIONS))


def _made(make: _Make, stock: Inventory, folder: Path, count: int) -> Iterator[Shown]:
    """Scenes made, and their pictures saved, by several processes; in order."""
    folder.mkdir()
    with ProcessPoolExecutor(_WORKERS, initializer=_take, initargs=(stock,)) as pool:
        yield from pool.map(partial(_made_one, make, folder), range(count), chunksize=_CHUNK)


_stock: list[Inventory] = []  # of a worker process: too large to send with every scene


def _take(stock: Inventory) -> None:
    _stock[:] = [stock]


def _made_one(make: _Make, folder: Path, index: int) -> Shown:
    shown = make(_stock[0], folder, index)
    save(shown)
    return shown


def _one_phrase_each(all_shown: Iterable[Shown]) -> Iterator[PairRow]:
    """For every scene of several things, one phrase that means one of them."""
    for shown in all_shown:
        rows = grounding_rows(shown) if len(shown.scene.things) > 1 else []
        if rows:
            yield draws("scenes", "grounding", shown.path.name).choice(rows)


STEP = Step("scenes", 1, ("drawings",), build)
