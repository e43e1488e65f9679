"""Flite, a small synthesiser of Carnegie Mellon, through its shared libraries.

Knows Flite's C interface (flite/flite.h of version 2.2). The libraries come out of a Debian
package into the cache and are loaded from there; nothing is installed.
"""

import ctypes
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from unisono.errors import VoiceError
from unisono.hub import fetch_part
from unisono.picturebook.packages import sources
from unisono.speech import Pcm

FLITE_VOICES = ("kal16", "awb", "rms", "slt")

_NEEDED_FIRST = ("libasound.so.2", "libflite.so.1", "libflite_cmulex.so.1")
"""A library's own needs are met by what is already loaded: no search path has to be set."""
_LARGEST_TEXT = 2_000
_SEED = 1


class _Wave(ctypes.Structure):
    """`cst_wave`."""

    _fields_ = (
        ("type", ctypes.c_char_p),
        ("sample_rate", ctypes.c_int),
        ("num_samples", ctypes.c_int),
        ("num_channels", ctypes.c_int),
        ("samples", ctypes.POINTER(ctypes.c_short)),
    )


class _Voice(ctypes.Structure):
    """The beginning of `cst_voice`."""

    _fields_ = (("name", ctypes.c_char_p), ("features", ctypes.c_void_p))


def speak_flite(voice: str, text: str, pace: float = 1.0) -> tuple[Pcm, int]:
    """Read a text aloud.

    Args:
        voice: one of `FLITE_VOICES`.
        text: English.
        pace: 1 is the voice's own, 2 twice as fast.

    Returns:
        Float32 mono PCM [T] in [-1, 1], and its sample rate in Hz.

    Raises:
        VoiceError: no such voice, a text too long, or the libraries do not run here.
        HubError: the libraries cannot be had.
    """
    if voice not in FLITE_VOICES:
        raise VoiceError(f"Flite has no voice {voice!r}; it has {', '.join(FLITE_VOICES)}")
    if len(text) > _LARGEST_TEXT:
        raise VoiceError(f"a text of {len(text):,} characters; the limit is {_LARGEST_TEXT:,}")
    flite, handle = _flite(), _voice(voice)
    flite.feat_set_float(handle.contents.features, b"duration_stretch", 1.0 / pace)
    ctypes.CDLL(None).srand(_SEED)  # of its breath: the same text always sounds the same
    wave = flite.flite_text_to_wave(text.encode("ascii", "ignore"), handle)
    try:
        return _samples(wave.contents), int(wave.contents.sample_rate)
    finally:
        flite.delete_wave(wave)


def _samples(wave: _Wave) -> Pcm:
    if not wave.num_samples:
        return np.zeros(0, np.float32)
    samples = np.ctypeslib.as_array(wave.samples, (wave.num_samples * wave.num_channels,))
    pcm: Pcm = (samples.reshape(-1, wave.num_channels)[:, 0] / 32768).astype(np.float32)
    return pcm


@cache
def _folder() -> Path:
    return fetch_part("flite", catalog=sources())


def _loaded(name: str) -> Any:
    try:
        return ctypes.CDLL(str(_folder() / name), mode=ctypes.RTLD_GLOBAL)
    except OSError as error:
        raise VoiceError(
            f"the voices of Flite run on 64-bit x86 Linux with glibc 2.34 or newer only ({error})"
        ) from error


@cache
def _flite() -> Any:
    for name in _NEEDED_FIRST:
        _loaded(name)
    _loaded("libflite_usenglish.so.1")
    flite = _loaded("libflite.so.1")
    flite.flite_text_to_wave.argtypes = (ctypes.c_char_p, ctypes.POINTER(_Voice))
    flite.flite_text_to_wave.restype = ctypes.POINTER(_Wave)
    flite.delete_wave.argtypes = (ctypes.POINTER(_Wave),)
    flite.feat_set_float.argtypes = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_float)
    flite.flite_init()
    return flite


@cache
def _voice(name: str) -> Any:
    _flite()
    register = getattr(_loaded(f"libflite_cmu_us_{name}.so.1"), f"register_cmu_us_{name}")
    register.argtypes = (ctypes.c_char_p,)
    register.restype = ctypes.POINTER(_Voice)
    return register(None)
