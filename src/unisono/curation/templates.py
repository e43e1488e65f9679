"""Questions by templates: no model, only what the stages before have found.

What needs both is built so that neither alone can tell: each half of a choice is right in two of
the four, and a pair of a yes and a no is asked of the same words.
"""

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from unisono.curation.label import PICTURES
from unisono.curation.records import Label, Question
from unisono.curation.relevance import OTHERS
from unisono.curation.writers import Evidence

_SEEN = ("What can be seen?", "What does the video show?", "What is in the picture?")
_WHICH = ("Which of these can be seen: {}?", "The video shows one of these. Which one: {}?")
_SAID = ("What is said?", "What does the speaker say?", "Write down what is said.")
_LAST = ("What is the last word that is said?", "With which word does the speaker end?")
_WORD = ("Is the word “{}” said?", "Does the speaker say “{}”?")
_HEARD = ("What can be heard?", "Which sound is in the video?", "What makes the sound?")
_FITS = ("Which of these fits the video, in picture and sound?", "What happens in the video?")
_BOTH = ("What can be seen, and what is said?", "Tell what the video shows and what is said in it.")
_SHOWN_WORDS = 8
_LETTERS = "ABCD"


@dataclass(frozen=True)
class Templates:
    """A `Writer` without a model.

    Attributes:
        least_picture, least_sound: probability of a label that is taken for true.
        most_words: a longer text is not asked for.
        pictures: labels to draw wrong choices from.
    """

    least_picture: float = 0.5
    least_sound: float = 0.5
    most_words: int = 40
    pictures: Sequence[str] = PICTURES

    def write(self, evidence: Evidence) -> list[Question]:
        """See `Writer`."""
        draw = _draw(evidence.id)
        seen = _first(evidence.labels.pictures, self.least_picture)
        sounds = [one for one in evidence.labels.sounds if one.text not in ("silence", "speech")]
        heard = _first(sounds[:1], self.least_sound)
        text = evidence.subtitles.text
        said = text if 0 < len(text.split()) <= self.most_words else ""
        known = {label.text for label in evidence.labels.pictures}
        others = [label for label in self.pictures if label not in known]
        written = [*_of_both(draw, seen, said, heard, others), *_of_sound(draw, said, heard)]
        return written + list(_of_picture(draw, seen, others))


def _of_both(
    draw: random.Random, seen: str, said: str, heard: str, others: Sequence[str]
) -> Iterator[Question]:
    if seen and (said or heard) and others:
        picture = seen, draw.choice(others)
        mine = f"somebody says “{_shortened(said)}”" if said else f"the sound of {heard}"
        wrong = draw.choice([one for one in OTHERS if one not in said])
        sound = mine, f"somebody says “{_shortened(wrong)}”"
        pairs = [(see, hear) for see in picture for hear in sound]
        draw.shuffle(pairs)
        choices = [
            f"{letter}. {see}, and {hear}"
            for letter, (see, hear) in zip(_LETTERS, pairs, strict=True)
        ]
        answer = choices[pairs.index((seen, mine))]
        text = "\n".join((draw.choice(_FITS), *choices))
        yield Question("fits", "both", text, answer, tuple(choices))
    if seen and said:
        yield Question("seen and said", "both", draw.choice(_BOTH), f"{_a(seen)}. {said}")


def _of_sound(draw: random.Random, said: str, heard: str) -> Iterator[Question]:
    if said:
        yield Question("said", "sound", draw.choice(_SAID), said)
        words = [word.strip(".,!?;:\"'“”") for word in said.split()]
        known = [word for word in words if len(word) > 3]
        spoken = " ".join(words).lower()
        absent = [word.strip(".") for one in OTHERS for word in one.split() if len(word) > 4]
        absent = [word for word in absent if word.lower() not in spoken]
        if known and absent:
            ask = draw.choice(_WORD)
            for word, answer in ((draw.choice(known), "Yes."), (draw.choice(absent), "No.")):
                text = ask.format(word.lower())
                yield Question("word", "sound", text, answer, ("Yes.", "No."), "word")
        if words and words[-1]:
            yield Question("last word", "sound", draw.choice(_LAST), words[-1])
    if heard:
        yield Question("heard", "sound", draw.choice(_HEARD), _a(heard))


def _of_picture(draw: random.Random, seen: str, others: Sequence[str]) -> Iterator[Question]:
    if not seen:
        return
    yield Question("seen", "picture", draw.choice(_SEEN), _a(seen))
    if len(others) >= 3:
        choices = [seen, *draw.sample(list(others), 3)]
        draw.shuffle(choices)
        listed = ", ".join(choices[:-1]) + f" or {choices[-1]}"
        text = draw.choice(_WHICH).format(listed)
        yield Question("which", "picture", text, seen, tuple(choices))


def _first(labels: Sequence[Label], least: float) -> str:
    """The best label, if it is likely enough."""
    return labels[0].text if labels and labels[0].probability >= least else ""


def _shortened(text: str) -> str:
    words = text.split()
    return " ".join(words[:_SHOWN_WORDS]) + (" …" if len(words) > _SHOWN_WORDS else "")


def _a(label: str) -> str:
    """As an answer."""
    return f"{label[:1].upper()}{label[1:]}"


def _draw(*what: str) -> random.Random:
    """Lots that depend on what they are drawn for alone."""
    return random.Random(hashlib.sha256("\0".join(what).encode()).digest())
