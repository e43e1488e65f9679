"""Tunes: what they claim is so, and no melody of the tests is drawn for training."""

import random
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unisono.picturebook.melodies import (
    BEATS_S,
    MOST_NOTES,
    SCALES,
    Tune,
    draw_chord,
    draw_melody,
    draw_note,
    draw_notes,
    draw_rhythm,
    draw_strokes,
    for_testing,
)

KEYS = (36, 38, 42)
seeds = st.integers(0, 2**32)
registers = st.tuples(st.integers(24, 80), st.integers(12, 40)).map(lambda r: (r[0], sum(r)))


def _steps(tune: Tune) -> list[int]:
    """The walk over the scale, read back from the pitches; every walk begins on its key note."""
    assert tune.mood is not None
    scale, key = SCALES[tune.mood], tune.notes[0].pitch
    places = [divmod(note.pitch - key, 12) for note in tune.notes]
    degrees = [7 * octave + scale.index(up) for octave, up in places]
    return [after - before for before, after in pairwise(degrees)]


@settings(deadline=None)
@given(seed=seeds, testing=st.booleans())
def test_a_melody_is_of_the_split_it_is_drawn_for(seed: int, testing: bool) -> None:
    tune = draw_melody(random.Random(seed), 55, 79, testing=testing)
    assert for_testing(_steps(tune)) == testing


def test_about_a_fifth_of_all_walks_is_for_testing() -> None:
    chance = random.Random(1)
    walks = [[chance.randint(-3, 3) for _ in range(6)] for _ in range(3000)]
    share = sum(for_testing(walk) for walk in walks) / len(walks)
    assert 0.17 < share < 0.24


@settings(deadline=None)
@given(seed=seeds, register=registers)
def test_every_tune_stays_in_its_register_and_its_time(
    seed: int, register: tuple[int, int]
) -> None:
    chance = random.Random(seed)
    low, high = register
    tunes = [draw_note(chance, low, high), draw_notes(chance, low, high)]
    tunes += [draw_chord(chance, low, high), draw_melody(chance, low, high, testing=False)]
    tunes += [draw_rhythm(chance, KEYS), draw_strokes(chance, KEYS)]
    for tune in tunes:
        assert 2.0 <= tune.duration_s <= 4.0
        for note in tune.notes:
            assert 0 <= note.start_s < note.start_s + note.duration_s <= tune.duration_s
            assert 1 <= note.velocity <= 127
        pitches = {note.pitch for note in tune.notes}
        inside = set(KEYS) if tune in tunes[4:] else set(range(low, high + 1))
        assert pitches <= inside


@settings(deadline=None)
@given(seed=seeds)
def test_counted_notes_are_as_many_as_said_with_silence_between(seed: int) -> None:
    chance = random.Random(seed)
    for tune in (draw_notes(chance, 50, 70), draw_strokes(chance, KEYS)):
        assert tune.count == len(tune.notes) <= MOST_NOTES
        for before, after in pairwise(tune.notes):
            assert after.start_s - (before.start_s + before.duration_s) > 0.15


def test_all_counts_are_drawn_about_as_often() -> None:
    chance = random.Random(3)
    counts = [draw_notes(chance, 50, 70).count for _ in range(400)]
    assert min(counts.count(count) for count in range(1, MOST_NOTES + 1)) > 60


@pytest.mark.parametrize("drums", [False, True])
def test_slow_and_fast_are_far_apart(drums: bool) -> None:
    chance = random.Random(2)
    gaps: dict[str, list[float]] = {"slow": [], "fast": []}
    for _ in range(60):
        tune = draw_rhythm(chance, KEYS) if drums else draw_melody(chance, 50, 80, testing=False)
        assert tune.pace is not None
        starts = sorted(note.start_s for note in tune.notes)
        gaps[tune.pace] += [min(b - a for a, b in pairwise(starts))] if len(starts) > 1 else []
    assert min(gaps["slow"]) > 2 * BEATS_S["fast"][1]
    assert sorted(gaps["fast"])[len(gaps["fast"]) // 2] < BEATS_S["slow"][0] / 2


def test_a_chord_is_a_triad_with_the_third_of_its_mood() -> None:
    for seed in range(30):
        tune = draw_chord(random.Random(seed), 50, 70)
        root, third, fifth = (note.pitch for note in tune.notes)
        assert (third - root, fifth - root) == ({"happy": 4, "sad": 3}[str(tune.mood)], 7)
        assert len({note.start_s for note in tune.notes}) == 1
