"""Questions about clips, with short answers: some need the picture, some the sound, some both."""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from unisono.picturebook.clip_motion import Motion
from unisono.picturebook.clip_planning import Clip, alike, phrase_of
from unisono.picturebook.scene_things import vocabulary

Needs = Literal["picture", "sound", "both"]

ABSENT = "it is not there"
CATEGORIES: Mapping[str, str] = {
    "animal": "an animal",
    "instrument": "an instrument",
    "signal": "something else",
}
WAYS: Mapping[Motion, str] = {
    "left": "to the left",
    "right": "to the right",
    "up": "up",
    "down": "down",
}
DEEDS: Mapping[Motion, str] = {
    "left": "it moves to the left",
    "right": "it moves to the right",
    "up": "it moves up",
    "down": "it moves down",
    "circle": "it goes round",
    "grow": "it gets larger",
    "shrink": "it gets smaller",
    "still": "it stays",
    "first half": "it goes away",
    "second half": "it appears",
}
SIDE_ANSWERS = ("on the left", "on the right")

_Words = tuple[str, ...]

NEEDS: Mapping[str, Needs] = {
    "seen": "picture",
    "moves": "picture",
    "does": "picture",
    "check seen": "picture",
    "heard": "sound",
    "category": "sound",
    "check heard": "sound",
    "said": "sound",
    "match": "both",
    "seen and heard": "both",
    "category and way": "both",
    "side": "both",
    "deed": "both",
    "together": "both",
    "named": "both",
    "named side": "both",
}
"""Form of question -> what must be had to answer it."""

TEMPLATES: Mapping[str, tuple[_Words, _Words]] = {
    "seen": (
        ("What do you see?", "What is in the clip?", "What does the clip show?"),
        ("What can be seen in this clip?",),
    ),
    "moves": (
        ("Where does the {name} move?", "Which way does the {name} go?"),
        ("In which direction does the {name} go?",),
    ),
    "does": (
        ("What does the {name} do?", "What happens to the {name}?"),
        ("How does the {name} change or move?",),
    ),
    "check seen": (
        ("Do you see {a}?", "Is there {a} in the clip?"),
        ("Can {a} be seen?",),
    ),
    "heard": (
        ("What do you hear?", "What sound is in the clip?", "What makes the sound?"),
        ("What can be heard in this clip?",),
    ),
    "category": (
        (
            "Do you hear an animal, an instrument or something else?",
            "What kind of sound is it: an animal, an instrument or something else?",
        ),
        ("Is the sound made by an animal, an instrument or something else?",),
    ),
    "check heard": (
        ("Do you hear {a}?", "Is {a} heard in the clip?"),
        ("Can {a} be heard?",),
    ),
    "said": (
        ("What does the voice say?", "What is said?"),
        ("Which words are spoken?",),
    ),
    "match": (
        (
            "Does the thing you see make the sound you hear?",
            "Is the sound made by what you see?",
            "Do picture and sound go together?",
        ),
        ("Is that the sound of the thing in the picture?", "Do you see what you hear?"),
    ),
    "seen and heard": (
        (
            "What is seen and heard?",
            "What do you see, and what do you hear?",
            "Name what you see and what you hear.",
        ),
        ("Tell me what is seen and what is heard.",),
    ),
    "category and way": (
        (
            "Do you hear an animal, an instrument or something else, and where does the thing go?",
            "What kind of sound is it, and which way does the thing move?",
            "What kind of sound do you hear, and where does the {name} move?",
        ),
        (
            "Say what kind of sound it is and which way the thing goes.",
            "Which kind of sound is heard, and where does the {name} go?",
        ),
    ),
    "side": (
        (
            "Where is the thing that makes the sound?",
            "On which side is the thing you hear?",
            "Where is the one that you hear?",
        ),
        ("On which side is what makes this sound?", "Where do you see the thing that is heard?"),
    ),
    "deed": (
        (
            "What does the thing do that makes the sound?",
            "What does the one that you hear do?",
        ),
        ("What happens to the thing that makes this sound?",),
    ),
    "together": (
        (
            "Is there a sound while the {name} is there?",
            "Do you hear something while you see the {name}?",
        ),
        ("Is the {name} there while the sound is heard?",),
    ),
    "named": (
        (
            "Does the voice name what you see?",
            "Do you see what the voice says?",
        ),
        ("Is the thing in the picture the one the voice names?",),
    ),
    "named side": (
        (
            "Where is the thing that the voice names?",
            "On which side is what the voice says?",
        ),
        ("Where do you see the thing that is named?",),
    ),
}
"""Form -> its words in training, and in tests alone."""


