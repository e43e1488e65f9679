"""The step "sounds": committed splits keep apart what they say, and clips are what rows claim."""

import io
import random
import struct
import wave
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.picturebook.tiny_soundfont import tiny_soundfont
from unisono.errors import DataError
from unisono.manifests import ConversationRow, Manifest, PairRow, Row, open_manifest, write_manifest
from unisono.media import SAMPLE_RATE_HZ, load_audio
from unisono.picturebook import sound_recordings, sounds
from unisono.picturebook.melodies import MOST_NOTES
from unisono.picturebook.packages import sources
from unisono.picturebook.sound_captions import (
    CLOSED_ANSWERS,
    TEST_QUESTIONS,
    TRAIN_QUESTIONS,
    answers,
    caption,
)
from unisono.picturebook.sound_clips import TEST_FONT, TRAIN_FONTS, Clip, clips
from unisono.picturebook.sound_names import (
    choose_test_names,
    names_tested,
    sound_names,
    sound_packages,
)
from unisono.picturebook.sound_recordings import (
    Package,
    cut,
    levelled,
    qt_resources,
    read_recordings,
    trimmed,
)
from unisono.picturebook.splits import names_unseen

PLAN = clips()
SOURCE_NEVER_TRAINED = "gcompris"


# --- the committed list -------------------------------------------------------------------------


def test_the_forty_names_are_those_that_the_seed_draws() -> None:
    drawn = choose_test_names(sound_names())
    assert names_tested() == {name for names in drawn.values() for name in names}
    assert len(names_tested()) == 40


def test_no_recording_both_trains_and_tests() -> None:
    train = [recording for name in sound_names() for recording in name.train]
    test = [recording for name in sound_names() for recording in name.test]
    assert not set(train) & set(test)
    assert len({*train, *test}) == len(train) + len(test)  # nor has any two names
    assert not [one for one in train if one.startswith(SOURCE_NEVER_TRAINED)]


def test_no_name_is_a_concept_held_out_of_the_pictures() -> None:
    assert not [name.name for name in sound_names() if names_unseen(f"{name.name} {name.doing}")]


def test_every_package_is_among_the_sources_and_every_recording_in_a_package() -> None:
    packages = sound_packages()
    parts = {package.part for package in packages.values()} | {TEST_FONT, *TRAIN_FONTS}
    assert parts <= set(sources().parts)
    used = {one.partition(":")[0] for name in sound_names() for one in (*name.train, *name.test)}
    assert used == set(packages)


# --- the plan -----------------------------------------------------------------------------------


def test_what_is_unseen_in_a_test_clip_is_nowhere_in_training() -> None:
    train = [clip for clip in PLAN if clip.split == "train"]
    trained_sources = {clip.source for clip in train}
    makers = {(clip.name.name, clip.package) for clip in train}
    pitches: dict[str, set[int]] = {}
    for clip in train:
        if clip.piece and not clip.piece.drums:
            pitches.setdefault(clip.name.name, set()).update(n.pitch for n in clip.piece.notes)
    kinds = Counter(clip.unseen for clip in PLAN if clip.split != "train")
    assert set(kinds) == {"source", "recording", "register"}
    for clip in PLAN:
        match clip.unseen:
            case "source":
                assert (clip.name.name, clip.package) not in makers
            case "recording":
                assert clip.source not in trained_sources
            case "register":
                assert clip.piece is not None
                assert not {n.pitch for n in clip.piece.notes} & pitches[clip.name.name]
            case _:
                assert clip.split == "train"


def test_every_tested_name_has_five_clips_or_more_and_is_trained() -> None:
    tested = Counter(clip.name.name for clip in PLAN if clip.split == "test")
    trained = Counter(clip.name.name for clip in PLAN if clip.split == "train")
    assert set(tested) == names_tested()
    assert min(tested.values()) >= 5
    assert min(trained[name] for name in tested) >= 16


