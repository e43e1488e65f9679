"""The voices of the picturebook: the same sound each time, the test voice never in training."""

import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from unisono.errors import DownloadError, VoiceError
from unisono.hub import fetch_part
from unisono.media import SAMPLE_RATE_HZ, load_audio
from unisono.picturebook import voices_espeak, voices_flite
from unisono.picturebook.packages import sources
from unisono.picturebook.voices import (
    PIPER,
    TEST_VOICE,
    Reading,
    draw_voice,
    family,
    levelled,
    record,
    varied,
    write_flac,
)
from unisono.picturebook.voices_espeak import ACCENTS, TIMBRES, Espeak
from unisono.picturebook.voices_flite import FLITE_VOICES, speak_flite

TEXT = "Three yellow birds sit on the old table."


@pytest.fixture(scope="module", autouse=True)
def synthesisers() -> None:
    """What the voices are made with; tests that speak are skipped without a network."""
    try:
        for part in ("flite", "espeak-ng"):
            fetch_part(part, catalog=sources())
    except DownloadError as error:
        pytest.skip(f"the voices cannot be had: {error}")


@pytest.mark.parametrize("voice", FLITE_VOICES)
def test_flite_speaks_and_keeps_the_pace(voice: str) -> None:
    pcm, rate_hz = speak_flite(voice, TEXT)
    hurried, _ = speak_flite(voice, TEXT, 1.5)
    assert rate_hz == 16_000
    assert pcm.dtype == np.float32
    assert 1.5 < len(pcm) / rate_hz < 4.5
    assert 0.1 < np.abs(pcm).max() <= 1.0
    assert len(hurried) == pytest.approx(len(pcm) / 1.5, rel=0.1)


@pytest.mark.parametrize("voice", FLITE_VOICES)
def test_flite_says_a_text_the_same_way_whatever_it_said_before(voice: str) -> None:
    first, _ = speak_flite(voice, TEXT)
    speak_flite("slt", "Something else.")
    again, _ = speak_flite(voice, TEXT)
    assert np.array_equal(first, again)


def test_espeak_says_the_same_texts_the_same_way_in_every_copy() -> None:
    one, other = Espeak(), Espeak()
    said = [one.speak("en-us+f1", TEXT)[0], one.speak("en-029+m3", TEXT)[0]]
    again = [other.speak("en-us+f1", TEXT)[0], other.speak("en-029+m3", TEXT)[0]]
    assert [len(pcm) for pcm in said] == [len(pcm) for pcm in again]
    assert all(np.array_equal(a, b) for a, b in zip(said, again, strict=True))


def test_every_accent_and_timbre_of_espeak_is_a_voice_of_its_own() -> None:
    espeak = Espeak()
    voices = [*(f"{accent}+m3" for accent in ACCENTS), *(f"en+{timbre}" for timbre in TIMBRES)]
    sounds = {voice: espeak.speak(voice, TEXT)[0] for voice in voices}
    assert all(1.0 < len(pcm) / 22_050 < 5.0 for pcm in sounds.values())
    assert len({pcm.tobytes() for pcm in sounds.values()}) == len(set(voices))


def test_no_drawn_voice_is_that_of_the_test() -> None:
    chance = random.Random(3)
    drawn = Counter(draw_voice(chance, piper=0.2) for _ in range(4_000))
    assert TEST_VOICE not in drawn
    assert drawn[PIPER] / 4_000 == pytest.approx(0.2, abs=0.03)
    assert {family(voice) for voice in drawn} == {"piper", "flite", "espeak"}
    assert len(drawn) == 1 + 3 + len(ACCENTS) * len(TIMBRES)


def _readings(folder: Path) -> list[Reading]:
    folder.mkdir()
    chance = random.Random(5)
    voices = ["espeak-en+f2", "flite-kal16", "flite-slt", "espeak-en-us+Lee", "flite-rms"]
    return [
        varied(f"{TEXT} Number {number}.", folder / f"{number}.flac", voice, chance)
        for number, voice in enumerate(voices)
    ]


def test_the_same_readings_make_the_same_bytes_in_one_process_and_in_two(tmp_path: Path) -> None:
    alone, shared = _readings(tmp_path / "alone"), _readings(tmp_path / "shared")
    assert record(alone, workers=1) == record(shared, workers=2)
    for one, other in zip(alone, shared, strict=True):
        assert one.path.read_bytes() == other.path.read_bytes()


def test_a_recording_is_level_short_of_silence_and_as_long_as_told(tmp_path: Path) -> None:
    readings = _readings(tmp_path / "recorded")
    for reading, seconds in zip(readings, record(readings, workers=1), strict=True):
        sound = load_audio(reading.path)
        assert len(sound) / SAMPLE_RATE_HZ == pytest.approx(seconds)
        assert np.abs(sound).max() == pytest.approx(0.7, abs=0.001)
        (heard,) = np.nonzero(np.abs(sound) > 0.002)
        assert heard[0] / SAMPLE_RATE_HZ == pytest.approx(0.12, abs=0.02)
        assert (len(sound) - heard[-1]) / SAMPLE_RATE_HZ == pytest.approx(0.12, abs=0.05)


def test_a_higher_voice_is_a_shorter_sound(tmp_path: Path) -> None:
    low, high = (
        Reading(TEXT, tmp_path / f"{pitch}.flac", "flite-kal16", pitch=pitch)
        for pitch in (0.86, 1.18)
    )
    long_s, short_s = record([low, high], workers=1)
    assert (long_s - 0.24) / (short_s - 0.24) == pytest.approx(1.18 / 0.86, rel=0.02)


def test_flac_keeps_every_sample_and_writes_the_same_bytes(tmp_path: Path) -> None:
    samples = np.random.default_rng(0).integers(-32_767, 32_767, 5_000)
    pcm = (samples / 32_767).astype(np.float32)
    write_flac(pcm, tmp_path / "a.flac")
    write_flac(pcm, tmp_path / "b.flac")
    assert (tmp_path / "a.flac").read_bytes() == (tmp_path / "b.flac").read_bytes()
    read = load_audio(tmp_path / "a.flac")
    assert np.array_equal(np.rint(read * 32_768).astype(int), samples)


def test_silence_stays_silence() -> None:
    assert not levelled(np.zeros(10, np.float32)).any()


@pytest.mark.parametrize(
    ("voice", "told"),
    [
        ("siri", "names begin with piper, flite, espeak"),
        ("flite-bob", "Flite has no voice 'bob'; it has kal16, awb, rms, slt"),
        ("espeak-en", "eSpeak NG has no voice 'en'; it has the accents en, en-us"),
    ],
)
def test_a_voice_that_is_not_there_is_named(voice: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(VoiceError) as caught:
        record([Reading(TEXT, tmp_path / "a.flac", voice)], workers=1)
    assert told in str(caught.value)


def test_a_text_with_nothing_to_say_is_named(tmp_path: Path) -> None:
    with pytest.raises(VoiceError, match=r"says nothing of '\.\.\.'"):
        record([Reading("...", tmp_path / "a.flac", "espeak-en+m1")], workers=1)


def test_a_machine_that_cannot_run_them_is_told_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "libflite.so.1").write_bytes(b"for another machine")
    monkeypatch.setattr(voices_flite, "_folder", lambda: tmp_path)
    with pytest.raises(VoiceError, match=r"64-bit x86 Linux with glibc 2\.34 or newer only"):
        voices_flite._loaded("libflite.so.1")
    with pytest.raises(VoiceError, match="64-bit x86 Linux only"):
        voices_espeak._loaded(tmp_path / "libflite.so.1")
