"""Spoken names of drawings: who may be heard in training, and what becomes of recordings."""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unisono.errors import DownloadError
from unisono.hub import fetch_part
from unisono.manifests import open_manifest
from unisono.media import SAMPLE_RATE_HZ, load_audio, load_image
from unisono.picturebook import human_recordings, spoken_names
from unisono.picturebook.drawing import Drawing, Split
from unisono.picturebook.human_recordings import SpokenCaption, asterisk_prompts, spoken_captions
from unisono.picturebook.packages import sources
from unisono.picturebook.spoken_names import (
    STEP,
    matched,
    may_train,
    names_to_test,
    names_to_train,
)
from unisono.picturebook.voices import PIPER, TEST_VOICE
from unisono.speech import wav_bytes

LION = "animals/cats/lion"
KOALA = "animals/koala"


def _drawing(name: str, concept: str, split: Split = "train", hand: str = "noto") -> Drawing:
    return Drawing(name, Path(f"{name}.png"), concept, hand, "", split, {}, (), False)


DRAWINGS = [
    _drawing("tuxpaint-animals-cats-lion", "lion", hand="tuxpaint"),
    _drawing("tuxpaint-animals-koala", "koala", "unseen_concept", "tuxpaint"),
    _drawing("noto-1", "lion"),
    _drawing("noto-2", "red apple"),
    _drawing("noto-3", "keycap 9"),
    _drawing("noto-4", "koala", "unseen_concept"),
    _drawing("fx-1", "red apple", "unseen_drawing", "fxemoji"),
    _drawing("clip-1", "lion john smith", hand="openclipart"),
]


def _sound(seconds: float, loudness: float = 0.3) -> bytes:
    """A tone at 44.1 kHz, as a file."""
    time_s = np.arange(round(44_100 * seconds)) / 44_100
    tone = (loudness * np.sin(2 * np.pi * 440 * time_s)).astype(np.float32)
    return wav_bytes(tone, 44_100)


def _captions(sound: bytes) -> Iterable[SpokenCaption]:
    for stamp, english in ((LION, "A lion."), (KOALA, "A koala."), ("lost/stamp", "Lost.")):
        for language in ("en", "es", "fr", "ru"):
            yield SpokenCaption(stamp, language, f"{language} {english}", english, sound)


def test_recordings_are_told_by_their_stamps() -> None:
    names = [name for name, _ in matched(_captions(b""), DRAWINGS)]
    assert len(names) == 8
    assert {name.drawing.concept for name in names} == {"lion", "koala"}
    spanish = next(name for name in names if name.language == "es")
    assert (spanish.text, spanish.english, spanish.voice) == ("es A lion", "lion", "human-es")


def test_only_other_speakers_of_seen_concepts_train() -> None:
    names = [name for name, _ in matched(_captions(b""), DRAWINGS) if may_train(name)]
    assert {(name.language, name.drawing.concept) for name in names} == {
        ("es", "lion"),
        ("ru", "lion"),
    }


def test_machines_say_what_trains_in_several_voices_but_never_in_that_of_the_test() -> None:
    many = [_drawing(f"noto-{number}", f"thing {'abcdefghij'[number]}") for number in range(10)]
    names = names_to_train([*DRAWINGS, *many])
    said = {name.text for name in names}
    assert {"lion", "red apple"} < said
    assert not said & {"koala", "keycap 9", "lion john smith"}
    voices = {name.voice for name in names}
    assert TEST_VOICE not in voices
    assert {PIPER, "flite-kal16", "flite-awb", "flite-rms"} < voices
    assert all(may_train(name) for name in names)
    assert all(len({n.voice for n in names if n.text == text}) >= 2 for text in said)


