"""Questions that can be answered from themselves: "what comes after three", and the ways to ask.

All words are of the lexicon. A kind has templates for training and others for the test.
"""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from unisono.picturebook.lexicon import themes
from unisono.picturebook.utterance_templates import GROUPS

Slots = dict[str, str]
Maker = Callable[[random.Random], tuple[Slots, str]]

OPPOSITES = (
    *(("big", "small"), ("long", "short"), ("high", "low"), ("thick", "thin"), ("old", "new")),
    *(("good", "bad"), ("happy", "sad"), ("clean", "dirty"), ("wet", "dry"), ("hot", "cold")),
    *(("fast", "slow"), ("loud", "quiet"), ("hard", "soft"), ("rich", "poor")),
    *(("full", "empty"), ("open", "closed"), ("sweet", "sour"), ("easy", "difficult")),
    *(("true", "false"), ("same", "different"), ("beautiful", "ugly"), ("dark", "bright")),
    *(("early", "late"), ("dead", "alive"), ("left", "right"), ("up", "down"), ("day", "night")),
    *(("summer", "winter"), ("first", "last"), ("above", "below"), ("inside", "outside")),
    *(("near", "far"), ("begin", "end"), ("start", "stop"), ("push", "pull")),
    *(("laugh", "cry"), ("always", "never"), ("before", "after"), ("top", "bottom")),
    *(("black", "white"), ("man", "woman"), ("boy", "girl"), ("yes", "no")),
)
COLOURS_OF = {
    "banana": "yellow",
    "lemon": "yellow",
    "tomato": "red",
    "cherry": "red",
    "carrot": "orange",
    "grass": "green",
    "frog": "green",
    "snow": "white",
    "milk": "white",
    "salt": "white",
    "chocolate": "brown",
    "elephant": "grey",
    "sky": "blue",
    "sea": "blue",
    "swan": "white",
    "blood": "red",
    "crow": "black",
    "sun": "yellow",
    "rice": "white",
    "leaf": "green",
}
_NUMBERS = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen"),
    *("eighteen", "nineteen", "twenty"),
)
_KINDS_OF_THINGS = {
    "animals": "an animal",
    "instruments": "an instrument",
    "colours": "a colour",
    "numbers": "a number",
}
_ORDERS = {"day": GROUPS["day"], "month": GROUPS["month"]}
_PLACES = (
    *("house", "school", "church", "castle", "farm", "city", "village", "shop", "market"),
    *("office", "park", "zoo", "kitchen", "bathroom", "bedroom", "garden", "forest"),
)
_PLURALS = ("dogs", "cats", "birds", "cars", "trees", "flowers", "apples")


@dataclass(frozen=True)
class Kind:
    """A kind of question.

    Attributes:
        make: draws what is asked: the words for a template's gaps, and the answer.
        train, test: templates, never the same.
    """

    make: Maker
    train: tuple[str, ...]
    test: tuple[str, ...]


def _say(draw: random.Random) -> tuple[Slots, str]:
    words = [draw.choice(GROUPS["thing"]), *draw.sample(themes()["animals"], draw.randint(0, 2))]
    return {"words": " ".join(words)}, " ".join(words)


def _opposite(draw: random.Random) -> tuple[Slots, str]:
    one, other = draw.choice(OPPOSITES)
    return ({"word": one}, other) if draw.random() < 0.5 else ({"word": other}, one)


def _count(draw: random.Random) -> tuple[Slots, str]:
    start = draw.randint(0, 14)
    end = start + draw.randint(2, 5)
    return {"start": _NUMBERS[start], "end": _NUMBERS[end]}, " ".join(_NUMBERS[start : end + 1])


def _next_number(draw: random.Random) -> tuple[Slots, str]:
    number = draw.randint(0, 19)
    return {"number": _NUMBERS[number]}, _NUMBERS[number + 1]


def _next_in_order(draw: random.Random) -> tuple[Slots, str]:
    unit = draw.choice(sorted(_ORDERS))
    names = _ORDERS[unit]
    place = draw.randrange(len(names))
    return {"unit": unit, "name": names[place]}, names[(place + 1) % len(names)]


def _sum(draw: random.Random) -> tuple[Slots, str]:
    one, other = draw.randint(1, 10), draw.randint(1, 10)
    return {"one": _NUMBERS[one], "other": _NUMBERS[other]}, _NUMBERS[one + other]


def _kind_of_thing(draw: random.Random) -> tuple[Slots, str]:
    theme, answer = draw.choice(sorted(_KINDS_OF_THINGS.items()))
    other = draw.choice([kind for kind in sorted(_KINDS_OF_THINGS.values()) if kind != answer])
    one, two = draw.sample((answer, other), 2)
    return {"word": draw.choice(themes()[theme]), "one": one, "two": two}, answer


def _which_is(draw: random.Random) -> tuple[Slots, str]:
    theme, other_theme = draw.sample(("animals", "instruments", "clothes", "vehicles"), 2)
    kind = {
        "animals": "an animal",
        "instruments": "an instrument",
        "clothes": "something to wear",
        "vehicles": "something to ride",
    }[theme]
    word, other = (draw.choice(themes()[name]) for name in (theme, other_theme))
    one, two = draw.sample((word, other), 2)
    return {"kind": kind, "one": one, "two": two}, f"the {word}"


