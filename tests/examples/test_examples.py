"""Every script of examples/ is run."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from unisono.media import load_video

EXAMPLES = Path(__file__).parents[2] / "examples"
TESTED = {
    *("check_speech.py", "conversation.py", "demo.sh", "quickstart.py"),
    *("speak_questions.py", "toy_data.py"),
}


def run(*command: str, **variables: str) -> str:
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    result = subprocess.run(
        command,
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PATH": path, **variables},
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_all_scripts_are_tested() -> None:
    assert {path.name for path in EXAMPLES.iterdir() if path.is_file()} == TESTED


def test_quickstart() -> None:
    output = run(sys.executable, str(EXAMPLES / "quickstart.py"))
    assert "honey" in output
    assert "Tokyo" in output


@pytest.mark.slow
def test_demo_speaks_what_it_writes(tmp_path: Path) -> None:
    output = run("sh", str(EXAMPLES / "demo.sh"), OUT=str(tmp_path))
    assert "red" in output
    answer = json.loads((tmp_path / "answer.json").read_text())
    assert answer["heard"] == ["What are the primary colors?"]


@pytest.mark.slow
def test_conversation(tmp_path: Path) -> None:
    """Of its turns the one that needs no eyes: ola-nano's connectors are not trained yet."""
    lines = (EXAMPLES / "picturebook" / "demo.jsonl").read_text().splitlines()
    (spoken,) = (line for line in lines if "spoken" in line)
    named = spoken.replace("demo-spoken", str(EXAMPLES / "picturebook" / "demo-spoken"))
    (tmp_path / "one.jsonl").write_text(named)
    script = str(EXAMPLES / "conversation.py")
    questions = ["--questions", str(tmp_path / "one.jsonl")]
    output = run(sys.executable, script, *questions, "--out", str(tmp_path))
    assert "(heard: " in output
    assert "of 1 right" in output
    assert (tmp_path / "1.wav").stat().st_size > 1_000


def test_check_speech_fails_on_another_text(tmp_path: Path) -> None:
    (tmp_path / "answer.json").write_text(json.dumps({"text": "Something else entirely."}))
    question = EXAMPLES / "questions" / "01-sky.ogg"
    command = [sys.executable, str(EXAMPLES / "check_speech.py"), str(question)]
    result = subprocess.run(
        [*command, str(tmp_path / "answer.json")], check=False, capture_output=True, text=True
    )
    assert result.returncode == 1
    assert "What color is the sky?" in result.stdout


def test_speak_questions(tmp_path: Path) -> None:
    run(sys.executable, str(EXAMPLES / "speak_questions.py"), str(tmp_path), "--only", "05-bees")
    assert [path.name for path in tmp_path.iterdir()] == ["05-bees.ogg"]


def test_toy_data(tmp_path: Path) -> None:
    run(sys.executable, str(EXAMPLES / "toy_data.py"), str(tmp_path), "--count", "10")
    rows = {path.stem: path.read_text().splitlines() for path in tmp_path.glob("*.jsonl")}
    assert {len(rows[name]) for name in rows if not name.startswith("held_out")} == {9}
    film = json.loads(rows["video_talk"][3])["messages"][0]["content"][0]["video"]
    loaded = load_video(tmp_path / film, frames=3, with_audio=True)
    assert loaded.frames.shape == (3, 64, 64, 3)
    assert loaded.audio is not None
    assert 0.1 < np.abs(loaded.audio).max() <= 1
