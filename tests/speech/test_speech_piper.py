"""Piper, with the real voice."""

import json
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from unisono.errors import MissingExtraError, VoiceError
from unisono.speech import PiperVoice, Voice


def spoken(voice: PiperVoice, text: str) -> np.ndarray:
    return np.concatenate(list(voice.speak(text)))


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and bool((a == b).all())


def test_a_chunk_a_sentence(voice: PiperVoice, capfd: pytest.CaptureFixture[str]) -> None:
    assert isinstance(voice, Voice)
    assert (voice.sample_rate_hz, voice.language, voice.speakers) == (22_050, "en-US", ())
    chunks = list(voice.speak("It **rains** today. Take an umbrella!\n\n- Eggs\n- Milk"))
    assert len(chunks) == 4
    for chunk in chunks:
        assert chunk.dtype == np.float32
        assert chunk.ndim == 1
        assert 0.1 < np.abs(chunk).max() <= 1.0
        assert 0.2 < len(chunk) / 22_050 < 4
    assert capfd.readouterr().err == ""


def test_marks_are_not_read_aloud(voice: PiperVoice) -> None:
    plain = spoken(voice, "Look at the big house.")
    assert same(spoken(voice, "Look **at** [the](http://x.y/z) `big` house. 😊"), plain)
    assert not same(spoken(voice, "Look at the house."), plain)


@pytest.mark.parametrize("text", ["", "...", " \n ", "😊", "**", "?!"])
def test_nothing_to_say_is_silence(voice: PiperVoice, text: str) -> None:
    assert list(voice.speak(text)) == []


def test_brackets_are_text_and_not_phonemes(voice: PiperVoice) -> None:
    assert len(spoken(voice, "The list is [[one, two]] here.")) > 1.5 * len(
        spoken(voice, "The list is here.")
    )


def test_overlong_sentences_come_in_bounded_chunks(voice: PiperVoice) -> None:
    text = "and then the little fox walked on, " * 15
    chunks = list(voice.speak(text))
    assert len(chunks) >= 3
    assert max(map(len, chunks)) < 20 * voice.sample_rate_hz


def test_closing_stops_the_work(voice: PiperVoice, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    synthesise = voice._piper.synthesize

    def watch(text: str, config: Any) -> Iterator[Any]:
        read.append(text)
        return synthesise(text, config)  # type: ignore[no-any-return]

    monkeypatch.setattr(voice._piper, "synthesize", watch, raising=False)
    speaking = voice.speak("One is here. Two is here. Three is here.")
    next(speaking)
    speaking.close()  # type: ignore[attr-defined]
    assert read == ["One is here."]


def test_two_threads_hear_what_one_hears(voice: PiperVoice) -> None:
    texts = ["The sky is blue. It is warm.", "A dog barks at night. We sleep."]
    alone = [spoken(voice, text) for text in texts]
    together: dict[int, np.ndarray] = {}

    def work(index: int) -> None:
        together[index] = spoken(voice, texts[index])

    threads = [threading.Thread(target=work, args=(index,)) for index in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(same(together[index], alone[index]) for index in (0, 1))


def test_seed_variation_and_speed(voice: PiperVoice, voice_model: Path) -> None:
    first, again, other = (PiperVoice(voice_model, seed=seed) for seed in (3, 3, 4))
    texts = ["Hello, this is a test.", "Hello, this is a test."]
    sounds = [[spoken(v, text) for text in texts] for v in (first, again, other)]
    assert all(same(a, b) for a, b in zip(sounds[0], sounds[1], strict=True))
    assert not same(sounds[0][0], sounds[2][0])
    assert not same(*sounds[0])
    assert same(*(spoken(voice, text) for text in texts))
    fast = PiperVoice(voice_model, variation=0, speed=2.0)
    ratio = len(spoken(voice, texts[0])) / len(spoken(fast, texts[0]))
    assert 1.5 < ratio < 2.2  # every phoneme lasts whole frames


def test_the_session_leaves_cores_to_others(voice: PiperVoice) -> None:
    options = voice._piper.session.get_session_options()
    assert options.intra_op_num_threads == 1
    assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"


def settings_of(voice_model: Path) -> dict[str, Any]:
    return json.loads(Path(f"{voice_model}.json").read_text())  # type: ignore[no-any-return]


def test_wrong_speakers_name_the_right_ones(voice_model: Path, tmp_path: Path) -> None:
    with pytest.raises(VoiceError, match="one speaker only, there is no 'ann'"):
        PiperVoice(voice_model, speaker="ann")
    config = tmp_path / "many.json"
    names = {f"p{number}": number for number in range(30)}
    config.write_text(
        json.dumps(settings_of(voice_model) | {"num_speakers": 30, "speaker_id_map": names})
    )
    with pytest.raises(VoiceError, match=r"no speaker 'ann'; it has p0, .*p11 … \(30 in all\)"):
        PiperVoice(voice_model, config, speaker="ann")
    with pytest.raises(VoiceError, match="no speaker 30"):
        PiperVoice(voice_model, config, speaker=30)
    assert PiperVoice(voice_model, config, speaker="p7")._synthesis.speaker_id == 7


def test_broken_files_are_one_line(
    voice_model: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    good = settings_of(voice_model)
    model, config = tmp_path / "v.onnx", tmp_path / "v.onnx.json"

    def fault() -> str:
        with pytest.raises(VoiceError) as caught:
            PiperVoice(model)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    assert "settings" in fault()
    config.write_text("{")
    assert "cannot be read" in fault()
    config.write_text("[]")
    assert "JSON object" in fault()
    config.write_text(json.dumps(good))
    assert "does not exist" in fault()
    model.write_bytes(b"not a model")
    assert "cannot be loaded" in fault()
    model.write_bytes(voice_model.read_bytes()[:100_000])
    assert "cannot be loaded" in fault()
    model.write_bytes(voice_model.read_bytes())
    config.write_text(json.dumps({key: good[key] for key in good if key != "espeak"}))
    assert "lack 'espeak'" in fault()
    assert capfd.readouterr().err == ""


def test_numbers_out_of_range_and_missing_extra(
    voice_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(VoiceError, match="speed 0"):
        PiperVoice(voice_model, speed=0)
    monkeypatch.setitem(sys.modules, "piper", None)
    with pytest.raises(MissingExtraError, match=r"unisono\[voice\]"):
        PiperVoice(voice_model)
