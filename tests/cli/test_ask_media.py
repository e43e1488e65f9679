"""Pictures, videos and sounds at the command line, of a converted checkpoint."""

import json
from pathlib import Path

import numpy as np
import pytest
import recordings
from official_ola_layout import small_config, write_official
from PIL import Image
from typer.testing import CliRunner

from unisono.cli import app

LEVELS = (20, 90, 160, 230)
FILMS = {
    "film.mp4": {"form": "mp4", "codec": "libx264", "audio": "aac"},
    "film.webm": {"form": "webm", "codec": "libvpx-vp9", "audio": "libopus"},
    "film.mkv": {"form": "matroska", "codec": "libx264", "audio": "libopus"},
}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Converted by the verb itself."""
    folder = tmp_path_factory.mktemp("ola")
    write_official(folder / "official", small_config(max_position_embeddings=32768))
    result = CliRunner().invoke(app, ["convert", str(folder / "official"), str(folder / "ours")])
    assert result.exit_code == 0, result.output
    return str(folder / "ours")


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("media")
    pixels = np.random.default_rng(0).integers(0, 256, (50, 80, 3), dtype=np.uint8)
    for name in ("a.jpg", "a.png", "a.webp", "a.gif"):
        Image.fromarray(pixels).save(folder / name)
    for name, options in FILMS.items():
        (folder / name).write_bytes(recordings.make_video(LEVELS, **options))
    (folder / "silent.mp4").write_bytes(recordings.make_video(LEVELS))
    (folder / "sound.ogg").write_bytes(recordings.make_audio("ogg", "libopus", 48_000))
    (folder / "broken.jpg").write_bytes((folder / "a.jpg").read_bytes()[:200])
    Image.new("1", (20_000, 20_000)).save(folder / "huge.png")
    Image.new("RGB", (1, 1)).save(folder / "dot.png")
    two_hours_ms = [0, 1_000, 7_200_000]
    (folder / "long.mp4").write_bytes(recordings.make_video(LEVELS[:3], two_hours_ms))
    (folder / "one.mp4").write_bytes(recordings.make_video(LEVELS[:1]))
    (folder / "broken.mp4").write_bytes((folder / "film.mp4").read_bytes()[:300])
    return folder


def ask(model: str, *arguments: object) -> tuple[int, str, str]:
    given = ["ask", *map(str, arguments), "-m", model, "--json", "--max-tokens", "4"]
    result = CliRunner().invoke(app, given)
    return result.exit_code, result.stdout, result.stderr


def tokens(model: str, *arguments: object) -> int:
    """Tokens of the prompt."""
    code, out, err = ask(model, *arguments)
    assert code == 0, err
    return int(json.loads(out)["usage"]["prompt_tokens"])


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.gif"])
def test_pictures(model: str, media: Path, name: str) -> None:
    assert tokens(model, "?", "--image", media / name) > tokens(model, "?") + 100


@pytest.mark.parametrize("name", FILMS)
def test_videos(model: str, media: Path, name: str) -> None:
    silent = tokens(model, "?", "--video", media / "silent.mp4")
    assert tokens(model, "?", "--video", media / name) > silent > tokens(model, "?")


def test_all_at_once(model: str, media: Path) -> None:
    each = [("--image", "a.png"), ("--video", "film.webm"), ("--audio", "sound.ogg")]
    given = [argument for option, name in each for argument in (option, media / name)]
    assert tokens(model, "What is it?", *given) > 300


def test_a_spoken_question_about_a_picture(model: str, media: Path) -> None:
    assert tokens(model, "--image", media / "a.png", "--audio", media / "sound.ogg") > 100


@pytest.mark.parametrize(("option", "name"), [("--image", "dot.png"), ("--video", "one.mp4")])
def test_the_smallest(model: str, media: Path, option: str, name: str) -> None:
    assert tokens(model, "?", option, media / name) > tokens(model, "?")


def test_a_silent_video_is_told(model: str, media: Path) -> None:
    code, out, _ = ask(model, "?", "--video", media / "silent.mp4")
    assert code == 0
    assert json.loads(out)["notices"] == ["the video has no sound"]


@pytest.mark.parametrize(
    ("option", "name"),
    [
        ("--image", "broken.jpg"),
        ("--image", "huge.png"),
        ("--video", "broken.mp4"),
        ("--video", "long.mp4"),
        ("--video", "sound.ogg"),
    ],
)
def test_what_cannot_be_opened_is_one_line(model: str, media: Path, option: str, name: str) -> None:
    code, out, err = ask(model, "?", option, media / name)
    assert (code, out) == (2, "")
    assert name in err
    assert len(err.strip().splitlines()) == 1, err
