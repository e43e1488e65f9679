"""The CosyVoice adapter, against a stand-in with the real package's signatures.

Signatures: FunAudioLLM/CosyVoice `cosyvoice/cli/cosyvoice.py`, of 2025 (`prompt_speech_16k`,
samples) and of today (`prompt_wav`, a path; `AutoModel`).
"""

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from unisono.errors import VoiceError
from unisono.speech import CosyVoiceVoice, Voice


class StandIn:
    sample_rate = 24_000

    def __init__(self, model_dir: str, load_jit: bool = False, fp16: bool = False) -> None:
        self.model_dir = model_dir
        self.fp16 = fp16
        self.spk2info: dict[str, Any] = {"中文女": None}
        self.said: list[tuple[Any, ...]] = []
        self.chunks_made = 0

    def list_available_spks(self) -> list[str]:
        return list(self.spk2info)

    def add_zero_shot_spk(self, prompt_text: str, prompt_wav: Any, zero_shot_spk_id: str) -> bool:
        self.spk2info[zero_shot_spk_id] = (prompt_text, prompt_wav)
        return True

    def inference_sft(
        self,
        tts_text: str,
        spk_id: str,
        stream: bool = False,
        speed: float = 1.0,
        text_frontend: bool = True,
    ) -> Iterator[dict[str, torch.Tensor]]:
        self.said.append(("sft", tts_text, spk_id, stream, speed))
        yield from self._sound(tts_text)

    def inference_zero_shot(  # noqa: PLR0917
        self,
        tts_text: str,
        prompt_text: str,
        prompt_wav: Any,
        zero_shot_spk_id: str = "",
        stream: bool = False,
        speed: float = 1.0,
        text_frontend: bool = True,
    ) -> Iterator[dict[str, torch.Tensor]]:
        self.said.append(("zero", tts_text, self.spk2info[zero_shot_spk_id], stream, speed))
        yield from self._sound(tts_text)

    def _sound(self, text: str) -> Iterator[dict[str, torch.Tensor]]:
        if "boom" in text:
            raise RuntimeError("out of memory")
        for value in (0.25, -1.5, 0.5):
            self.chunks_made += 1
            yield {"tts_speech": torch.full((1, 480), value, requires_grad=True)}


class OldStandIn(StandIn):
    def add_zero_shot_spk(
        self, prompt_text: str, prompt_speech_16k: Any, zero_shot_spk_id: str
    ) -> bool:
        return super().add_zero_shot_spk(prompt_text, prompt_speech_16k, zero_shot_spk_id)


def install(monkeypatch: pytest.MonkeyPatch, **names: Any) -> None:
    package, cli = types.ModuleType("cosyvoice"), types.ModuleType("cosyvoice.cli")
    module, utils = types.ModuleType("cosyvoice.cli.cosyvoice"), types.ModuleType("cosyvoice.utils")
    files = types.ModuleType("cosyvoice.utils.file_utils")
    for name, value in names.items():
        setattr(module, name, value)
    files.load_wav = lambda path, rate: ("samples", Path(path).name, rate)  # type: ignore[attr-defined]
    cli.cosyvoice = module  # type: ignore[attr-defined]
    for part in (package, cli, module, utils, files):
        monkeypatch.setitem(sys.modules, part.__name__, part)


@pytest.fixture
def prompt(tmp_path: Path) -> Path:
    path = tmp_path / "prompt.wav"
    path.write_bytes(b"RIFF")
    return path


def test_a_stored_speaker_streams(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, CosyVoice2=StandIn)
    voice = CosyVoiceVoice(tmp_path, speaker="中文女", speed=1.5, options={"fp16": True})
    assert isinstance(voice, Voice)
    assert (voice.sample_rate_hz, voice.language) == (24_000, "zh-CN")
    chunks = list(voice.speak("**你好**，世界。"))
    assert [(c.shape, c.dtype, c[0]) for c in chunks] == [
        ((480,), np.float32, value) for value in (0.25, -1.0, 0.5)
    ]
    assert voice._model.said == [("sft", "你好，世界。", "中文女", True, 1.5)]
    assert voice._model.fp16


def test_nothing_to_say_and_closing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    install(monkeypatch, CosyVoice2=StandIn)
    voice = CosyVoiceVoice(tmp_path, speaker="中文女")
    assert list(voice.speak("… 😊")) == []
    speaking = voice.speak("Hello.")
    next(speaking)
    speaking.close()  # type: ignore[attr-defined]
    assert voice._model.chunks_made == 1
    assert len(list(voice.speak("Again."))) == 3  # the lock was given back


@pytest.mark.parametrize(
    ("model", "given"), [(StandIn, None), (OldStandIn, ("samples", "prompt.wav", 16_000))]
)
def test_a_prompt_is_encoded_once_as_each_release_wants_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, prompt: Path, model: type, given: Any
) -> None:
    install(monkeypatch, AutoModel=model)
    voice = CosyVoiceVoice(tmp_path, prompt_audio=prompt, prompt_text="Hi there.")
    list(voice.speak("One."))
    list(voice.speak("Two."))
    spoken = ("Hi there.", given or str(prompt))
    assert voice._model.said == [("zero", word, spoken, True, 1.0) for word in ("One.", "Two.")]


def test_faults_are_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, prompt: Path) -> None:
    monkeypatch.setitem(sys.modules, "cosyvoice", None)
    with pytest.raises(VoiceError, match="git clone --recursive"):
        CosyVoiceVoice(tmp_path, speaker="x")
    install(monkeypatch, CosyVoice2=StandIn)
    with pytest.raises(VoiceError, match="has no speaker 'x'; it has 中文女"):
        CosyVoiceVoice(tmp_path, speaker="x")
    with pytest.raises(VoiceError, match="does not exist"):
        CosyVoiceVoice(tmp_path / "none", speaker="x")
    with pytest.raises(VoiceError, match="either a speaker, or both"):
        CosyVoiceVoice(tmp_path, prompt_audio=prompt)
    voice = CosyVoiceVoice(tmp_path, speaker="中文女")
    with pytest.raises(VoiceError, match="cannot speak 'boom': out of memory"):
        list(voice.speak("boom"))
