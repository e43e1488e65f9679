"""The real voice and the real listener, fetched and verified by the hub, loaded once."""

from pathlib import Path

import pytest

from unisono.errors import DownloadError
from unisono.hub import fetch_part
from unisono.speech import PiperVoice, WhisperListener


def _part(name: str) -> Path:
    try:
        return fetch_part(name)
    except DownloadError as error:
        pytest.skip(f"needs the part {name}: {error}")


@pytest.fixture(scope="session")
def voice_model() -> Path:
    return _part("piper-en-us-joe-medium") / "en_US-joe-medium.onnx"


@pytest.fixture(scope="session")
def whisper_folder() -> Path:
    return _part("whisper-base-ct2")


@pytest.fixture(scope="session")
def voice(voice_model: Path) -> PiperVoice:
    return PiperVoice(voice_model, variation=0)


@pytest.fixture(scope="session")
def listener(whisper_folder: Path) -> WhisperListener:
    return WhisperListener(whisper_folder, threads=2)
