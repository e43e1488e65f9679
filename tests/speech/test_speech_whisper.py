"""Whisper, with the real model: words back from the real voice, and none from noise."""

import sys
from pathlib import Path

import jiwer
import numpy as np
import pytest
import soxr

from unisono.errors import ListenerError, MissingExtraError
from unisono.speech import LISTENER_RATE_HZ, Listener, PiperVoice, WhisperListener, whisper

SENTENCES = [
    "The mountains were covered with snow, and the lake was frozen.",
    "Please turn off the lights in the kitchen.",
    "My grandmother lives in a small house near the river.",
]
MORE = [
    "The library closes early on Friday because of the holiday.",
    "How many legs does a spider have?",
    "She opened the old wooden box and found a letter.",
    "When the train finally arrived, everybody had already gone home.",
]
PLAIN = jiwer.Compose(
    [jiwer.ToLowerCase(), jiwer.RemovePunctuation(), jiwer.Strip(), jiwer.RemoveMultipleSpaces()]
)


def wer(said: list[str], heard: list[str]) -> float:
    return float(jiwer.wer(PLAIN(said), PLAIN(heard)))


@pytest.fixture(scope="module")
def speech(voice: PiperVoice) -> list[np.ndarray]:
    """The sentences, as `say` makes them."""
    return [say(voice, sentence) for sentence in SENTENCES]


def say(voice: PiperVoice, sentence: str) -> np.ndarray:
    """Float32 mono 16 kHz [T], half as loud as can be."""
    pcm = np.concatenate(list(voice.speak(sentence)))
    return soxr.resample(pcm, voice.sample_rate_hz, LISTENER_RATE_HZ) * np.float32(0.5)


def silence(seconds: float) -> np.ndarray:
    return np.zeros(int(seconds * LISTENER_RATE_HZ), np.float32)


def test_what_piper_says_is_heard(listener: WhisperListener, speech: list[np.ndarray]) -> None:
    assert isinstance(listener, Listener)
    heard = [listener.listen(waveform, word_times=False) for waveform in speech]
    assert wer(SENTENCES, [transcript.text for transcript in heard]) <= 0.1
    for transcript, waveform in zip(heard, speech, strict=True):
        assert transcript.language == "en"
        assert transcript.language_probability > 0.5
        assert transcript.words == ()
        assert transcript.duration_s == len(waveform) / LISTENER_RATE_HZ


def test_word_times_follow_the_sound(listener: WhisperListener, speech: list[np.ndarray]) -> None:
    plain = listener.listen(speech[0], language="en")
    assert " ".join(word.text for word in plain.words) == plain.text
    times = [t for word in plain.words for t in (word.start_s, word.end_s)]
    assert times == sorted(times)
    assert times[0] >= 0
    assert times[-1] <= plain.duration_s
    assert all(0 < word.probability <= 1 for word in plain.words)
    late = listener.listen(np.concatenate([silence(3), speech[0], silence(2)]), language="en-US")
    assert PLAIN(late.text) == PLAIN(plain.text)
    assert late.language == "en"
    for word, before in zip(late.words, plain.words, strict=True):
        assert word.end_s == pytest.approx(before.end_s + 3, abs=0.25)
    assert late.words[0].start_s == pytest.approx(3, abs=0.15)


def noise(kind: str) -> np.ndarray:
    rng, count = np.random.default_rng(0), 4 * LISTENER_RATE_HZ
    time_s = np.arange(count) / LISTENER_RATE_HZ
    sounds = {
        "empty": np.zeros(0),
        "one sample": np.zeros(1),
        "silence": np.zeros(count),
        "hiss": 0.1 * rng.standard_normal(count),
        "hum": 0.3 * np.sin(2 * np.pi * 50 * time_s),
        "chord": sum(0.1 * np.sin(2 * np.pi * f * time_s) for f in (262, 330, 392)),
        "clicks": (np.arange(count) % 4000 == 0) * 0.9,
        "not a number": np.full(count, np.nan),
    }
    return np.asarray(sounds[kind], np.float32)


@pytest.mark.parametrize(
    "kind", ["empty", "one sample", "silence", "hiss", "hum", "chord", "clicks", "not a number"]
)
def test_nobody_speaks(listener: WhisperListener, kind: str) -> None:
    transcript = listener.listen(noise(kind))
    assert (transcript.text, transcript.words) == ("", ())
    assert (transcript.language, transcript.language_probability) == ("", 0.0)
    assert listener.listen(noise(kind), language="fr").language == "fr"


def test_one_encoder_pass_over_a_short_window(
    listener: WhisperListener, speech: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    windows: list[int] = []
    encode = listener._model.encode

    def watch(mel: np.ndarray) -> object:
        windows.append(mel.shape[-1])
        return encode(mel)

    monkeypatch.setattr(listener._model, "encode", watch)
    listener.listen(speech[1])  # the language is found too
    assert len(windows) == 1
    assert windows[0] <= 800


def test_a_loop_in_the_short_window_is_heard_again_in_the_full_one(
    listener: WhisperListener, speech: list[np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(whisper, "_MARGIN_S", 0.0)
    full: list[int] = []
    hear_long = listener._hear_long

    def watch(*arguments: object) -> object:
        full.append(1)
        return hear_long(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(listener, "_hear_long", watch)
    heard = [listener.listen(waveform, language="en", word_times=False) for waveform in speech]
    assert full  # without a margin the decoder does loop
    assert wer(SENTENCES, [transcript.text for transcript in heard]) <= 0.2


@pytest.mark.slow
def test_long_sound_comes_in_windows(
    listener: WhisperListener, voice: PiperVoice, speech: list[np.ndarray]
) -> None:
    parts = speech + [say(voice, sentence) for sentence in MORE]
    waveform = np.concatenate([sound for part in parts for sound in (part, silence(1.8))])
    assert len(waveform) > 31 * LISTENER_RATE_HZ
    transcript = listener.listen(waveform, language="en")
    assert wer([" ".join(SENTENCES + MORE)], [transcript.text]) <= 0.1
    starts = [word.start_s for word in transcript.words]
    assert starts == sorted(starts)
    last = transcript.duration_s - len(parts[-1]) / LISTENER_RATE_HZ - 1.8
    assert transcript.words[-1].end_s > last + 1


def test_faults_speak_the_users_words(
    listener: WhisperListener,
    whisper_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ValueError, match=r"shape \[T\], but is \[2, 5\]"):
        listener.listen(np.zeros((2, 5), np.float32))
    with pytest.raises(ListenerError, match="'klingon'"):
        listener.listen(silence(1), language="klingon")
    with pytest.raises(ListenerError, match=r"lacks config\.json, model\.bin, tokenizer\.json"):
        WhisperListener(tmp_path)
    for name in ("config.json", "tokenizer.json", "vocabulary.json"):
        (tmp_path / name).write_bytes((whisper_folder / name).read_bytes())
    (tmp_path / "model.bin").write_bytes(b"not a model")
    with pytest.raises(ListenerError, match="cannot be loaded"):
        WhisperListener(tmp_path)
    with pytest.raises(ListenerError, match="cannot be loaded"):
        WhisperListener(whisper_folder, compute_type="int3")
    monkeypatch.setitem(sys.modules, "faster_whisper", None)
    with pytest.raises(MissingExtraError, match=r"unisono\[voice\]"):
        WhisperListener(whisper_folder)
