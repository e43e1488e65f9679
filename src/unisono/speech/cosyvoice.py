"""CosyVoice 2 voices: a neural voice that can imitate a speaker from a few seconds of sound.

An adapter to the Python API of FunAudioLLM/CosyVoice (Apache-2.0; Du et al., "CosyVoice 2",
arXiv:2412.10117), the synthesiser the Ola paper streams with. The package is not on PyPI: clone
the repository and put it (and its third_party/Matcha-TTS) on the Python path.

Written against `cosyvoice/cli/cosyvoice.py` and tested with a stand-in of the same signatures;
it has NOT been run with the real weights by us.
"""

import inspect
import os
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from unisono.errors import VoiceError
from unisono.speech.voice import Pcm, is_speakable, normalise_for_speech

_PROMPT_RATE_HZ = 16_000
_PROMPT_NAME = "unisono-prompt"


class CosyVoiceVoice:
    """A `Voice` of one CosyVoice 2 model folder.

    Either `speaker` names a speaker stored in the model (`inference_sft`), or `prompt_audio` and
    `prompt_text`, a few seconds of someone speaking and what they say, are imitated
    (`inference_zero_shot`). The prompt is encoded once, when the voice is built.

    Args:
        model_dir: an existing folder; nothing is downloaded.
        speaker: one of the model's own speakers.
        prompt_audio: a sound file to imitate. Ask the speaker first.
        prompt_text: the words spoken in `prompt_audio`.
        speed: 1 is the model's own pace.
        language: BCP 47 tag reported by `language`; the model follows the text's language.
        options: further keyword arguments of the model's class (fp16, load_trt, load_vllm …).

    Raises:
        VoiceError: the package, the folder or the speaker is missing, or the prompt is not whole.
    """

    def __init__(
        self,
        model_dir: str | os.PathLike[str],
        *,
        speaker: str | None = None,
        prompt_audio: str | os.PathLike[str] | None = None,
        prompt_text: str | None = None,
        speed: float = 1.0,
        language: str = "zh-CN",
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if (prompt_audio is None) != (prompt_text is None) or bool(speaker) == bool(prompt_audio):
            raise VoiceError(
                "a CosyVoice voice needs either a speaker, or both prompt_audio and prompt_text"
            )
        self._model = _load(Path(model_dir), dict(options or {}))
        self._speed = speed
        self._language = language
        self._speaker = speaker
        self._lock = threading.Lock()
        if speaker is not None:
            _check_speaker(speaker, list(self._model.list_available_spks()))
        elif prompt_audio is not None:
            self._add_prompt(Path(prompt_audio), str(prompt_text))

    @property
    def sample_rate_hz(self) -> int:
        """Samples per second (24,000 for CosyVoice 2)."""
        return int(self._model.sample_rate)

    @property
    def language(self) -> str:
        """The BCP 47 tag given; the model itself reads several languages."""
        return self._language

    def speak(self, text: str) -> Iterator[Pcm]:
        """Yield float32 mono PCM [T], many chunks a sentence (see `Voice.speak`).

        One text at a time: a second caller waits until the first iterator is finished or closed.

        Raises:
            VoiceError: the model fails.
        """
        words = normalise_for_speech(text)
        if not is_speakable(words):
            return
        with self._lock:
            try:
                for output in self._synthesise(words):
                    yield _to_pcm(output["tts_speech"])
            except Exception as error:  # whatever torch, onnxruntime or the package raise
                raise VoiceError(f"CosyVoice cannot speak {words!r}: {error}") from error

    def _synthesise(self, text: str) -> Iterator[Mapping[str, Any]]:
        if self._speaker is not None:
            outputs = self._model.inference_sft(text, self._speaker, stream=True, speed=self._speed)
        else:
            outputs = self._model.inference_zero_shot(
                text, "", "", zero_shot_spk_id=_PROMPT_NAME, stream=True, speed=self._speed
            )
        return iter(outputs)

    def _add_prompt(self, audio: Path, text: str) -> None:
        if not audio.is_file():
            raise VoiceError(f"prompt sound '{audio}' does not exist")
        add = self._model.add_zero_shot_spk
        # Up to mid-2025 the method took samples (prompt_speech_16k), since then a path.
        wants_samples = "prompt_speech_16k" in inspect.signature(add).parameters
        try:
            prompt = _load_prompt(audio) if wants_samples else str(audio)
            add(text, prompt, _PROMPT_NAME)
        except Exception as error:  # whatever torch, torchaudio or the package raise
            raise VoiceError(f"CosyVoice cannot use the prompt '{audio}': {error}") from error


def _load(folder: Path, options: dict[str, Any]) -> Any:
    if not folder.is_dir():  # else CosyVoice would take the name for a ModelScope repository
        raise VoiceError(f"CosyVoice model folder '{folder}' does not exist")
    try:
        from cosyvoice.cli import cosyvoice
    except ImportError as error:
        raise VoiceError(
            "the package cosyvoice is not on the Python path; get it with: "
            "git clone --recursive https://github.com/FunAudioLLM/CosyVoice"
        ) from error
    make = getattr(cosyvoice, "AutoModel", None) or cosyvoice.CosyVoice2
    try:
        return make(model_dir=str(folder), **options)
    except Exception as error:  # whatever torch, onnxruntime or the package raise
        raise VoiceError(f"CosyVoice model '{folder}' cannot be loaded: {error}") from error


def _load_prompt(path: Path) -> Any:
    from cosyvoice.utils.file_utils import load_wav

    return load_wav(str(path), _PROMPT_RATE_HZ)


def _check_speaker(speaker: str, known: list[str]) -> None:
    if speaker not in known:
        choices = ", ".join(known) or "none: give prompt_audio and prompt_text instead"
        raise VoiceError(f"this CosyVoice model has no speaker {speaker!r}; it has {choices}")


def _to_pcm(speech: Any) -> Pcm:
    """Tensor [1, T] of any device and float type -> float32 [T], clipped to [-1, 1]."""
    samples: Pcm = np.asarray(speech.detach().float().cpu(), dtype=np.float32).reshape(-1)
    return samples.clip(-1.0, 1.0)