def _usual_colour(draw: random.Random) -> tuple[Slots, str]:
    thing, colour = draw.choice(sorted(COLOURS_OF.items()))
    return {"thing": thing}, colour


def _told_colour(draw: random.Random) -> tuple[Slots, str]:
    one, two = draw.sample((*themes()["animals"], *GROUPS["thing"]), 2)
    colour, other = draw.sample(themes()["colours"], 2)
    asked, answer = draw.choice(((one, colour), (two, other)))
    return {"one": one, "colour": colour, "two": two, "other": other, "asked": asked}, answer


def _told_number(draw: random.Random) -> tuple[Slots, str]:
    one, two = draw.sample(_PLURALS, 2)
    number, other = draw.sample(_NUMBERS[2:11], 2)
    asked, answer = draw.choice(((one, number), (two, other)))
    return {"one": one, "number": number, "two": two, "other": other, "asked": asked}, answer


def _told_place(draw: random.Random) -> tuple[Slots, str]:
    one, two = draw.sample(GROUPS["person"], 2)
    place, other = draw.sample(_PLACES, 2)
    asked, where = draw.choice(((one, place), (two, other)))
    slots = {"one": one, "place": place, "two": two, "other": other, "asked": asked}
    return slots, f"in the {where}"


def _compared(draw: random.Random) -> tuple[Slots, str]:
    one, other = draw.sample(range(1, 21), 2)
    answer = "yes" if one > other else "no"
    return {"one": _NUMBERS[one], "other": _NUMBERS[other]}, answer


_TOLD_COLOUR = "The {one} is {colour} and the {two} is {other}. "
_TOLD_NUMBER = "There are {number} {one} and {other} {two}. "
_TOLD_PLACE = "The {one} is in the {place} and the {two} is in the {other}. "

KINDS: Mapping[str, Kind] = {
    "say": Kind(
        _say,
        ("Say {words}.", "Please repeat {words}.", "Can you say {words}?", "Say again: {words}."),
        ("Please say {words}.", "I say {words}. What do I say?"),
    ),
    "opposite": Kind(
        _opposite,
        ("What is the opposite of {word}?", "Tell me the opposite of {word}."),
        ("Do you know the opposite of {word}?", "Which word is the opposite of {word}?"),
    ),
    "count": Kind(
        _count,
        ("Count from {start} to {end}.", "Please count up from {start} to {end}."),
        ("Start at {start} and count to {end}.", "Can you count from {start} to {end}?"),
    ),
    "next number": Kind(
        _next_number,
        ("What comes after {number}?", "Which number is next after {number}?"),
        ("After {number}, which number comes?", "Tell me the number after {number}."),
    ),
    "next": Kind(
        _next_in_order,
        ("Which {unit} comes after {name}?", "What {unit} is it after {name}?"),
        ("Tell me the {unit} that comes after {name}.", "{name} ends. Which {unit} is next?"),
    ),
    "sum": Kind(
        _sum,
        ("What is {one} and {other}?", "How many are {one} and {other}?"),
        ("Tell me how many {one} and {other} make.", "How much is {one} and {other}?"),
    ),
    "kind": Kind(
        _kind_of_thing,
        ("Is {word} {one} or {two}?", "The word {word}: is it {one} or {two}?"),
        ("What is {word}, {one} or {two}?", "Tell me if {word} is {one} or {two}."),
    ),
    "which": Kind(
        _which_is,
        ("Which is {kind}, the {one} or the {two}?", "What is {kind}: the {one} or the {two}?"),
        ("The {one} or the {two}, which of them is {kind}?",),
    ),
    "usual colour": Kind(
        _usual_colour,
        ("What colour is the {thing}?", "Which colour does the {thing} have?"),
        ("Tell me the colour of the {thing}.", "Do you know what colour the {thing} is?"),
    ),
    "told colour": Kind(
        _told_colour,
        (
            _TOLD_COLOUR + "What colour is the {asked}?",
            _TOLD_COLOUR + "Which colour has the {asked}?",
        ),
        (_TOLD_COLOUR + "Tell me the colour of the {asked}.",),
    ),
    "told number": Kind(
        _told_number,
        (_TOLD_NUMBER + "How many {asked} are there?", _TOLD_NUMBER + "Count the {asked}."),
        (_TOLD_NUMBER + "Tell me how many {asked} you see.",),
    ),
    "told place": Kind(
        _told_place,
        (_TOLD_PLACE + "Where is the {asked}?", _TOLD_PLACE + "In which place is the {asked}?"),
        (_TOLD_PLACE + "Can you tell me where the {asked} is?",),
    ),
    "compared": Kind(
        _compared,
        ("Is {one} more than {other}?", "Is the number {one} bigger than {other}?"),
        ("Do you think {one} is more than {other}?",),
    ),
}
