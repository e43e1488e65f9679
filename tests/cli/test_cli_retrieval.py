"""`unisono index`, `search`, `similar` and `classify`, as a user calls them."""

import json
from pathlib import Path

import pytest
import recordings
from fake_embedder import COLOURS, FakeEmbedder
from PIL import Image
from typer.testing import CliRunner, Result

from unisono import runtime
from unisono.cli import app


@pytest.fixture(autouse=True)
def fake(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(name: str, **_: object) -> FakeEmbedder:
        return FakeEmbedder(name=str(name))

    monkeypatch.setattr(runtime, "load_embedder", load)
    monkeypatch.setattr("unisono.retrieval.library.load_embedder", load)


@pytest.fixture
def media(tmp_path: Path) -> Path:
    folder = tmp_path / "media"
    folder.mkdir()
    for name, colour in COLOURS.items():
        Image.new("RGB", (40, 30), colour).save(folder / f"{name}.png")
    (folder / "tone.wav").write_bytes(recordings.make_audio(seconds=3))
    return folder


@pytest.fixture
def library(media: Path, tmp_path: Path) -> str:
    uri = str(tmp_path / "library")
    assert run("index", str(media), "--library", uri).exit_code == 0
    return uri


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments))


def found(*arguments: str) -> list[str]:
    result = run("search", *arguments, "--json")
    assert result.exit_code == 0, result.output
    return [Path(hit["path"]).name for hit in json.loads(result.stdout)]


def test_index_says_what_it_did(media: Path, library: str) -> None:
    Image.new("RGB", (4, 4), "red").save(media / "new.png")
    (media / "broken.png").write_bytes(b"\x89PNG and no more")
    result = run("index", str(media), "-l", library)
    assert result.exit_code == 2
    assert "broken.png" in result.stderr
    result = run("index", str(media), "-l", library, "--skip-errors")
    assert result.exit_code == 0
    assert "1 new, 7 unchanged: 8 pieces" in result.stdout
    assert "broken.png" in result.stderr


def test_search_by_anything(media: Path, library: str) -> None:
    assert found("red", "-l", library)[0] == "red.png"
    assert found("--image", str(media / "blue.png"), "-l", library)[0] == "blue.png"
    assert found("--audio", str(media / "tone.wav"), "-l", library)[0] == "tone.wav"
    sums = ("--image", str(media / "blue.png"), "--minus-text", "blue", "red", "-l", library)
    assert found(*sums, "--weight", "minus_text=2", "--weight", "text=2")[0] == "red.png"


def test_filters(media: Path, library: str) -> None:
    assert found("red", "-l", library, "--modality", "audio") == ["tone.wav"]
    assert set(found("red", "-l", library, "--under", "b*.png")) == {"blue.png", "black.png"}
    assert found("red", "-l", library, "--larger-than", "10k") == ["tone.wav"]
    assert found("red", "-l", library, "--before", "2001-01-01") == []


def test_a_table_for_people_and_a_sheet(library: str, tmp_path: Path) -> None:
    sheet = tmp_path / "sheet.png"
    result = run("search", "red", "-l", library, "-n", "3", "--sheet", str(sheet))
    assert result.stdout.splitlines()[0].endswith("red.png")
    assert len(result.stdout.splitlines()) == 3
    assert Image.open(sheet).width > 100


def test_similar_and_duplicates(media: Path, library: str) -> None:
    (media / "green2.png").write_bytes((media / "green.png").read_bytes())
    run("index", str(media), "-l", library)
    result = run("similar", str(media / "green.png"), "-l", library, "-n", "1")
    assert "green2.png" in result.stdout
    groups = json.loads(run("similar", "--duplicates", "-l", library, "--json").stdout)
    assert [sorted(Path(hit["path"]).name for hit in group) for group in groups] == [
        ["green.png", "green2.png"]
    ]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("search", "x", "-l", "nowhere"), "there is no library 'nowhere'"),
        (("search", "-l", "LIB"), "nothing to look for"),
        (("search", "x", "-l", "LIB", "--weight", "audio"), "audio=0.5"),
        (("search", "x", "-l", "LIB", "--modality", "smell"), "modality"),
        (("search", "x", "-l", "LIB", "--larger-than", "big"), "10k"),
        (("search", "--image", "none.png", "-l", "LIB"), "none.png"),
        (("similar", "-l", "LIB"), "name a file"),
        (("similar", "none.png", "-l", "LIB"), "none.png"),
        (("index", "nowhere", "-l", "LIB"), "nowhere"),
        (("index", ".", "-l", "LIB", "--engine", "magic"), "local or ray"),
        (("classify", "none.png", "--labels", "a,b"), "none.png"),
    ],
)
def test_bad_input_is_one_line(library: str, arguments: tuple[str, ...], says: str) -> None:
    result = run(*(library if one == "LIB" else one for one in arguments))
    assert result.exit_code == 2
    assert says in result.stderr
    assert len(result.stderr.strip().splitlines()) == 1


def test_classify(media: Path) -> None:
    files = [str(media / f"{name}.png") for name in ("red", "green")]
    result = run("classify", *files, "--labels", "red,green,blue", "--json")
    best = [next(iter(json.loads(line)["labels"])) for line in result.stdout.splitlines()]
    assert best == ["red", "green"]
    (media / "broken.png").write_bytes(b"\x89PNG and no more")
    result = run("classify", str(media), "--labels", "red,green")
    assert result.exit_code == 2
    assert "broken.png" in result.stderr
    assert "red.png: red" in result.stdout
