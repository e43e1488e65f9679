"""The web page with the real ola-nano: spoken to, and heard."""

import wave
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import PLAYED, chromium, opened, settled, silent
from running_server import running

from unisono import Assistant
from unisono.evaluation.metrics.words import word_error_rate
from unisono.media import load_audio, resample
from unisono.server import ServerSettings, make_app

pytestmark = pytest.mark.slow
QUESTION = Path(__file__).parents[2] / "examples" / "questions" / "17-colors.ogg"
MICROPHONE_HZ, PLAYED_HZ = 48_000, 24_000


@pytest.fixture
def url(nano: Assistant) -> Iterator[str]:
    app = make_app({"ola-nano": lambda: nano}, {}, ServerSettings(max_tokens=40))
    for port in running(app):
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture
def microphone(tmp_path: Path) -> Path:
    """The question with silence around it, as Chromium's fake microphone takes it."""
    spoken = resample(load_audio(QUESTION), 16_000, MICROPHONE_HZ)
    silence = np.zeros(MICROPHONE_HZ, np.float32)
    samples = np.concatenate([silence, spoken, *[silence] * 3])
    with wave.open(str(tmp_path / "question.wav"), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(MICROPHONE_HZ)
        file.writeframes((samples * 32_767).astype("<i2").tobytes())
    return tmp_path / "question.wav"


def test_it_hears_what_is_said_and_says_what_it_shows(
    url: str, microphone: Path, nano: Assistant
) -> None:
    with chromium(microphone) as browser, opened(browser, url) as page:
        page.locator("#hands-free").click()
        page.locator(".answer").wait_for()
        page.locator("#hands-free").click()
        shown = settled(page).locator(".words").inner_text()
        silent(page)
        heard = page.locator(".heard").inner_text()
        played = np.array(page.evaluate(PLAYED), np.float32)
    assert "colo" in heard.lower()
    back = nano.listener.listen(load_audio((played, PLAYED_HZ)), language="en", word_times=False)
    assert word_error_rate([shown], [back.text]).value < 0.25
