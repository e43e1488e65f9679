"""`--hearing` at the command line: how spoken words reach the model."""

import json
from pathlib import Path

import pytest
import recordings
import shipped_nano
import tiny
from typer.testing import CliRunner

from unisono.cli import app


@pytest.fixture
def sound(tmp_path: Path) -> Path:
    path = tmp_path / "sound.ogg"
    path.write_bytes(recordings.make_audio("ogg", "libopus", 48_000))
    return path


def test_the_connector_in_place_of_the_listener(
    sound: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fabricated listener is no Whisper: it would fail if it were asked."""
    shipped_nano.install_ola(monkeypatch, tmp_path, tiny.ola(speech=True, hearing="listener")[0])
    asked = ["ask", "--audio", str(sound), "-m", shipped_nano.NAME, "--max-tokens", "2", "--json"]
    through = CliRunner().invoke(app, [*asked, "--hearing", "connector"])
    assert through.exit_code == 0, through.output
    answer = json.loads(through.stdout)
    assert answer["heard"] == []
    assert answer["usage"]["completion_tokens"] == 2
    assert CliRunner().invoke(app, asked).exit_code != 0


@pytest.mark.parametrize("verb", ["ask", "chat"])
def test_what_the_model_cannot_is_said(
    verb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped_nano.install_ola(monkeypatch, tmp_path, tiny.ola(hearing="listener")[0])
    given = [verb, *(["Hello"] if verb == "ask" else []), "-m", shipped_nano.NAME]
    for hearing, told in (("both", "without a hearing encoder"), ("ears", "but is 'ears'")):
        result = CliRunner().invoke(app, [*given, "--hearing", hearing], input="")
        assert result.exit_code != 0
        assert told in f"{result.stderr}{result.exception}"