def test_the_plan_is_the_same_again_and_has_every_name_once() -> None:
    assert clips() == PLAN
    assert len({clip.stem.lower() for clip in PLAN}) == len(PLAN)
    assert 4000 < sum(clip.split == "train" for clip in PLAN) < 6500


def test_what_is_asked_in_a_test_is_never_asked_in_training() -> None:
    assert set(TRAIN_QUESTIONS) == set(TEST_QUESTIONS)
    asked = {text for texts in TRAIN_QUESTIONS.values() for text in texts}
    assert not asked & {text for texts in TEST_QUESTIONS.values() for text in texts}


def test_test_questions_cannot_be_answered_by_always_saying_the_same() -> None:
    rows = list(sounds.test_questions(PLAN, Path("/data")))
    given_answers: dict[str, Counter[str]] = {}
    for row in rows:
        assert len(row.messages) == 2
        assert "/train/" not in str(row.messages[0].parts[0].audio)  # type: ignore[union-attr]
        kind = str(row.fields["kind"])
        given_answers.setdefault(kind, Counter())[str(row.messages[1].content)] += 1
    assert set(given_answers) == set(TEST_QUESTIONS)
    for kind, counted in given_answers.items():
        assert 50 <= sum(counted.values()) <= 60
        if kind in CLOSED_ANSWERS:
            assert len(counted) == CLOSED_ANSWERS[kind]
        assert counted.most_common(1)[0][1] <= 60 / CLOSED_ANSWERS.get(kind, 30)


def test_answers_are_true_of_the_notes() -> None:
    numbers = ("one", "two", "three", "four")
    asked = Counter[str]()
    for clip in PLAN:
        right = answers(clip.name, clip.tune)
        asked.update(right.keys())
        if "count" in right:
            assert clip.piece is not None
            assert right["count"] == numbers[len(clip.piece.notes) - 1]
        if "register" in right:
            assert clip.piece is not None
            mean = np.mean([note.pitch for note in clip.piece.notes])
            assert right["register"] == ("low" if mean < 60 else "high")
        if clip.name.kind == "signal":
            assert right == {"what": clip.name.phrase}
    assert set(asked) == set(TEST_QUESTIONS)
    assert len(numbers) == MOST_NOTES


def test_captions_name_what_is_heard_in_words_without_gaps() -> None:
    for clip in PLAN:
        said = caption(clip.name, clip.tune, random.Random(clip.stem))
        assert clip.name.name in said
        assert said == " ".join(said.split())
        assert "None" not in said
        assert not {"{", "}"} & set(said)


# --- recordings ---------------------------------------------------------------------------------


def _wav(sound: np.ndarray, rate_hz: int = SAMPLE_RATE_HZ) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setsampwidth(2)
        out.setframerate(rate_hz)
        out.writeframes((sound * 32767).astype("<i2").tobytes())
    return file.getvalue()


def _tone(seconds: float, hz: float = 700.0) -> np.ndarray:
    times = np.arange(round(seconds * SAMPLE_RATE_HZ)) / SAMPLE_RATE_HZ
    return (0.5 * np.sin(2 * np.pi * hz * times)).astype(np.float32)


def _resources(files: dict[str, bytes], *, version: int = 3) -> bytes:
    """A Qt resource file with one folder "s", as `rcc` lays it out."""
    names, bodies, offsets = b"", b"", {}
    for name in ("s", *files):
        offsets[name] = len(names)
        text = name.encode("utf-16-be")
        names += struct.pack(">HI", len(name), 0) + text
    nodes = [struct.pack(">IHII", 0, 2, 1, 1), struct.pack(">IHII", offsets["s"], 2, len(files), 2)]
    for name, body in files.items():
        nodes.append(struct.pack(">IHII", offsets[name], 0, 0, len(bodies)))
        bodies += struct.pack(">I", len(body)) + body
    tree = b"".join(node + (bytes(8) if version > 1 else b"") for node in nodes)
    head = 4 + 16 + 4
    places = (version, head, head + len(tree), head + len(tree) + len(bodies))
    return b"qres" + struct.pack(">4I", *places) + bytes(4) + tree + bodies + names


