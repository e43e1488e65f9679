"""The microphone and the loudspeakers of this machine, through PortAudio (sounddevice)."""

import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Self

import numpy as np

from unisono.errors import AudioDeviceError, MissingExtraError
from unisono.speech.listener import LISTENER_RATE_HZ
from unisono.speech.voice import Pcm

_LATENCY_S = 0.1


class Loudspeakers:
    """Plays chunks one after the other while more are being made; a context manager.

    Leaving it normally waits until everything was heard; leaving it by an exception (Ctrl-C)
    is silent at once.
    """

    def __init__(self, sample_rate_hz: int) -> None:
        self._rate = sample_rate_hz
        self._chunks: queue.SimpleQueue[Pcm | None] = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._play, name="unisono-speakers", daemon=True)

    @staticmethod
    def check() -> None:
        """Raise AudioDeviceError if there are no loudspeakers."""
        _device("output", "loudspeakers")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def write(self, chunk: Pcm) -> None:
        """Play float32 mono [T] after what was written before; returns at once."""
        self._chunks.put(chunk)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self._stopped.set()
        self._chunks.put(None)
        self._thread.join()

    def _play(self) -> None:
        block = int(self._rate * _LATENCY_S)
        with _sounddevice().OutputStream(self._rate, channels=1, dtype="float32") as stream:
            while (chunk := self._chunks.get()) is not None:
                for start in range(0, len(chunk), block):
                    if self._stopped.is_set():
                        stream.abort()
                        return
                    stream.write(np.ascontiguousarray(chunk[start : start + block, None]))


class Microphone:
    """Records the default microphone at 16 kHz."""

    @staticmethod
    def available() -> bool:
        """Whether there is one."""
        try:
            _device("input", "microphone")
        except (AudioDeviceError, MissingExtraError):
            return False
        return True

    def record(self, until: Callable[[], object]) -> Pcm:
        """Record while `until` runs; float32 mono 16 kHz [T].

        Raises:
            AudioDeviceError: there is no microphone, or it fails.
        """
        _device("input", "microphone")
        sounddevice, blocks = _sounddevice(), []

        def keep(block: np.ndarray, *_: Any) -> None:
            blocks.append(block[:, 0].copy())

        try:
            with sounddevice.InputStream(
                LISTENER_RATE_HZ, channels=1, dtype="float32", callback=keep
            ):
                until()
        except sounddevice.PortAudioError as error:
            raise AudioDeviceError(f"the microphone fails: {error}") from error
        return np.concatenate(blocks) if blocks else np.zeros(0, np.float32)


def _device(kind: str, name: str) -> None:
    sounddevice = _sounddevice()
    try:
        sounddevice.query_devices(kind=kind)
    except (sounddevice.PortAudioError, ValueError) as error:
        raise AudioDeviceError(f"this machine has no {name}") from error


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ModuleNotFoundError as error:
        raise MissingExtraError("sounddevice", "voice") from error
    except OSError as error:  # the wheel for Linux brings no PortAudio
        raise AudioDeviceError(
            "sound devices need the system library PortAudio (Debian: apt install libportaudio2)"
        ) from error
    return sounddevice
