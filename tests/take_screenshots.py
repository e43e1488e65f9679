"""The pictures of the web page in docs/images, of the real small models.

python tests/take_screenshots.py docs/images
"""

import argparse
import sys
import tempfile
from pathlib import Path

TESTS = Path(__file__).parent
sys.path += [str(TESTS), str(TESTS / "server")]

from browser import ask, chromium, opened, settled, silent  # noqa: E402
from running_server import running  # noqa: E402

import unisono  # noqa: E402
from unisono.retrieval import Library  # noqa: E402
from unisono.server import ServerSettings, make_app  # noqa: E402

EXAMPLES = TESTS.parent / "examples"
WIDE, PHONE = {"width": 1000, "height": 640}, {"width": 390, "height": 760}
COLOURS = 128
"""Of a PNG: the page has few, and files are small."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    folder: Path = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        library = Library(Path(place) / "library", unisono.load("onepeace-nano"))
        library.index([EXAMPLES / "picturebook"])
        app = make_app(
            {"ola-nano": lambda: unisono.load("ola-nano")},
            {"onepeace-nano": lambda: unisono.load("onepeace-nano")},
            ServerSettings(library=library.uri, max_tokens=60),
        )
        for port in running(app):
            with chromium() as browser:
                take(browser, f"http://127.0.0.1:{port}/", folder)


def take(browser: object, url: str, folder: Path) -> None:
    """Talk and search, wide and light; talk on a phone, dark."""
    with opened(browser, url, viewport=WIDE, color_scheme="light") as page:
        for question in ("What do bees make?", "Why is the sky blue?"):
            ask(page, question)
            settled(page)
            silent(page)
        shoot(page, folder / "page_talk.png")
        page.locator("#tab-search").click()
        page.locator("#words").fill("an animal")
        page.keyboard.press("Enter")
        page.locator("#hits img").first.wait_for()
        page.wait_for_timeout(500)
        shoot(page, folder / "page_search.png")
    with opened(browser, url, viewport=PHONE, color_scheme="dark") as page:
        question = EXAMPLES / "questions" / "17-colors.ogg"
        page.locator("#files").set_input_files(str(question))
        page.locator("#attachments li").wait_for()
        page.locator("#send").click()
        settled(page)
        silent(page)
        shoot(page, folder / "page_phone.png")


def shoot(page: object, path: Path) -> None:
    from PIL import Image

    page.screenshot(path=str(path))  # type: ignore[attr-defined]
    Image.open(path).convert("RGB").quantize(COLOURS).save(path, optimize=True)


if __name__ == "__main__":
    main()