@pytest.mark.parametrize("version", [1, 3])
def test_files_come_out_of_qt_resources(version: int) -> None:
    files = {"one.wav": b"first", "two.ogg": b"second body"}
    found = dict(qt_resources(_resources(files, version=version)))
    assert found == {"/s/one.wav": b"first", "/s/two.ogg": b"second body"}


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04", b"qres", _resources({"a": b"b"})[:50]])
def test_broken_qt_resources_are_refused(data: bytes) -> None:
    with pytest.raises(DataError, match="Qt resource file"):
        dict(qt_resources(data))


Members = Callable[..., Iterator[tuple[str, bytes]]]


def _archive(files: dict[str, bytes]) -> Members:
    def members(part: str, wanted: Callable[[str], bool]) -> Iterator[tuple[str, bytes]]:
        assert part == "toys"
        yield from ((name, data) for name, data in files.items() if wanted(name))

    return members


PACKAGES = {"toy": Package("toys", "usr/toys/")}


def test_recordings_are_found_as_files_and_inside_resources(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    silence = np.zeros(4000, np.float32)
    bark = np.concatenate([silence, _tone(0.3), silence])
    files = {
        "usr/toys/a/dog.wav": _wav(bark),
        "usr/toys/horns.rcc": _resources({"horn.wav": _wav(_tone(0.5, 300.0), 32_000)}),
        "usr/toys/a/other.wav": b"never decoded",
    }
    monkeypatch.setattr(sound_recordings, "members", _archive(files))
    found = read_recordings(["toy:a/dog.wav", "toy:horns.rcc/horn.wav"], PACKAGES)
    assert set(found) == {"toy:a/dog.wav", "toy:horns.rcc/horn.wav"}
    assert len(found["toy:a/dog.wav"]) == pytest.approx(0.3 * SAMPLE_RATE_HZ, rel=0.02)
    assert len(found["toy:horns.rcc/horn.wav"]) == pytest.approx(0.25 * SAMPLE_RATE_HZ, rel=0.02)


def test_a_recording_that_is_not_there_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sound_recordings, "members", _archive({}))
    with pytest.raises(DataError, match=r"toy:a/cat\.wav"):
        read_recordings(["toy:a/cat.wav"], PACKAGES)
    with pytest.raises(DataError, match="'zoo'"):
        read_recordings(["zoo:cat.wav"], PACKAGES)


@settings(max_examples=40, deadline=None)
@given(seconds=st.floats(0.001, 9), seed=st.integers(0, 2**32), vary=st.booleans())
def test_clips_are_two_to_four_seconds_of_the_recording(
    seconds: float, seed: int, vary: bool
) -> None:
    sound = _tone(seconds)
    clip = cut(sound, random.Random(seed), vary=vary)
    assert 2.0 <= len(clip) / SAMPLE_RATE_HZ <= 4.0
    finished = levelled(clip, random.Random(seed))
    assert finished.dtype == np.float32
    assert np.isfinite(finished).all()
    assert np.abs(finished).max() < 0.8
    if seconds > 0.05:
        assert np.abs(clip).max() > 0.3  # something of it is heard


def test_trimming_keeps_what_sounds_and_leaves_silence_alone() -> None:
    sound = np.concatenate([np.zeros(500, np.float32), _tone(0.2), np.zeros(900, np.float32)])
    assert len(trimmed(sound)) == pytest.approx(3200, abs=20)
    assert len(trimmed(np.zeros(100, np.float32))) == 100


