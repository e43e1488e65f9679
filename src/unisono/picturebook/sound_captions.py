"""What is said about sounds: captions, and questions with short answers.

Templates of test questions are never trained.
"""

import random
from collections.abc import Mapping
from dataclasses import dataclass

from unisono.picturebook.melodies import Tune
from unisono.picturebook.sound_names import SoundName

NUMBERS = ("no", "one", "two", "three", "four")

TRAIN_QUESTIONS: Mapping[str, tuple[str, ...]] = {
    "what": ("What do you hear?", "What is this sound?", "What makes this sound?", "Name it."),
    "category": (
        "Is this an animal or an instrument?",
        "Do you hear an animal or an instrument?",
        "An animal or an instrument?",
    ),
    "count": ("How many notes are there?", "How many notes do you hear?", "Count the notes."),
    "register": ("Is it high or low?", "Are the notes high or low?", "High or low?"),
    "pace": ("Is it fast or slow?", "Is the music fast or slow?", "Fast or slow?"),
}
TEST_QUESTIONS: Mapping[str, tuple[str, ...]] = {
    "what": ("What can be heard here?", "Which sound is that?"),
    "category": ("Does this come from an animal or from an instrument?",),
    "count": ("How many notes are played?",),
    "register": ("Is that a high or a low pitch?",),
    "pace": ("Is this played fast or slow?",),
}
CLOSED_ANSWERS: Mapping[str, int] = {"category": 2, "count": 4, "register": 2, "pace": 2}
"""How many answers a kind of question has; there is no end to "what"."""

_CAPTIONS: Mapping[str, tuple[str, ...]] = {
    "animal": ("{a}", "the sound of {a}", "this sounds like {a}", "the voice of {a}"),
    "instrument": ("{a}", "the sound of {a}", "someone plays {a}", "{a} playing"),
    "signal": ("{a}", "the sound of {a}", "this sounds like {a}", "we hear {a}"),
}
_DOING = ("{a} {doing}", "the sound of {a} {doing}")
_FORMS: Mapping[str, tuple[str, ...]] = {
    "note": ("one note on {a}", "a long note on {a}"),
    "notes": ("{count} notes on {a}",),
    "chord": ("a chord on {a}", "a {mood} chord on {a}"),
    "melody": ("a {mood} {pace} melody on {a}", "a {pace} melody on {a}", "a melody on {a}"),
    "rhythm": ("a {pace} rhythm on {a}", "a rhythm on {a}"),
}
_LOW, _HIGH = 52, 70  # pitches that nobody would call high, or low


@dataclass(frozen=True)
class Question:
    """A question about one sound; `kind` is a key of the templates."""

    kind: str
    text: str
    answer: str


def caption(name: SoundName, tune: Tune | None, chance: random.Random) -> str:
    """One way to say what is heard; half of the time also how it is played or what it does."""
    templates = _CAPTIONS[name.kind]
    if chance.random() < 0.5:
        if tune is not None and name.kind == "instrument":
            templates = _FORMS[tune.form]
        elif name.doing:
            templates = _DOING
    said = chance.choice(templates).format(
        a=name.phrase,
        doing=name.doing,
        count=NUMBERS[tune.count or 0] if tune else "",
        mood=tune.mood if tune else "",
        pace=tune.pace if tune else "",
    )
    return said.replace("one notes", "one note")


def answers(name: SoundName, tune: Tune | None) -> dict[str, str]:
    """What can be asked about a sound, and the right answers, by kind of question."""
    right = {"what": name.phrase}
    if name.kind != "signal":
        right["category"] = f"an {name.kind}"
    if tune is None or name.kind != "instrument":
        return right
    if tune.form == "notes" and tune.count is not None:
        right["count"] = NUMBERS[tune.count]
    if tune.pace is not None:
        right["pace"] = tune.pace
    pitches = [note.pitch for note in tune.notes]
    if not name.keys and max(pitches) <= _LOW:
        right["register"] = "low"
    elif not name.keys and min(pitches) >= _HIGH:
        right["register"] = "high"
    return right


def draw_questions(
    right: Mapping[str, str], chance: random.Random, *, most: int, testing: bool
) -> list[Question]:
    """At most `most` questions out of `answers`, in any order, in words of the split."""
    templates = TEST_QUESTIONS if testing else TRAIN_QUESTIONS
    kinds = sorted(right)
    chance.shuffle(kinds)
    return [Question(kind, chance.choice(templates[kind]), right[kind]) for kind in kinds[:most]]
