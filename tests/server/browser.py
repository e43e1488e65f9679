"""Chromium, Debian's package, through Playwright; with a microphone that plays a file."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

WAIT_MS = 60_000
PLAYED = "window.played.flatMap((one) => one)"

# What the page plays is kept: lists of samples in the order in which they begin to sound.
_KEEP_SOUND = """
window.played = [];
const start = AudioBufferSourceNode.prototype.start;
AudioBufferSourceNode.prototype.start = function (...when) {
  window.played.push([...this.buffer.getChannelData(0)]);
  return start.apply(this, when);
};
"""


def chromium_path() -> str:
    """Where it is; where the tests of the project run, it must be there."""
    found = shutil.which("chromium")
    if found is None and os.environ.get("CI"):
        pytest.fail("chromium is not installed: apt-get install chromium")
    if found is None:
        pytest.skip("chromium is not installed")
    return found


@contextmanager
def chromium(microphone: Path | None = None) -> Iterator[Any]:
    """A headless browser.

    Args:
        microphone: a WAV that it plays once from the moment when it is opened; None beeps.
    """
    pytest.importorskip("playwright")
    from playwright.sync_api import sync_playwright

    path = chromium_path()
    options = [
        *("--no-sandbox", "--disable-gpu", "--autoplay-policy=user-gesture-required"),
        *("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream"),
    ]
    if microphone is not None:
        options.append(f"--use-file-for-fake-audio-capture={microphone}%noloop")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=options)
        yield browser
        browser.close()


@contextmanager
def opened(browser: Any, url: str, **options: Any) -> Iterator[Any]:
    """The page in a window of its own; errors in its scripts fail the test.

    Args:
        browser: of `chromium`.
        url: of the server.
        **options: of the window (size, colour scheme, …).
    """
    context = browser.new_context(permissions=["microphone", "camera"], **options)
    context.add_init_script(_KEEP_SOUND)
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    faults: list[str] = []
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(url)
    page.locator("#server-state.ready").wait_for()
    yield page
    context.close()
    assert faults == []


def ask(page: Any, text: str) -> None:
    """Type a question and send it."""
    page.locator("#question").fill(text)
    page.keyboard.press("Enter")


def silent(page: Any) -> None:
    """Wait until nothing is heard any more."""
    page.locator("body:not(.speaking)").wait_for()


def settled(page: Any, number: int = -1) -> Any:
    """The answer with that number, when it has ended."""
    page.locator(".answer").nth(0).wait_for()
    page.locator(".answer[aria-busy=true]").first.wait_for(state="detached")
    answers = page.locator(".answer")
    return answers.nth(number) if number >= 0 else answers.last