def test_tilting_makes_duller_or_brighter() -> None:
    chance = np.random.default_rng(1)
    noise = chance.standard_normal(SAMPLE_RATE_HZ).astype(np.float32)

    def brightness(sound: np.ndarray) -> float:
        power = np.abs(np.fft.rfft(sound)) ** 2
        return float(10 * np.log10(power[4000:8000].mean() / power[500:1000].mean()))

    # 4-8 kHz lies about three octaves above 0.5-1 kHz.
    change = brightness(sounds.tilted(noise, 4.0)) - brightness(noise)
    assert change == pytest.approx(12.0, abs=0.5)
    np.testing.assert_allclose(sounds.tilted(noise, 0.0), noise, atol=1e-5)


# --- the whole ----------------------------------------------------------------------------------


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> list[Clip]:
    """Two barks, and a trumpet of each split, on a tiny soundfont."""
    pytest.importorskip("midirenderer")
    monkeypatch.setattr(sounds, "load_soundfont", lambda part: tiny_soundfont())
    monkeypatch.setattr(
        sounds, "read_recordings", lambda names, packages: dict.fromkeys(names, _tone(0.4))
    )
    dogs = [clip for clip in PLAN if clip.name.name == "dog" and clip.split == "train"][:2]
    tubas = {clip.split: clip for clip in PLAN if clip.name.name == "tuba" and clip.piece}
    return [*dogs, *tubas.values()]


def _record_here(planned: list[Clip], folder: Path) -> None:
    """As `record`, in this process."""
    for split in {clip.split for clip in planned}:
        (folder / split).mkdir(parents=True)
    for package in sorted({clip.package for clip in planned}):
        group = [clip for clip in planned if clip.package == package]
        sounds._record_package(group, folder)


def _rows(path: Path) -> list[Row]:
    manifest = open_manifest(path)
    assert isinstance(manifest, Manifest)
    return [manifest[index] for index in range(len(manifest))]


def test_the_same_clips_have_the_same_bytes(few: list[Clip], tmp_path: Path) -> None:
    _record_here(few, tmp_path / "a")
    _record_here(few, tmp_path / "b")
    for clip in few:
        made = [sounds.path_of(clip, tmp_path / run).read_bytes() for run in "ab"]
        assert made[0] == made[1]
    barks = [sounds.path_of(clip, tmp_path / "a").read_bytes() for clip in few[:2]]
    assert barks[0] != barks[1]  # two clips of one recording are not one


def test_what_is_written_reads_back_as_sounds_with_their_names(
    few: list[Clip], tmp_path: Path
) -> None:
    _record_here(few, tmp_path)
    write_manifest(sounds.pairs(few, tmp_path, "train"), tmp_path / "train.jsonl")
    write_manifest(sounds.pairs(few, tmp_path, "test"), tmp_path / "test_names.jsonl")
    write_manifest(sounds.train_questions(few, tmp_path), tmp_path / "questions_train.jsonl")
    train = _rows(tmp_path / "train.jsonl")
    assert [row.fields["name"] for row in train] == ["dog", "dog", "tuba"]
    for row in train:
        assert isinstance(row, PairRow)
        assert str(row.fields["name"]) in str(row.text)
        sound = load_audio(row.audio)
        assert 2.0 <= len(sound) / SAMPLE_RATE_HZ <= 4.0
        assert 0.2 < np.abs(sound).max() < 0.8
    (test,) = _rows(tmp_path / "test_names.jsonl")
    assert isinstance(test, PairRow)
    assert (test.text, test.fields["unseen"]) == ("a tuba", "register")
    questions = _rows(tmp_path / "questions_train.jsonl")
    assert questions
    for question in questions:
        assert isinstance(question, ConversationRow)
        assert question.messages[-1].role == "assistant"
        assert len(str(question.fields["kind"]).split("+")) == len(question.messages) / 2


def test_a_silent_soundfont_is_noticed(
    few: list[Clip], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = np.zeros(SAMPLE_RATE_HZ, np.float32)
    monkeypatch.setattr(
        sounds, "read_recordings", lambda names, packages: dict.fromkeys(names, nothing)
    )
    with pytest.raises(DataError, match="dog is silent"):
        _record_here(few[:1], tmp_path)
