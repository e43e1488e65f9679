"""Subtitles are cleaned, and filters of text see what they are for."""

import pytest

from unisono.curation.embed import difference_hash, distance
from unisono.curation.records import (
    Case,
    Heard,
    Label,
    Labels,
    Loudness,
    Outcome,
    Sentence,
    Subtitles,
)
from unisono.curation.store import Store
from unisono.curation.subtitles import NOTHING, ON_SILENCE, TOO_FAST, Clean, cleaned
from unisono.curation.text_filters import Language, Repetition, repetition
from unisono.errors import DataError
from unisono.speech import Word

NOWHERE = Store(None)  # type: ignore[arg-type] # these stages need none


def words(text: str, start_s: float = 0.0, each_s: float = 0.3, probability: float = 0.9):
    return tuple(
        Word(one, start_s + i * each_s, start_s + (i + 1) * each_s, probability)
        for i, one in enumerate(text.split())
    )


def case(heard: tuple[Word, ...], levels: list[float], sound: float = 0.9, **more) -> Case:
    labels = Labels((), (Label("dog", sound),))
    given = {"loudness": Loudness(tuple(levels)), "heard": Heard(heard, "en", 0.9)}
    return Case("x", "0", labels=labels, **(given | more))


def texts(*runs: tuple[Word, ...]) -> list[str]:
    return [one.text for one in cleaned([word for run in runs for word in run])]


def test_sentences_end_at_stops_and_pauses() -> None:
    assert texts(words("One two. Three")) == ["One two.", "Three"]
    assert texts(words("one two"), words("three", start_s=9)) == ["one two", "three"]


@pytest.mark.parametrize(
    ("said", "clean"),
    [
        ("[Music] Hello there.", ["Hello there."]),
        ("♪ (laughs) ♪", []),
        ("no no no no no way", ["no no way"]),
        ("It is so. Thanks for watching!", ["It is so."]),
        ("Thanks for watching the game.", ["Thanks for watching the game."]),
        ("Subtitles by somebody.", []),
        ("?! ...", []),
    ],
)
def test_what_nobody_said_is_left_out(said: str, clean: list[str]) -> None:
    assert texts(words(said)) == clean


def clean(case: Case) -> Outcome:
    return Clean().run(case, NOWHERE)


def test_words_on_silence() -> None:
    loud, quiet = [-20.0] * 20, [-80.0] * 20
    outcome = clean(case(words("a b c d e f", start_s=0.0), loud + quiet))
    assert isinstance(outcome.record, Subtitles)
    outcome = clean(case(words("a b c d e f", start_s=2.1), loud + quiet))
    assert outcome.reason == ON_SILENCE
    assert outcome.metrics["words on silence"] == 1
    mixed = words("a b c d", start_s=0.5) + words("e f", start_s=2.5)
    outcome = clean(case(mixed, loud + quiet))
    assert isinstance(outcome.record, Subtitles)
    assert outcome.record.text == "a b c d"


def test_words_faster_than_anyone_speaks() -> None:
    heard = words("one two three four five six seven eight nine ten", each_s=0.1)
    assert clean(case(heard, [-20.0] * 10)).reason == TOO_FAST
    assert not clean(case(heard, [-20.0] * 40)).reason


def test_neither_words_nor_sound() -> None:
    assert not clean(case((), [-20.0] * 10)).reason
    assert clean(case((), [-20.0] * 10, sound=0.1)).reason == NOTHING
    unsure = words("hm hm", probability=0.01)
    assert clean(case(unsure, [-20.0] * 10, sound=0.1)).reason == NOTHING


def test_repetition() -> None:
    assert repetition(["a", "b"]) == 0
    assert repetition(list("abcabcabc")) == pytest.approx(1 - 3 / 7)
    loop = case(words("and then " * 6), [-20.0] * 50)
    assert Repetition().run(loop, NOWHERE).reason == "repeats itself"
    poem = "the cat sat on the mat and the dog lay on the rug"
    assert not Repetition().run(case(words(poem), [-20.0] * 50), NOWHERE).reason


def test_languages() -> None:
    said = Subtitles((Sentence("hello there", 0, 1),), "en")
    heard = case(words("hello there"), [-20.0] * 10, subtitles=said)
    assert not Language(("en", "de")).run(heard, NOWHERE).reason
    assert Language(("de",)).run(heard, NOWHERE).reason == "other language"
    assert Language((), 0.95).run(heard, NOWHERE).reason == "unclear language"
    silent = case((), [-20.0] * 10, subtitles=Subtitles((), ""))
    assert not Language(("de",)).run(silent, NOWHERE).reason


def test_hashes_of_pictures() -> None:
    from PIL import Image

    picture = Image.linear_gradient("L").rotate(30).convert("RGB")
    small = picture.resize((90, 90))
    turned = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    assert distance(difference_hash(picture), difference_hash(small)) < 0.1
    assert distance(difference_hash(picture), difference_hash(turned)) > 0.4


def test_options_that_contradict() -> None:
    from unisono.curation.options import Options, plan_of

    with pytest.raises(DataError, match="at least twice the shortest"):
        plan_of(Options(shortest_s=5, longest_s=8))
    with pytest.raises(DataError, match="name of a model"):
        plan_of(Options(endpoint="http://localhost/v1"))
