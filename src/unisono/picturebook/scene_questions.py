"""What may be asked about a scene, and the answers. Knows no pixels.

A question is asked only where its answer is plain: one thing of that name, a place or a side that
is not between two, a colour that was drawn by lot (or the name would give it away).
"""

import random
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import permutations

from unisono.picturebook.colours import COLOURS
from unisono.picturebook.scene import (
    PLACES,
    SIDES,
    Scene,
    Thing,
    may_be_at_side,
    place_of,
    side_of,
)
from unisono.picturebook.scene_templates import AT, BESIDE, TEMPLATES
from unisono.picturebook.scene_things import UNIQUE, vocabulary

KINDS = ("what", "colour", "how many", "where")
CHECK = "check"
"""Questions that are answered by yes or no; as often by the one as by the other."""

_WHAT_FIRST = 0.5
NUMBERS = ("none", "one", "two", "three", "four")


@dataclass(frozen=True)
class Question:
    """One question about a scene.

    Attributes:
        kind: of `KINDS`, or `CHECK`.
        form: the way it is asked; names its templates.
        slots: what fills the template.
        answers: all that are right; the first is the one to learn.
        says: what the question gives away to who hears what is asked after it.
        tells: what is not asked once it was given away.
        thing: which thing of the scene it is about, if one.
        template: its words, once chosen.
    """

    kind: str
    form: str
    slots: Mapping[str, str]
    answers: tuple[str, ...]
    says: frozenset[str] = frozenset()
    tells: frozenset[str] = frozenset()
    thing: int | None = None
    template: str = ""

    @property
    def text(self) -> str:
        """The words."""
        return self.template.format(**self.slots)


def questions(
    scene: Scene, absent: Sequence[str], draw: random.Random, *, test: bool = False
) -> list[Question]:
    """All questions that may be asked about a scene, in a fixed order, each in drawn words.

    Args:
        scene: the scene.
        absent: names of things that are not in it and are not like any that is.
        draw: random numbers.
        test: use the words that training never has.
    """
    asked = [question for form in _FORMS for question in form(scene)]
    asked += [check for question in asked for check in _checks(question, draw)]
    asked += [_presence(name, "yes") for name in scene.names if name not in UNIQUE]
    asked += [_presence(name, "no") for name in absent if name not in UNIQUE]
    return [_worded(question, draw, test=test) for question in asked]


def dialogue(asked: Sequence[Question], turns: int, draw: random.Random) -> list[Question]:
    """Questions in a row: kinds evenly mixed, nothing asked that a turn before gave away.

    Most begin with what there is, which later questions would give away. A check is asked only
    while yes and no are both possible.
    """
    left, given, chosen = list(asked), set[str](), list[Question]()
    while len(chosen) < turns:
        left = _open(left, given)
        if not left:
            break
        question = _drawn(left, draw, first=not chosen)
        chosen.append(question)
        given |= question.says if question.kind == CHECK else question.says | question.tells
        left = [one for one in left if (one.form, one.slots) != (question.form, question.slots)]
    return chosen


def _open(left: Sequence[Question], given: Collection[str]) -> list[Question]:
    """What was not given away; of checks, forms that may be answered either way."""
    fresh = [question for question in left if question.tells.isdisjoint(given)]
    answered = {(q.form, q.answers) for q in fresh if q.kind == CHECK}
    either = {form for form, _ in answered if {(form, ("yes",)), (form, ("no",))} <= answered}
    return [question for question in fresh if question.kind != CHECK or question.form in either]


def _drawn(left: Sequence[Question], draw: random.Random, *, first: bool) -> Question:
    """A kind by lot, a form of it by lot, an answer by lot if it is yes or no."""
    kinds = sorted({question.kind for question in left})
    kind = "what" if first and "what" in kinds and draw.random() < _WHAT_FIRST else None
    kind = kind or draw.choice(kinds)
    form = draw.choice(sorted({question.form for question in left if question.kind == kind}))
    fitting = [question for question in left if question.form == form]
    if kind == CHECK:
        answer = draw.choice(["yes", "no"])
        fitting = [one for one in fitting if one.answers == (answer,)]
    return draw.choice(fitting)


def _worded(question: Question, draw: random.Random, *, test: bool) -> Question:
    train_words, test_words = TEMPLATES[question.form]
    return replace(question, template=draw.choice(test_words if test else train_words))


def _what(scene: Scene) -> Iterator[Question]:
    if len(scene.things) == 1:
        name = scene.names[0]
        yield Question("what", "what", {}, _named(name), tells=frozenset({name}), thing=0)


def _what_both(scene: Scene) -> Iterator[Question]:
    if len(scene.things) == len(scene.names) == 2:
        order = sorted(scene.things, key=lambda thing: sum(thing.box.centre))
        names = [vocabulary().with_article(thing.name) for thing in order]
        answers = tuple(" and ".join(both) for both in permutations(names))
        yield Question("what", "what both", {}, answers, tells=frozenset(scene.names))


def _what_at(scene: Scene) -> Iterator[Question]:
    """Where all places are plain and no other thing is even partly in that place."""
    places = [place_of(thing.box) for thing in scene.things]
    if None in places or len(places) < 2:
        return
    for index, (thing, place) in enumerate(zip(scene.things, places, strict=True)):
        others = [other for i, other in enumerate(places) if i != index]
        if place is not None and not any(_overlap(place, other or "") for other in others):
            slots, tells = {"at": AT[place]}, frozenset({thing.name})
            yield Question("what", "what at", slots, _named(thing.name), tells=tells, thing=index)


