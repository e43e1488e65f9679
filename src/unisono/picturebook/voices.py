"""Speech for any English text, by many voices: 16 kHz mono FLAC files.

Knows which voice may speak in training; what is said is decided elsewhere. The same readings in
the same order make the same bytes, however many processes share the work.
"""

import random
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import av
import numpy as np

from unisono.errors import VoiceError
from unisono.hub import fetch_part
from unisono.media import SAMPLE_RATE_HZ, resample
from unisono.picturebook.packages import sources
from unisono.picturebook.voices_espeak import ACCENTS, TIMBRES, Espeak
from unisono.picturebook.voices_flite import speak_flite
from unisono.speech import Pcm, PiperVoice, to_int16

PIPER = "piper-joe"
TEST_VOICE = "flite-slt"
"""Never heard in training, in no step."""
FLITE_TRAIN_VOICES = ("flite-kal16", "flite-awb", "flite-rms")

_PIPER_PART = "piper-en-us-joe-medium"
_PIPER_MODEL = "en_US-joe-medium.onnx"
_FAMILIES = ("piper", "flite", "espeak")
_READINGS_AT_ONCE = 160
_PACES = (0.85, 0.95, 1.05, 1.15)
_ESPEAK_PACE = 0.95  # faster, it is hardly understood
_PITCHES = (0.86, 0.92, 0.96, 1.0, 1.0, 1.04, 1.1, 1.18)
_PEAK = 0.7
_FLITE_SHARE = 0.75
_SILENT = 0.004  # of the peak
_MARGIN_S = 0.12
_PIPER_SEED = 7


@dataclass(frozen=True)
class Reading:
    """A text to be read aloud into a file.

    Attributes:
        text: English.
        path: of the FLAC file.
        voice: family and name: "flite-awb", "espeak-en-us+f2", "piper-joe".
        pace: 1 is the voice's own, 2 twice as fast.
        pitch: tape speed: above 1 both pitch and formants rise, as of a smaller speaker.
    """

    text: str
    path: Path
    voice: str
    pace: float = 1.0
    pitch: float = 1.0


class _Speak(Protocol):
    def __call__(self, voice: str, text: str, pace: float) -> tuple[Pcm, int]: ...


def draw_voice(chance: random.Random, *, piper: float) -> str:
    """A voice that may speak in training; `piper` is the share of the slow, natural one."""
    drawn = chance.random()
    if drawn < piper:
        return PIPER
    if drawn < piper + (1 - piper) * _FLITE_SHARE:
        return chance.choice(FLITE_TRAIN_VOICES)
    return draw_espeak(chance)


def draw_espeak(chance: random.Random) -> str:
    """One of fifty-four accents and timbres."""
    return f"espeak-{chance.choice(ACCENTS)}+{chance.choice(TIMBRES)}"


def varied(text: str, path: Path, voice: str, chance: random.Random) -> Reading:
    """A reading whose pace and pitch are drawn; a higher pitch makes no voice faster."""
    pace, pitch = chance.choice(_PACES), chance.choice(_PITCHES)
    match family(voice):
        case "espeak":
            pace = min(pace, _ESPEAK_PACE) / pitch
        case "flite":
            pace /= pitch
    return Reading(text, path, voice, pace, pitch)


def record(readings: Sequence[Reading], *, workers: int = 2) -> list[float]:
    """Read texts aloud into files, whose folders must be there.

    Returns:
        The seconds each lasts, in the readings' order.

    Raises:
        VoiceError: there is no such voice, or it does not run here.
        HubError: a voice cannot be had.
        MissingExtraError: piper-tts is not installed.
    """
    _fetch(readings)
    tasks = list(_tasks(readings))
    if workers > 1 and len(tasks) > 1:
        with ProcessPoolExecutor(min(workers, len(tasks))) as pool:
            done = list(pool.map(_record, tasks))
    else:
        done = [_record(task) for task in tasks]
    seconds = {path: length for part in done for path, length in part}
    return [seconds[reading.path] for reading in readings]


