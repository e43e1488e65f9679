"""The microphone and loudspeakers, on a stand-in for sounddevice that records every call."""

import sys
import time
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from unisono.errors import AudioDeviceError, MissingExtraError
from unisono.speech import Loudspeakers, Microphone


class FakeStream:
    """Plays in real time if asked to; hands out one block when recording."""

    played: list[np.ndarray]
    aborted: bool

    def __init__(self, rate: int, channels: int, dtype: str, callback: Any = None) -> None:
        assert (channels, dtype) == (1, "float32")
        self.callback = callback
        FakeStream.played, FakeStream.aborted = [], False

    def __enter__(self) -> "FakeStream":
        if self.callback:
            for value in (0.25, 0.5):
                self.callback(np.full((160, 1), value, np.float32), 160, None, None)
        return self

    def __exit__(self, *_: object) -> None: ...

    def write(self, block: np.ndarray) -> None:
        time.sleep(0.01)
        FakeStream.played.append(block[:, 0])

    def abort(self) -> None:
        FakeStream.aborted = True


@pytest.fixture
def devices(monkeypatch: pytest.MonkeyPatch) -> dict[str, bool]:
    there = {"input": True, "output": True}
    module = ModuleType("sounddevice")

    class PortAudioError(Exception): ...

    def query_devices(kind: str) -> dict[str, str]:
        if not there[kind]:
            raise PortAudioError(f"no {kind} device")
        return {"name": kind}

    module.PortAudioError = PortAudioError  # type: ignore[attr-defined]
    module.query_devices = query_devices  # type: ignore[attr-defined]
    module.OutputStream = module.InputStream = FakeStream  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "sounddevice", module)
    return there


@pytest.mark.usefixtures("devices")
def test_loudspeakers_play_all_in_order_before_they_close() -> None:
    sound = np.linspace(-1, 1, 16_000, dtype=np.float32)
    with Loudspeakers(16_000) as speakers:
        began = time.perf_counter()
        speakers.write(sound[:9_000])
        speakers.write(sound[9_000:])
        assert time.perf_counter() - began < 0.05, "writing must not wait for playing"
    np.testing.assert_array_equal(np.concatenate(FakeStream.played), sound)


@pytest.mark.usefixtures("devices")
def test_loudspeakers_are_silent_at_once_after_ctrl_c() -> None:
    def play() -> None:
        with Loudspeakers(16_000) as speakers:
            speakers.write(np.zeros(16_000 * 60, np.float32))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        play()
    assert sum(len(block) for block in FakeStream.played) < 16_000


@pytest.mark.usefixtures("devices")
def test_microphone_records_what_comes() -> None:
    pcm = Microphone().record(until=lambda: None)
    np.testing.assert_array_equal(pcm, np.repeat(np.float32([0.25, 0.5]), 160))


def test_no_device_is_said(devices: dict[str, bool]) -> None:
    assert Microphone.available()
    devices["input"] = devices["output"] = False
    assert not Microphone.available()
    with pytest.raises(AudioDeviceError, match="no microphone"):
        Microphone().record(until=lambda: None)
    with pytest.raises(AudioDeviceError, match="no loudspeakers"):
        Loudspeakers.check()


def test_no_package_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    with pytest.raises(MissingExtraError, match=r"unisono\[voice\]"):
        Loudspeakers.check()
