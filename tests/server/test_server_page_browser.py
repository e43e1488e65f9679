"""The web page in a real browser, against a server with toys of models."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from browser import PLAYED, ask, chromium, opened, settled, silent
from fake_embedder import COLOURS, FakeEmbedder
from fakes import FakeListener, FakeVoice, ScriptedEngine, assistant, scripted
from PIL import Image
from running_server import running

from unisono.retrieval import Library
from unisono.server import ServerSettings, make_app

SAYS = "Bees make honey. They also make wax."
LONG = "One more word and " * 20
WIDTH = "(image) => image.decode().then(() => image.naturalWidth)"
SCRIPTS: dict[str, Any] = {}
"""Name -> the engine that says its text."""


def talker(name: str, says: str, step_s: float) -> Any:
    SCRIPTS[name] = ScriptedEngine(says, step_s=step_s)
    return scripted(SCRIPTS[name], FakeVoice(chunks=40), FakeListener("What do bees make?"))


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("browser") / "media"
    folder.mkdir()
    for name, colour in COLOURS.items():
        Image.new("RGB", (80, 60), colour).save(folder / f"{name}.png")
    (folder / "sea.txt").write_text("blue words about the sea, <script>alert(1)</script>")
    return folder


@pytest.fixture(scope="module")
def url(media: Path) -> Iterator[str]:
    library = Library(media.parent / "library", FakeEmbedder())
    library.index([media])
    assistants = {
        "talker": lambda: talker("talker", SAYS, 0.0),
        "slow": lambda: talker("slow", LONG, 0.02),
        "seer": lambda: assistant(vision=True, voice=FakeVoice()),
    }
    settings = ServerSettings(library=library.uri, max_tokens=400)
    for port in running(make_app(assistants, {"vectors": FakeEmbedder}, settings)):
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as one:
        yield one


@pytest.fixture
def page(browser: Any, url: str) -> Iterator[Any]:
    with opened(browser, url, viewport={"width": 1100, "height": 760}) as one:
        yield one


def sent(page: Any) -> list[dict[str, Any]]:
    """Bodies of the chats that are asked from now on."""
    bodies: list[dict[str, Any]] = []

    def note(request: Any) -> None:
        if request.url.endswith("/v1/chat/completions"):
            bodies.append(json.loads(request.post_data))

    page.on("request", note)
    return bodies


def kinds(message: dict[str, Any]) -> list[str]:
    return [part["type"] for part in message["content"]]


def test_a_question_is_answered_in_text_and_sound(page: Any) -> None:
    ask(page, "What do bees make?")
    answer = settled(page)
    assert answer.locator(".words").inner_text() == SAYS
    assert "first text" in answer.locator("footer").inner_text()
    assert "first sound" in answer.locator("footer").inner_text()
    assert page.evaluate(f"{PLAYED}.length") == 24_000  # half a second for each sentence
    silent(page)
    assert page.locator("#send").is_visible()


def test_silent_when_told_so_and_this_is_kept(page: Any) -> None:
    page.locator("#speak").click()
    bodies = sent(page)
    ask(page, "What do bees make?")
    settled(page)
    assert "modalities" not in bodies[0]
    assert page.evaluate("window.played.length") == 0
    page.reload()
    assert page.locator("#speak").get_attribute("aria-pressed") == "false"


def test_a_picture_is_shown_and_asked_about(page: Any, media: Path) -> None:
    page.locator("#model").select_option("seer")
    bodies = sent(page)
    page.locator("#files").set_input_files(str(media / "red.png"))
    page.locator("#attachments li").wait_for()
    ask(page, "What colour is it?")
    page.locator(".answer .words:not(:empty)").wait_for()  # random weights: it says anything
    page.keyboard.press("Escape")
    assert settled(page).locator(".fault").all_inner_texts() == []
    assert kinds(bodies[0]["messages"][-1]) == ["image_url", "text"]
    seen = page.locator(".question img").evaluate(
        "(one) => one.decode().then(() => one.naturalWidth)"
    )
    assert seen == 80


def test_files_are_dropped_onto_the_page(page: Any) -> None:
    data = page.evaluate_handle(
        """async () => {
          const canvas = new OffscreenCanvas(20, 20);
          canvas.getContext("2d").fillRect(0, 0, 20, 20);
          const file = new File([await canvas.convertToBlob()], "dropped.png", {type: "image/png"});
          const data = new DataTransfer();
          data.items.add(file);
          return data;
        }"""
    )
    page.dispatch_event("body", "drop", {"dataTransfer": data})
    assert "dropped.png" in page.locator("#attachments li").inner_html()
    page.locator("#attachments li button").click()
    page.locator("#attachments li").wait_for(state="detached")


def test_a_spoken_question(page: Any) -> None:
    bodies = sent(page)
    page.locator("#microphone").click()
    page.locator("#listening").wait_for()
    page.wait_for_timeout(700)
    page.locator("#microphone").click()
    answer = settled(page)
    assert answer.locator(".fault").all_inner_texts() == []
    assert kinds(bodies[0]["messages"][-1]) == ["audio_url"]
    assert bodies[0]["messages"][-1]["content"][0]["audio_url"]["url"].startswith("data:audio/wav")
    page.locator(".heard", has_text="What do bees make?").wait_for()


@pytest.mark.parametrize("way", ["button", "Escape", "another question", "speaking"])
def test_an_answer_is_interrupted(page: Any, way: str) -> None:
    page.locator("#model").select_option("slow")
    ask(page, "Go on.")
    page.locator(".answer .words", has_text="One more word").wait_for()
    if way == "button":
        page.locator("#stop").click()
    elif way == "Escape":
        page.keyboard.press("Escape")
    elif way == "speaking":
        page.locator("#microphone").click()
    else:
        page.locator("#model").select_option("talker")
        ask(page, "What do bees make?")
    page.locator(".answer").first.locator(".mark", has_text="stopped").wait_for()
    said = page.locator(".answer").first.locator(".words").inner_text()
    page.wait_for_timeout(300)
    steps = len(SCRIPTS["slow"].intervals)
    page.wait_for_timeout(300)
    assert len(SCRIPTS["slow"].intervals) == steps  # the model has stopped too
    assert page.locator(".answer").first.locator(".words").inner_text() == said
    assert len(said) < len(LONG)
    if way == "another question":
        assert settled(page).locator(".words").inner_text() == SAYS


def test_a_reload_keeps_the_conversation_until_it_is_forgotten(page: Any, media: Path) -> None:
    page.locator("#model").select_option("seer")
    page.locator("#files").set_input_files(str(media / "green.png"))
    page.locator("#attachments li").wait_for()
    ask(page, "What is it?")
    page.locator(".answer .words:not(:empty)").wait_for()
    page.keyboard.press("Escape")
    said = settled(page).locator(".words").inner_text()
    page.wait_for_timeout(200)  # what is kept is written behind the answer
    page.reload()
    page.locator(".answer").wait_for()
    assert page.locator(".answer .words").inner_text() == said
    assert page.locator(".question img").evaluate(WIDTH) == 80
    bodies = sent(page)
    ask(page, "And then?")
    page.locator(".answer").nth(1).wait_for()
    page.keyboard.press("Escape")
    settled(page)
    assert [one["role"] for one in bodies[0]["messages"]] == ["user", "assistant", "user"]
    assert kinds(bodies[0]["messages"][0]) == ["image_url", "text"]
    page.locator("#clear").click()
    page.locator("#welcome").wait_for()
    page.reload()
    page.locator("#welcome").wait_for()
    assert page.locator(".answer").count() == 0


def test_search(page: Any) -> None:
    page.locator("#tab-search").click()
    page.locator("#words").fill("red")
    page.keyboard.press("Enter")
    first = page.locator("#hits li").first
    first.wait_for()
    assert "red.png" in first.inner_text()
    assert first.locator("img").evaluate(WIDTH) > 0
    first.locator("button").click()
    page.locator("#preview img").wait_for()
    page.locator("#preview-ask").click()
    page.locator("#attachments li").wait_for()
    assert page.locator("#talk").is_visible()


def test_search_for_texts_shows_them_and_runs_nothing(page: Any) -> None:
    page.locator("#tab-search").click()
    page.locator("#words").fill("sea")
    page.locator("input[value='text,page']").check()
    hit = page.locator("#hits li", has_text="blue words about the sea")
    hit.first.click()
    assert "<script>" in page.locator("#preview .passage").inner_text()


def test_search_by_a_file(page: Any, media: Path) -> None:
    page.locator("#tab-search").click()
    page.locator("#like-file").set_input_files(str(media / "yellow.png"))
    page.locator("#hits li").first.wait_for()
    assert "yellow.png" in page.locator("#hits li").first.inner_text()


def test_the_keyboard_reaches_everything(page: Any) -> None:
    page.locator("#tab-talk").focus()
    page.keyboard.press("ArrowRight")
    assert page.locator("#search").is_visible()
    page.keyboard.press("ArrowLeft")
    reached = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id"))
    wanted = {"model", "clear", "open-settings", "thread", "question", "attach", "camera"}
    assert wanted | {"speak", "hands-free", "microphone", "send"} <= reached
    names = page.locator("button:visible").evaluate_all(
        "(all) => all.map((one) => one.getAttribute('aria-label') || one.innerText)"
    )
    assert all(name.strip() for name in names)


def test_a_phone_and_the_dark(browser: Any, url: str) -> None:
    seen = {}
    for scheme in ("light", "dark"):
        size = {"width": 360, "height": 640}
        with opened(browser, url, viewport=size, color_scheme=scheme) as page:
            ask(page, "What do bees make? " * 12)
            settled(page)
            silent(page)
            for tab in ("#tab-search", "#tab-talk"):
                page.locator(tab).click()
                assert page.evaluate("document.documentElement.scrollWidth") <= 360
            box = page.locator("#send").bounding_box()
            assert min(box["width"], box["height"]) >= 32
            assert box["x"] + box["width"] <= 360
            seen[scheme] = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert seen["light"] != seen["dark"]


def test_what_goes_wrong_is_said(page: Any) -> None:
    page.route("**/v1/chat/completions", lambda route: route.abort())
    ask(page, "Hello?")
    fault = page.locator(".answer .fault")
    fault.wait_for()
    assert "cannot be reached" in fault.inner_text()
    page.unroute("**/v1/chat/completions")
    page.get_by_text("Try again").click()
    page.locator(".answer .words", has_text="Bees make honey.").wait_for()
    page.locator("#files").set_input_files(
        files=[{"name": "odd.xyz", "mimeType": "application/zip", "buffer": b"PK"}]
    )
    page.locator("[role=alert].passing").wait_for()