def family(voice: str) -> str:
    """Of a voice's name: "piper", "flite" or "espeak".

    Raises:
        VoiceError: it is none of them.
    """
    name = voice.partition("-")[0]
    if name not in _FAMILIES:
        raise VoiceError(f"there is no voice {voice!r}; names begin with {', '.join(_FAMILIES)}")
    return name


def write_flac(pcm: Pcm, path: Path) -> None:
    """Write 16 kHz mono PCM [T] in [-1, 1] as 16-bit FLAC, the same bytes each time."""
    with av.open(str(path), "w", format="flac", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("flac", rate=SAMPLE_RATE_HZ, layout="mono", format="s16")
        stream.codec_context.thread_count = 1
        stream.codec_context.flags |= int(av.codec.context.Flags.bitexact)
        frame = av.AudioFrame.from_ndarray(to_int16(pcm)[None], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE_HZ
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))


def _fetch(readings: Iterable[Reading]) -> None:
    """Before any process needs them, so that one progress bar is shown."""
    for name in sorted({family(reading.voice) for reading in readings}):
        if name == "piper":
            fetch_part(_PIPER_PART)
        else:
            fetch_part({"flite": "flite", "espeak": "espeak-ng"}[name], catalog=sources())


def _tasks(readings: Sequence[Reading]) -> Iterator[tuple[Reading, ...]]:
    """Readings that one synthesiser makes, slow ones first; the same whoever works them off.

    Piper's pace belongs to the synthesiser.
    """
    groups: dict[tuple[int, float], list[Reading]] = defaultdict(list)
    for reading in readings:
        name = family(reading.voice)
        pace = reading.pace if name == "piper" else 0.0
        groups[_FAMILIES.index(name), pace].append(reading)
    for key in sorted(groups):
        group = groups[key]
        for start in range(0, len(group), _READINGS_AT_ONCE):
            yield tuple(group[start : start + _READINGS_AT_ONCE])


def _record(readings: Sequence[Reading]) -> list[tuple[Path, float]]:
    speak = _synthesiser(readings[0])
    lengths = []
    for reading in readings:
        name = reading.voice.partition("-")[2]
        pcm, rate_hz = speak(name, reading.text, reading.pace)
        sound = _finished(pcm, rate_hz, reading)
        write_flac(sound, reading.path)
        lengths.append((reading.path, len(sound) / SAMPLE_RATE_HZ))
    return lengths


def _synthesiser(reading: Reading) -> _Speak:
    match family(reading.voice):
        case "flite":
            return speak_flite
        case "espeak":
            return Espeak().speak
        case _:
            folder = fetch_part(_PIPER_PART)
            voice = PiperVoice(folder / _PIPER_MODEL, speed=reading.pace, seed=_PIPER_SEED)
            return partial(_speak_piper, voice)


def _speak_piper(piper: PiperVoice, voice: str, text: str, pace: float) -> tuple[Pcm, int]:
    del pace  # the synthesiser was made with it
    if voice != "joe":
        raise VoiceError(f"there is no voice 'piper-{voice}'; there is {PIPER}")
    pieces = [*piper.speak(text)]
    return (np.concatenate(pieces) if pieces else np.zeros(0, np.float32)), piper.sample_rate_hz


def _finished(pcm: Pcm, rate_hz: int, reading: Reading) -> Pcm:
    """At 16 kHz, as loud as all, with the same short silence before and after.

    Raises:
        VoiceError: nothing is to be heard.
    """
    sound = resample(pcm, round(rate_hz * reading.pitch), SAMPLE_RATE_HZ)
    peak = float(np.abs(sound).max()) if sound.size else 0.0
    if peak == 0.0:
        raise VoiceError(f"voice {reading.voice!r} says nothing of {reading.text!r}")
    (loud,) = np.nonzero(np.abs(sound) > _SILENT * peak)
    heard = levelled(sound[loud[0] : loud[-1] + 1])
    return np.pad(heard, round(_MARGIN_S * SAMPLE_RATE_HZ))


def levelled(sound: Pcm) -> Pcm:
    """Sound as loud at its loudest as every other; silence stays silence."""
    peak = float(np.abs(sound).max()) if sound.size else 0.0
    return sound * np.float32(_PEAK / peak) if peak else sound
