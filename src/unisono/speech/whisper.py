"""Listening with Whisper through CTranslate2 (faster-whisper), tuned for a short wait.

Knows faster-whisper's building blocks; downloads nothing. Whisper was trained on windows of 30 s
(Radford et al. 2022, section 2.2) and its encoder is most of the work, so an utterance is encoded
in a window of its own length plus `_MARGIN_S`; that takes a quarter of the time at the same word
errors. With less margin the decoder does not find the end and repeats itself. Whatever looks
wrong in the short window is heard again in the full one, with faster-whisper's own guards.
"""

import os
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unisono.errors import ListenerError, MissingExtraError
from unisono.speech.listener import LISTENER_RATE_HZ, Transcript, Word
from unisono.speech.voice import Pcm

_WINDOW_S = 30
_MARGIN_S = 4.0
_LONGEST_SHORT_S = 22.0
"""Up to here the short window pays; longer sound goes the full way, in 30 s windows."""
_FRAMES_PER_S = 100
_MAX_TOKENS = 448

# Thresholds of openai/whisper `transcribe.py` (Radford et al. 2022, section 4.5).
_MAX_COMPRESSION = 2.4
_MIN_LOG_PROBABILITY = -1.0
_MAX_NO_SPEECH = 0.6

_MIN_SPEECH_MS = 120
"""Shorter sounds are clicks, not words."""
_AIR_MS = 400
"""Kept around speech, for soft beginnings and ends."""
_ONSET_S = 0.3
"""No word begins earlier in the air kept before speech; the alignment likes to put it there."""
_TEMPERATURES = (0.0, 0.4, 0.8)
"""Fewer than openai/whisper's six: each is another pass for someone who is waiting."""
_VAD = {"min_speech_duration_ms": _MIN_SPEECH_MS, "speech_pad_ms": _AIR_MS}
_MODEL_FILES = ("config.json", "model.bin", "tokenizer.json")


@dataclass(frozen=True, slots=True)
class _Language:
    code: str
    probability: float


