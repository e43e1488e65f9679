"""Piper voices (VITS as ONNX): fast, local, one language a model.

Knows the piper-tts package and onnxruntime; knows nothing of language models.

Notice: piper-tts is GPL-3.0-or-later. It is optional, not shipped with Unisono, and imported
only when a `PiperVoice` is built; the `Voice` protocol takes any other synthesiser instead.
"""

import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unisono.errors import MissingExtraError, VoiceError
from unisono.speech.sentences import SentenceSplitter
from unisono.speech.voice import Pcm, is_speakable, normalise_for_speech

_MAX_SENTENCE_CHARACTERS = 250
"""Longer sentences are cut at clause marks: memory and first sound stay bounded."""
_ERROR = 3
"""onnxruntime's severity: its warnings say nothing a user can act on."""
_SPEAKERS_SHOWN = 12


class PiperVoice:
    """A `Voice` of one Piper model.

    VITS draws noise for timbre and rhythm, so two readings of a text differ a little. `seed`
    makes them repeatable: voices built with the same seed make the same sounds if asked for the
    same texts in the same order. `variation=0` draws none: a text always sounds the same
    (and flatter).

    Args:
        model_path: the .onnx file.
        config_path: its JSON; by default the model's path with ".json" appended.
        speaker: name or number, for models of several speakers; None takes the model's default.
        speed: 1 is the model's own pace, 2 twice as fast.
        threads: for the synthesis. The default 1 leaves cores to a language model that is
            decoding at the same time.
        seed: of the noise. onnxruntime keeps one for the whole process, set while loading.
        variation: factor on the model's own amount of noise.

    Raises:
        MissingExtraError: piper-tts is not installed.
        VoiceError: the files are missing or broken, there is no such speaker, or a number is
            out of range.
    """

    def __init__(
        self,
        model_path: str | os.PathLike[str],
        config_path: str | os.PathLike[str] | None = None,
        *,
        speaker: str | int | None = None,
        speed: float = 1.0,
        threads: int = 1,
        seed: int | None = None,
        variation: float = 1.0,
    ) -> None:
        if not speed > 0 or threads < 1 or not variation >= 0:
            raise VoiceError(
                "a Piper voice needs speed > 0, threads >= 1 and variation >= 0, but got speed "
                f"{speed}, threads {threads} and variation {variation}"
            )
        self._path = Path(model_path)
        settings = _read_settings(Path(config_path or f"{model_path}.json"))
        self._piper = _load(self._path, settings, threads, seed)
        self._language = _language_of(settings)
        config = self._piper.config
        self._synthesis: Any = _synthesis_class()(
            speaker_id=_speaker_number(config, speaker, self._path.name),
            length_scale=config.length_scale / speed,
            noise_scale=config.noise_scale * variation,
            noise_w_scale=config.noise_w_scale * variation,
        )
        self._lock = threading.Lock()

    @property
    def sample_rate_hz(self) -> int:
        """Samples per second, as the model was trained."""
        return int(self._piper.config.sample_rate)

    @property
    def language(self) -> str:
        """BCP 47 tag, such as "en-US"."""
        return self._language

    @property
    def speakers(self) -> tuple[str, ...]:
        """Names to choose `speaker` from; empty for a model of one speaker."""
        return tuple(self._piper.config.speaker_id_map)

    def speak(self, text: str) -> Iterator[Pcm]:
        """Yield float32 mono PCM [T] in [-1, 1], a chunk a sentence (see `Voice.speak`).

        Markdown and emoji in `text` are not read aloud. Safe to call from several threads:
        they take turns, a sentence each.

        Raises:
            VoiceError: the model fails on a sentence.
        """
        splitter = SentenceSplitter(first_clause=False, max_characters=_MAX_SENTENCE_CHARACTERS)
        for piece in splitter.push(text) + splitter.flush():
            sentence = normalise_for_speech(piece)
            if is_speakable(sentence):
                # [[ ]] would be read as raw phonemes.
                yield from self._synthesise(sentence.replace("[[", "[ ["))

    def _synthesise(self, sentence: str) -> Iterator[Pcm]:
        chunks = iter(self._piper.synthesize(sentence, self._synthesis))
        while True:
            try:
                with self._lock:
                    chunk = next(chunks, None)
            except Exception as error:  # onnxruntime's exceptions share no public base class
                reason = _one_line(error)
                raise VoiceError(
                    f"voice '{self._path.name}' cannot speak {sentence!r}: {reason}"
                ) from error
            if chunk is None:
                return
            pcm: Pcm = chunk.audio_float_array
            yield pcm


def _read_settings(path: Path) -> dict[str, Any]:
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise VoiceError(f"voice settings '{path}' do not exist") from error
    except (OSError, ValueError) as error:
        raise VoiceError(f"voice settings '{path}' cannot be read: {_one_line(error)}") from error
    if not isinstance(settings, dict):
        raise VoiceError(f"voice settings '{path}' must be a JSON object")
    return settings


def _load(path: Path, settings: dict[str, Any], threads: int, seed: int | None) -> Any:
    """Build piper's own class around a session with our options (its `load` takes none)."""
    try:
        import onnxruntime  # type: ignore[import-untyped]
        from piper import PiperConfig
        from piper import PiperVoice as Synthesiser
    except ImportError as error:
        raise MissingExtraError("piper-tts", "voice") from error
    if not path.is_file():
        raise VoiceError(f"voice model '{path}' does not exist")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERROR
    # Threads that spin between kernels would take the cores from the language model.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if seed is not None:
        onnxruntime.set_seed(seed)
    try:
        session = onnxruntime.InferenceSession(
            str(path), sess_options=options, providers=["CPUExecutionProvider"]
        )
        return Synthesiser(session=session, config=PiperConfig.from_dict(settings))
    except KeyError as error:
        raise VoiceError(f"voice '{path}': its settings lack {error}") from error
    except Exception as error:  # onnxruntime's exceptions share no public base class
        raise VoiceError(f"voice model '{path}' cannot be loaded: {_one_line(error)}") from error


def _synthesis_class() -> Any:
    from piper import SynthesisConfig

    return SynthesisConfig


def _language_of(settings: dict[str, Any]) -> str:
    language = settings.get("language")
    code = language.get("code") if isinstance(language, dict) else None
    return str(code or settings["espeak"]["voice"]).replace("_", "-")


def _speaker_number(config: Any, speaker: str | int | None, name: str) -> int | None:
    numbers: dict[str, int] = dict(config.speaker_id_map)
    if speaker is None:
        return None
    if isinstance(speaker, str) and speaker in numbers:
        return numbers[speaker]
    if isinstance(speaker, int) and 0 <= speaker < config.num_speakers:
        return speaker
    if config.num_speakers <= 1:
        raise VoiceError(f"voice '{name}' has one speaker only, there is no {speaker!r}")
    shown = [*numbers][:_SPEAKERS_SHOWN] or [f"0 to {config.num_speakers - 1}"]
    rest = f" … ({len(numbers)} in all)" if len(numbers) > len(shown) else ""
    raise VoiceError(f"voice '{name}' has no speaker {speaker!r}; it has {', '.join(shown)}{rest}")


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