@dataclass(frozen=True)
class Question:
    """A question about a clip.

    Attributes:
        form: a key of `TEMPLATES`.
        template: its words, with slots.
        text: as it is asked.
        answers: the right ones; the first is the one to learn.
    """

    form: str
    template: str
    text: str
    answers: tuple[str, ...]

    @property
    def needs(self) -> Needs:
        """What must be had to answer it."""
        return NEEDS[self.form]


def questions(
    clip: Clip, draw: random.Random, *, others: Iterable[str] = (), test: bool = False
) -> list[Question]:
    """Every question that may be asked of a clip, once.

    Args:
        clip: the clip.
        draw: chooses the words.
        others: names of things and sounds that may be asked for though they are not there.
        test: in the words of tests.
    """
    found = _answers(clip) | _checks(clip, tuple(others), draw)
    return [_question(form, clip, known, draw, test) for form, known in found.items()]


def dialogue(asked: Iterable[Question], turns: int, draw: random.Random) -> list[Question]:
    """Some of the questions in some order, at least half of them needing both, if there are."""
    shuffled = list(asked)
    draw.shuffle(shuffled)
    both = [one for one in shuffled if one.needs == "both"][: (turns + 1) // 2]
    others = [one for one in shuffled if one.needs != "both"][: turns - len(both)]
    chosen = both + others
    draw.shuffle(chosen)
    return chosen


@dataclass(frozen=True)
class _Known:
    """The answers, and the name the question has in it."""

    answers: tuple[str, ...]
    name: str = ""


def _question(form: str, clip: Clip, known: _Known, draw: random.Random, test: bool) -> Question:
    template = draw.choice(TEMPLATES[form][test])
    name = known.name or clip.names[0]
    text = template.format(name=name, a=phrase_of(name))
    return Question(form, template, text, known.answers)


def _answers(clip: Clip) -> dict[str, _Known]:
    seen = [vocabulary().with_article(name) for name in clip.names]
    orders = (
        [" and ".join(seen)] if len(seen) == 1 else [" and ".join(seen), " and ".join(seen[::-1])]
    )
    found = {"seen": _Known(tuple(orders))} | _of_sound(clip)
    if len(clip.actors) == 1:
        return found | _of_one(clip, seen[0])
    side = _Known((ABSENT if clip.source is None else SIDE_ANSWERS[clip.source],))
    if clip.play == "said two":
        return found | {"named side": side}
    deed = ABSENT if clip.source is None else DEEDS[clip.actors[clip.source].motion]
    return found | {"side": side, "deed": _Known((deed,))}


def _of_sound(clip: Clip) -> dict[str, _Known]:
    if clip.heard.kind == "voice":
        return {"said": _Known((clip.heard.said,))}
    return {
        "heard": _Known((clip.heard.phrase,)),
        "category": _Known((CATEGORIES[clip.heard.kind],)),
    }


def _of_one(clip: Clip, seen: str) -> dict[str, _Known]:
    actor = clip.actors[0]
    same = _Known(("yes" if clip.source == 0 else "no",))
    found = {"does": _Known((DEEDS[actor.motion],), actor.name)}
    if actor.motion in WAYS:
        found["moves"] = _Known((WAYS[actor.motion],), actor.name)
    if clip.play == "said one":
        return found | {"named": same}
    if clip.play == "timed":
        there = actor.motion == ("first half", "second half")[clip.heard.half or 0]
        return found | {"together": _Known(("yes" if there else "no",))}
    found["seen and heard"] = _Known((f"{seen} and {clip.heard.phrase}",))
    if clip.compared:
        found["match"] = same
    if actor.motion in WAYS:
        way = f"{CATEGORIES[clip.heard.kind]}, {WAYS[actor.motion]}"
        found["category and way"] = _Known((way,), actor.name)
    return found


def _checks(clip: Clip, others: tuple[str, ...], draw: random.Random) -> dict[str, _Known]:
    """Whether something is there: as often "yes" as "no"."""
    found = {}
    pairs = {"check seen": clip.names}
    if clip.heard.kind != "voice":
        pairs["check heard"] = (clip.heard.name,)
    for form, there in pairs.items():
        absent = [name for name in others if name not in there and not alike(name, there)]
        if draw.random() < 0.5:
            found[form] = _Known(("yes",), draw.choice(there))
        elif absent:
            found[form] = _Known(("no",), draw.choice(absent))
    return found