class WhisperListener:
    """A `Listener` of one CTranslate2 Whisper folder.

    Safe to call from several threads. Silence, noise and music without voices give an empty
    transcript: a voice-activity detector (Silero) looks first.

    Args:
        folder: with config.json, model.bin, tokenizer.json and vocabulary.json.
        device: "cpu", "cuda" or "auto".
        compute_type: of CTranslate2; "auto" takes the fastest the device supports (int8 on CPUs).
        threads: on a CPU; None takes all cores, 4 at most.
        beam_size: 1 is greedy; 5 costs a little more and changes hardly a word.
        initial_prompt: text in the style or with the names to expect.

    Raises:
        MissingExtraError: faster-whisper is not installed.
        ListenerError: the folder is not a CTranslate2 Whisper model, or the device or compute
            type is not available.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        device: str = "auto",
        compute_type: str = "auto",
        threads: int | None = None,
        beam_size: int = 1,
        initial_prompt: str | None = None,
    ) -> None:
        self._parts = _import_parts()
        _check_folder(Path(folder))
        try:
            self._model = self._parts.WhisperModel(
                str(folder),
                device=device,
                compute_type=compute_type,
                cpu_threads=threads or min(4, os.cpu_count() or 1),
                local_files_only=True,
            )
        except (RuntimeError, ValueError) as error:
            raise ListenerError(f"Whisper model '{folder}' cannot be loaded: {error}") from error
        self._fit_mel_bands()
        self._beam_size = beam_size
        self._prompt = initial_prompt

    @property
    def languages(self) -> tuple[str, ...]:
        """ISO 639-1 codes the model knows."""
        return tuple(self._model.supported_languages)

    def listen(
        self, waveform: Pcm, *, language: str | None = None, word_times: bool = True
    ) -> Transcript:
        """Return the words in float32 mono 16 kHz [T] (see `Listener.listen`).

        Raises:
            ValueError: the waveform is not one-dimensional.
            ListenerError: the model does not know `language`.
        """
        if waveform.ndim != 1:
            raise ValueError(f"a waveform must be of shape [T], but is {list(waveform.shape)}")
        code = self._known_code(language)
        waveform = np.nan_to_num(waveform.astype(np.float32, copy=False))
        duration_s = len(waveform) / LISTENER_RATE_HZ
        spans = self._find_speech(waveform)
        if not spans:
            return Transcript("", (), code or "", float(bool(code)), duration_s)
        start, end = spans[0][0], spans[-1][1]
        heard = None
        # Long pauses make Whisper invent words; the full road cuts them out.
        if len(spans) == 1 and end - start <= _LONGEST_SHORT_S * LISTENER_RATE_HZ:
            heard = self._hear_short(waveform[start:end], code, word_times)
        if heard is None:
            heard = self._hear_long(waveform[start:end], code, word_times)
        text, words, found = heard
        offset_s = start / LISTENER_RATE_HZ
        placed = tuple(_place(word, offset_s, duration_s) for word in words)
        return Transcript(text, placed, found.code, found.probability, duration_s)

    def _known_code(self, language: str | None) -> str | None:
        if language is None:
            return None
        code = language.replace("_", "-").split("-")[0].lower()
        if code not in self._model.supported_languages:
            raise ListenerError(f"the listener does not know the language {language!r}")
        return code

    def _find_speech(self, waveform: Pcm) -> list[tuple[int, int]]:
        """First and last sample of each stretch of speech; pauses of 2 s part them."""
        if not len(waveform):
            return []
        options = self._parts.VadOptions(**_VAD)
        spans = self._parts.get_speech_timestamps(waveform, options)
        return [(int(span["start"]), int(span["end"])) for span in spans]

    def _hear_short(
        self, speech: Pcm, code: str | None, word_times: bool
    ) -> tuple[str, list[Word], _Language] | None:
        """One greedy (or beam) pass over a short window; None when the result is suspicious."""
        model = self._model
        mel = model.feature_extractor(speech)  # [M mel bands, F frames]
        frames = mel.shape[1]
        encoded = model.encode(np.pad(mel, ((0, 0), (0, _window_frames(frames) - frames))))
        language = self._detect(encoded) if code is None else _Language(code, 1.0)
        tokenizer = self._tokenizer(language.code)
        tokens, suspicious, silent = self._decode(encoded, tokenizer, frames)
        if silent:
            return "", [], language
        if suspicious:
            return None
        words = self._align(encoded, tokenizer, tokens, frames) if word_times else []
        return tokenizer.decode(tokens).strip(), words, language

    def _decode(self, encoded: Any, tokenizer: Any, frames: int) -> tuple[list[int], bool, bool]:
        """Return text tokens, whether they look like a hallucination, and whether it is silence."""
        previous = tokenizer.encode(" " + self._prompt.strip()) if self._prompt else []
        prompt = self._model.get_prompt(tokenizer, previous, without_timestamps=True)
        # Far more tokens than anyone speaks: reaching this is a repetition loop.
        room = min(_MAX_TOKENS - len(prompt), 32 + 30 * frames // _FRAMES_PER_S)
        result = self._model.model.generate(
            encoded,
            [prompt],
            beam_size=self._beam_size,
            max_length=len(prompt) + room,
            return_scores=True,
            return_no_speech_prob=True,
            suppress_tokens=list(self._parts.get_suppressed_tokens(tokenizer, [-1])),
        )[0]
        tokens = [token for token in result.sequences_ids[0] if token < tokenizer.eot]
        unsure = result.scores[0] * len(tokens) / (len(tokens) + 1) < _MIN_LOG_PROBABILITY
        looping = len(tokens) >= room or _compression(tokenizer.decode(tokens)) > _MAX_COMPRESSION
        silent = not tokens or (unsure and result.no_speech_prob > _MAX_NO_SPEECH)
        return tokens, unsure or looping, silent

    def _align(self, encoded: Any, tokenizer: Any, tokens: list[int], frames: int) -> list[Word]:
        """Word times by dynamic time warping over cross-attention (openai/whisper `timing.py`)."""
        segment = {"seek": 0, "start": 0.0, "end": frames / _FRAMES_PER_S, "tokens": tokens}
        self._model.add_word_timestamps(
            [[segment]],
            tokenizer,
            encoded,
            frames,
            "\"'“¿([{-",
            "\"'.。,，!！?？:：”)]}、",
            last_speech_timestamp=0.0,
        )
        words: Any = segment["words"]
        return [_word(w["word"], w["start"], w["end"], w["probability"]) for w in words]

    def _hear_long(
        self, speech: Pcm, code: str | None, word_times: bool
    ) -> tuple[str, list[Word], _Language]:
        """Windows of 30 s with faster-whisper's guards: temperatures, silence, repetition."""
        segments, info = self._model.transcribe(
            speech,
            language=code,
            beam_size=self._beam_size,
            condition_on_previous_text=False,
            initial_prompt=self._prompt,
            word_timestamps=word_times,
            vad_filter=True,
            vad_parameters=_VAD,
            temperature=_TEMPERATURES,
        )
        heard = list(segments)
        words = [_word(w.word, w.start, w.end, w.probability) for s in heard for w in s.words or ()]
        text = "".join(segment.text for segment in heard).strip()
        return text, words, _Language(info.language, float(info.language_probability))

    def _detect(self, encoded: Any) -> _Language:
        """The language of a window already encoded: no second pass of the encoder."""
        if not self._model.model.is_multilingual:
            return _Language("en", 1.0)
        token, probability = self._model.model.detect_language(encoded)[0][0]
        return _Language(token.strip("<|>"), float(probability))

    def _tokenizer(self, code: str) -> Any:
        multilingual = self._model.model.is_multilingual
        return self._parts.Tokenizer(
            self._model.hf_tokenizer, multilingual, task="transcribe", language=code
        )

    def _fit_mel_bands(self) -> None:
        """Folders without preprocessor_config.json get 80 bands; large-v3 has 128."""
        bands = self._model.model.n_mels
        if self._model.feature_extractor.mel_filters.shape[0] != bands:
            self._model.feature_extractor = self._parts.FeatureExtractor(feature_size=bands)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What we use of faster-whisper."""

    WhisperModel: Any
    FeatureExtractor: Any
    Tokenizer: Any
    VadOptions: Any
    get_speech_timestamps: Any
    get_suppressed_tokens: Any


def _import_parts() -> _Parts:
    try:
        from faster_whisper import WhisperModel
        from faster_whisper.feature_extractor import FeatureExtractor
        from faster_whisper.tokenizer import Tokenizer
        from faster_whisper.transcribe import get_suppressed_tokens
        from faster_whisper.vad import VadOptions, get_speech_timestamps
    except ImportError as error:
        raise MissingExtraError("faster-whisper", "voice") from error
    return _Parts(
        WhisperModel,
        FeatureExtractor,
        Tokenizer,
        VadOptions,
        get_speech_timestamps,
        get_suppressed_tokens,
    )


def _check_folder(folder: Path) -> None:
    """Name what is missing; faster-whisper itself would try to download it."""
    missing = [name for name in _MODEL_FILES if not (folder / name).is_file()]
    if missing:
        raise ListenerError(
            f"'{folder}' is not a CTranslate2 Whisper folder: it lacks {', '.join(missing)}"
        )


def _window_frames(frames: int) -> int:
    """Frames of sound plus the margin, in whole seconds so that sizes repeat, at most 30 s."""
    seconds = -(-(frames + int(_MARGIN_S * _FRAMES_PER_S)) // _FRAMES_PER_S)
    return min(seconds, _WINDOW_S) * _FRAMES_PER_S


def _compression(text: str) -> float:
    data = text.encode()
    return len(data) / len(zlib.compress(data))


def _word(text: str, start_s: float, end_s: float, probability: float) -> Word:
    return Word(text.strip(), float(start_s), float(end_s), float(probability))


def _place(word: Word, offset_s: float, duration_s: float) -> Word:
    """Move a word by the silence cut off before it, and keep it inside the sound."""
    earliest_s = offset_s + _ONSET_S if offset_s else 0.0
    start_s = min(max(word.start_s + offset_s, earliest_s), duration_s)
    end_s = min(max(word.end_s + offset_s, start_s), duration_s)
    return Word(word.text, round(start_s, 3), round(end_s, 3), word.probability)