def test_tests_name_held_out_concepts_and_unseen_drawings() -> None:
    names = names_to_test(DRAWINGS)
    assert {(name.text, name.drawing.split) for name in names} == {
        ("koala", "unseen_concept"),
        ("red apple", "unseen_drawing"),
    }
    assert {name.voice for name in names} == {TEST_VOICE}
    assert not any(may_train(name) for name in names)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Toy drawings and recordings, quick voices; skipped without a network."""
    try:
        for part in ("flite", "espeak-ng"):
            fetch_part(part, catalog=sources())
    except DownloadError as error:
        pytest.skip(f"the voices cannot be had: {error}")
    monkeypatch.setattr(spoken_names, "PIPER", "flite-kal16")
    drawn = [replace(one, path=tmp_path / one.path) for one in DRAWINGS]
    for one in drawn:
        Image.new("RGBA", (30, 20), "red").save(one.path)
    monkeypatch.setattr(spoken_names, "read_drawings", lambda _: drawn)
    monkeypatch.setattr(spoken_names, "spoken_captions", lambda: _captions(_sound(0.8)))


@pytest.mark.usefixtures("quick")
def test_the_step_writes_rows_that_can_be_read_heard_and_seen(tmp_path: Path) -> None:
    folder = tmp_path / "step"
    folder.mkdir()
    STEP.build(folder, tmp_path)
    rows = {name: [*open_manifest(folder / f"{name}.jsonl")] for name in _MANIFESTS}
    for row in (*rows["test_names"], *rows["test_french"]):
        assert (row.image is None) == (row.fields["split"] == "train")
        if row.image is not None:
            assert load_image(row.image).size == (64, 64)
    for row in (row for said in rows.values() for row in said):
        assert 0.3 < len(load_audio(row.audio)) / SAMPLE_RATE_HZ < 6
    trained = {(row.fields["language"], row.fields["concept"]) for row in rows["train"]}
    assert trained == {("es", "lion"), ("ru", "lion"), ("en", "lion"), ("en", "red apple")}
    assert not any(row.fields["voice"] in (TEST_VOICE, "human-en") for row in rows["train"])
    assert {row.fields["voice"] for row in rows["test_names"]} == {TEST_VOICE, "human-en"}
    assert {row.fields["drawing"] for row in rows["test_french"]} == {
        "tuxpaint-animals-cats-lion",
        "tuxpaint-animals-koala",
    }
    assert {row.fields["english"] for row in rows["test_french"]} == {"lion", "koala"}


_MANIFESTS = ("train", "test_names", "test_french")


@pytest.mark.parametrize(
    ("sound", "fit"),
    [(_sound(0.5), True), (_sound(7.0), False), (_sound(0.5, 0.001), False), (b"no sound", False)],
    ids=["good", "long", "silent", "broken"],
)
def test_recordings_that_are_of_no_use_are_left_out(
    sound: bytes, *, fit: bool, tmp_path: Path
) -> None:
    path = tmp_path / "a.flac"
    assert spoken_names._rewrite(sound, path) == fit
    assert path.exists() == fit
    if fit:
        assert np.abs(load_audio(path)).max() == pytest.approx(0.7, abs=0.001)


def test_captions_are_read_out_of_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = human_recordings.STAMPS_FOLDER
    lines = "A lion.\nes.utf8=Un león.\nca.utf8=\nzz\n".encode()
    package = {
        f"{folder}cats/lion.txt": lines,
        f"{folder}cats/lion_desc.ogg": b"en",
        f"{folder}cats/lion_desc_es.ogg": b"es",
        f"{folder}cats/lion_desc_ca.ogg": b"caption is empty",
        f"{folder}cats/lion_roar.ogg": b"no words",
        f"{folder}cats/tiger_desc_es.ogg": b"no text",
    }
    monkeypatch.setattr(
        human_recordings,
        "members",
        lambda _, wanted: ((path, data) for path, data in package.items() if wanted(path)),
    )
    assert list(spoken_captions()) == [
        SpokenCaption("cats/lion", "en", "A lion.", "A lion.", b"en"),
        SpokenCaption("cats/lion", "es", "Un león.", "A lion.", b"es"),
    ]


@pytest.mark.slow
def test_prompts_come_with_their_words() -> None:
    prompts = {prompt.name: prompt for prompt in asterisk_prompts()}
    assert prompts["vm-goodbye"].text == "Goodbye"
    assert 0.4 < len(prompts["vm-goodbye"].samples()) / SAMPLE_RATE_HZ < 2
    assert "silence/1" not in prompts
    assert len(prompts) > 400
