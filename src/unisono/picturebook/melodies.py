"""Notes, chords, melodies and rhythms, drawn from random numbers.

A melody is a walk over the degrees of a scale. One in five walks (told by a hash of its steps,
so in every key and on every instrument) is for testing and never drawn for training.
Pitches are MIDI numbers: 60 is the middle C, 12 an octave.
"""

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Form = Literal["note", "notes", "chord", "melody", "rhythm"]
Pace = Literal["slow", "fast"]
Mood = Literal["happy", "sad"]

SCALES: dict[Mood, tuple[int, ...]] = {
    "happy": (0, 2, 4, 5, 7, 9, 11),  # major
    "sad": (0, 2, 3, 5, 7, 8, 10),  # natural minor
}
BEATS_S: dict[Pace, tuple[float, float]] = {"slow": (0.6, 0.85), "fast": (0.13, 0.2)}
MOST_NOTES = 4
"""That are counted."""

_STEPS = (-2, -1, -1, 1, 1, 2, 0, 3, -3)
_TEST_SHARE = 5
_LEAD_S = 0.08
_MIN_SPAN = 12  # semitones that a melody needs


@dataclass(frozen=True, order=True)
class Note:
    """One key pressed; `velocity` is MIDI's, 1 to 127."""

    start_s: float
    duration_s: float
    pitch: int
    velocity: int


@dataclass(frozen=True)
class Piece:
    """What one player plays.

    Attributes:
        program: General MIDI, counted from 0; without meaning for drums.
        drums: pitches are General MIDI's percussion keys.
        notes: in any order.
        duration_s: where it is cut off.
        room: how much echo, 0 to 127.
    """

    program: int
    drums: bool
    notes: tuple[Note, ...]
    duration_s: float
    room: int = 40


@dataclass(frozen=True)
class Tune:
    """Notes and what is true of them.

    Attributes:
        notes: what is played.
        duration_s: of the whole, 2 to 4 s.
        form: what kind of thing it is.
        count: notes one after the other, where there are few enough to count.
        pace: of melodies and rhythms.
        mood: of melodies.
    """

    notes: tuple[Note, ...]
    duration_s: float
    form: Form
    count: int | None = None
    pace: Pace | None = None
    mood: Mood | None = None


def for_testing(steps: Sequence[int]) -> bool:
    """Whether a walk over a scale is one of those that are never trained."""
    return hashlib.sha256(repr(tuple(steps)).encode()).digest()[0] % _TEST_SHARE == 0


def draw_note(chance: random.Random, low: int, high: int) -> Tune:
    """One long note."""
    note = Note(_LEAD_S, chance.uniform(0.9, 1.8), chance.randint(low, high), _velocity(chance))
    return Tune((note,), _whole(chance, note.start_s + note.duration_s), "note", count=1)


def draw_notes(chance: random.Random, low: int, high: int) -> Tune:
    """One to four equally long notes with silence between, to be counted."""
    count = chance.randint(1, MOST_NOTES)
    beat_s, pitch = chance.uniform(0.5, 0.75), chance.randint(low, high)
    notes = []
    for index in range(count):
        notes.append(Note(_LEAD_S + index * beat_s, 0.6 * beat_s, pitch, _velocity(chance)))
        moves = [step for step in (-5, -3, 3, 4, 5, 7) if low <= pitch + step <= high]
        pitch += chance.choice(moves or [0])
    return Tune(tuple(notes), _whole(chance, _LEAD_S + count * beat_s), "notes", count=count)


def draw_chord(chance: random.Random, low: int, high: int) -> Tune:
    """A major or minor triad in close position."""
    third = chance.choice((3, 4))
    root = chance.randint(low, max(low, high - 7))
    start_s, long_s, loud = _LEAD_S, chance.uniform(1.0, 1.8), _velocity(chance)
    notes = tuple(Note(start_s, long_s, root + up, loud) for up in (0, third, 7))
    mood: Mood = "happy" if third == 4 else "sad"
    return Tune(notes, _whole(chance, start_s + long_s), "chord", mood=mood)


def draw_melody(chance: random.Random, low: int, high: int, *, testing: bool) -> Tune:
    """A walk over a scale that fills the whole, for testing or for training only."""
    mood: Mood = chance.choice(("happy", "sad"))
    pace: Pace = chance.choice(("slow", "fast"))
    beat_s, duration_s = chance.uniform(*BEATS_S[pace]), chance.uniform(2.4, 3.6)
    count = int((duration_s - _LEAD_S) / beat_s)
    pitches = _walk(chance, (low, max(high, low + _MIN_SPAN)), count, (mood, testing))
    notes = tuple(
        Note(_LEAD_S + index * beat_s, 0.9 * beat_s, pitch, _velocity(chance))
        for index, pitch in enumerate(pitches)
    )
    return Tune(notes, duration_s, "melody", pace=pace, mood=mood)


def draw_rhythm(chance: random.Random, keys: Sequence[int]) -> Tune:
    """A pattern of strokes, repeated; the first key has the first stroke."""
    pace: Pace = chance.choice(("slow", "fast"))
    beat_s, duration_s = chance.uniform(*BEATS_S[pace]), chance.uniform(2.2, 3.6)
    pattern = [keys[0]] + [chance.choice((*keys, None)) for _ in range(chance.choice((2, 3, 7)))]
    count = int((duration_s - _LEAD_S) / beat_s)
    strokes = ((index, pattern[index % len(pattern)]) for index in range(count))
    notes = tuple(
        Note(_LEAD_S + index * beat_s, 0.9 * beat_s, key, _velocity(chance))
        for index, key in strokes
        if key is not None
    )
    return Tune(notes, duration_s, "rhythm", pace=pace)


def draw_strokes(chance: random.Random, keys: Sequence[int]) -> Tune:
    """One to four strokes with silence between, to be counted."""
    count, beat_s, key = chance.randint(1, MOST_NOTES), chance.uniform(0.5, 0.75), keys[0]
    notes = tuple(
        Note(_LEAD_S + index * beat_s, 0.6 * beat_s, key, _velocity(chance))
        for index in range(count)
    )
    return Tune(notes, _whole(chance, _LEAD_S + count * beat_s), "notes", count=count)


def _walk(
    chance: random.Random, span: tuple[int, int], count: int, kind: tuple[Mood, bool]
) -> list[int]:
    """Pitches of a walk that stays in the span and is of the kind asked for."""
    mood, testing = kind
    while True:
        degrees, steps = [0], []
        for _ in range(count - 1):
            inside = [step for step in _STEPS if -3 <= degrees[-1] + step <= 4]
            steps.append(chance.choice(inside))
            degrees.append(degrees[-1] + steps[-1])
        if for_testing(steps) == testing:
            break
    pitches = [12 * (degree // 7) + SCALES[mood][degree % 7] for degree in degrees]
    lowest, highest = span[0] - min(pitches), span[1] - max(pitches)
    key = chance.randint(lowest, max(lowest, highest))
    return [key + pitch for pitch in pitches]


def _velocity(chance: random.Random) -> int:
    return chance.randint(80, 115)


def _whole(chance: random.Random, played_s: float) -> float:
    """With some time to die away; never under 2 s nor over 4."""
    return min(4.0, max(2.0, played_s + chance.uniform(0.2, 0.6)))