def _overlap(place: str, other: str) -> bool:
    """Whether "on the left", say, might also mean what is at the top left."""
    return set(place.split()) <= set(other.split())


def _what_coloured(scene: Scene) -> Iterator[Question]:
    """Where every thing has a clear colour and no other has this one."""
    colours = [thing.colour for thing in scene.things]
    if None in colours or len(colours) < 2:
        return
    for index, thing in enumerate(scene.things):
        if thing.colour_drawn and thing.colour is not None and colours.count(thing.colour) == 1:
            yield Question(
                *("what", "what coloured", {"colour": thing.colour}, _named(thing.name)),
                says=frozenset({f"colour of {thing.name}"}),
                tells=frozenset({thing.name}),
                thing=index,
            )


def _colour(scene: Scene) -> Iterator[Question]:
    for index, thing in _firsts(scene):
        if not thing.colour_drawn or thing.colour is None:
            continue
        tells = frozenset({f"colour of {thing.name}"})
        if scene.single(thing.name):
            slots, says = {"name": thing.name}, frozenset({thing.name})
            yield Question("colour", "colour", slots, (thing.colour,), says, tells, index)
        else:
            plural = {"names": vocabulary().plural(thing.name)}
            says = frozenset({thing.name, "several"})
            yield Question("colour", "colour of all", plural, (thing.colour,), says, tells, index)
        if len(scene.things) == 1:
            yield Question("colour", "colour of it", {}, (thing.colour,), tells=tells, thing=index)


def _how_many(scene: Scene) -> Iterator[Question]:
    if scene.count is not None:
        name = scene.things[0].name
        slots = {"names": vocabulary().plural(name)}
        answers = (NUMBERS[scene.count], str(scene.count))
        says, tells = frozenset({name}), frozenset({"several"})
        yield Question("how many", "how many", slots, answers, says, tells, 0)


def _where(scene: Scene) -> Iterator[Question]:
    for index, thing in _firsts(scene):
        place = place_of(thing.box)
        if place is None or not scene.single(thing.name) or max(thing.box.xywh[2:]) > _PLACED_PX:
            continue
        says, tells = frozenset({thing.name}), frozenset({f"place of {thing.name}"})
        slots = {"name": thing.name}
        yield Question("where", "where", slots, _placed(place), says, tells, index)


_PLACED_PX = 68  # what is larger is everywhere


def _where_seen_from(scene: Scene) -> Iterator[Question]:
    for (index, thing), (_, other) in permutations(_firsts(scene), 2):
        side = side_of(thing.box, other.box)
        if side is None or not (scene.single(thing.name) and scene.single(other.name)):
            continue
        slots = {"name": thing.name, "other": other.name}
        tells = frozenset({" and ".join(sorted((thing.name, other.name)))})
        says = frozenset({thing.name, other.name})
        answers = (f"{BESIDE[side]} the {other.name}", BESIDE[side], side)
        yield Question("where", "where seen from", slots, answers, says, tells, index)


def _what_beside(scene: Scene) -> Iterator[Question]:
    """Where one thing alone is on that side, and clearly so."""
    for index, thing in _firsts(scene):
        for side in SIDES if scene.single(thing.name) else ():
            there = [o for o in scene.things if may_be_at_side(o.box, thing.box, side)]
            if len(there) == 1 and side_of(there[0].box, thing.box) == side:
                pair = " and ".join(sorted((thing.name, there[0].name)))
                yield Question(
                    *("where", "what beside", {"side": BESIDE[side], "name": thing.name}),
                    answers=_named(there[0].name),
                    says=frozenset({thing.name, pair}),
                    tells=frozenset({there[0].name}),
                    thing=index,
                )


def _checks(question: Question, draw: random.Random) -> Iterator[Question]:
    """A right and a wrong guess at a colour or place that may be asked for."""
    if question.form not in ("colour", "where"):
        return
    right, colour = question.answers[0], question.form == "colour"
    wrong = draw.choice([one for one in (COLOURS if colour else PLACES) if _unlike(one, right)])
    for guess, answer in ((right, "yes"), (wrong, "no")):
        slot = {"colour": guess} if colour else {"at": AT[guess]}
        yield replace(
            question,
            kind=CHECK,
            form="is coloured" if colour else "is at",
            slots={**question.slots, **slot},
            answers=(answer,),
            says=question.says | (question.tells if answer == "yes" else frozenset()),
            tells=question.tells,
        )


def _unlike(one: str, other: str) -> bool:
    return not _overlap(one, other) and not _overlap(other, one)


def _presence(name: str, answer: str) -> Question:
    slots = {"a_name": vocabulary().with_article(name)}
    says = frozenset({name}) if answer == "yes" else frozenset[str]()
    return Question(CHECK, "presence", slots, (answer,), says, frozenset({name}))


_FORMS: tuple[Callable[[Scene], Iterator[Question]], ...] = (
    *(_what, _what_both, _what_at, _what_coloured),
    *(_colour, _how_many, _where, _where_seen_from, _what_beside),
)


def _firsts(scene: Scene) -> list[tuple[int, Thing]]:
    """The first thing of each name, and its number."""
    names = [thing.name for thing in scene.things]
    return [(names.index(name), scene.things[names.index(name)]) for name in scene.names]


def _named(name: str) -> tuple[str, ...]:
    return tuple(dict.fromkeys((vocabulary().with_article(name), name, f"the {name}")))


def _placed(place: str) -> tuple[str, ...]:
    return place, AT[place], f"the {place}"
