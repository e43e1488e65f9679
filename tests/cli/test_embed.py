"""`unisono embed`: vectors of many files, what failed, and going on after an interruption."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import recordings
import tiny
from PIL import Image
from typer.testing import CliRunner

from unisono.cli import app
from unisono.runtime import load_embedder
from unisono.runtime.vectors import VectorFile


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("onepeace")
    tiny_model, processor = tiny.onepeace()
    tiny_model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def picture(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def library(folder: Path, count: int) -> tuple[int, int]:
    """Mixed files, good and bad; how many of each."""
    film = recordings.make_video((20, 200))
    makers = {
        "png": picture,
        "txt": lambda i: f"text number {i}".encode(),
        "wav": lambda i: recordings.make_audio(seconds=0.2 + i / 200),
        "mp4": lambda i: film,
    }
    bad = {"empty.png": b"", "empty.txt": b" \n", "empty.wav": b"", "broken.mp4": film[:200]}
    bad |= {"broken.png": picture(0)[:60], "broken.wav": b"RIFF and nothing more"}
    folder.mkdir(parents=True, exist_ok=True)
    kinds = ["png", "txt", "png", "wav", "txt", "png", "mp4"]
    for i in range(count):
        kind = kinds[i % len(kinds)]
        (folder / f"{i:05d}.{kind}").write_bytes(makers[kind](i))
    for name, data in bad.items():
        (folder / name).write_bytes(data)
    (folder / "ignored.xyz").write_bytes(b"?")
    return count, len(bad)


def run(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["embed", *map(str, arguments)])
    return result.exit_code, result.output


def test_good_and_bad_files(model: Path, tmp_path: Path) -> None:
    good, bad = library(tmp_path / "media", 30)
    out = tmp_path / "vectors.npz"
    code, said = run(tmp_path / "media", "--text", "a dog", "-m", model, "-o", out)
    assert code == 2
    assert f"{good + 1} of {good + 1 + bad} embedded" in said
    assert f"{bad} failed" in said
    assert "empty.txt" in said.replace("\n", "").replace("│", "").replace(" ", "")
    found = np.load(out, allow_pickle=False)
    assert found["vectors"].shape == (good + 1, 32)
    assert set(found["kinds"]) == {"text", "image", "audio", "video"}
    names = found["names"].tolist()
    expected = load_embedder(model).embed(text=["a dog", "text number 1"])
    np.testing.assert_allclose(found["vectors"][names.index("a dog")], expected[0], atol=2e-5)
    row = names.index(str(tmp_path / "media" / "00001.txt"))
    np.testing.assert_allclose(found["vectors"][row], expected[1], atol=2e-5)
    assert not list(tmp_path.glob("*.partial*"))
    assert run(tmp_path / "media", "-m", model, "-o", out, "--skip-errors")[0] == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "nothing to embed"),
        (("/no/such",), "there is no file or folder '/no/such'"),
        ((sys.executable,), "is no picture, sound, video or .txt file"),
        (("--text", "a", "--dtype", "int3"), "dtype must be one of"),
        (("--text", "a", "-m", "nothing"), "no folder 'nothing'"),
    ],
)
def test_one_clear_line(arguments: tuple[str, ...], said: str, model: Path, tmp_path: Path) -> None:
    given = arguments if "-m" in arguments else (*arguments, "-m", model)
    code, output = run(*given, "-o", tmp_path / "v.npz")
    assert code == 2
    assert said in output
    assert "Traceback" not in output
    assert not list(tmp_path.iterdir())


def test_a_killed_run_is_taken_up(model: Path, tmp_path: Path) -> None:
    library(tmp_path / "media", 60)
    out = tmp_path / "vectors.npz"
    script = (
        "import sys, unisono.runtime.vectors as v; v._INTERVAL_S = 0\n"
        "from unisono.cli import main; main()"
    )
    command = [sys.executable, "-c", script, "embed", str(tmp_path / "media"), "-m", str(model)]
    process = subprocess.Popen(
        [*command, "-o", str(out), "--batch-size", "1"],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("*.partial-*/*.npz")) and time.monotonic() < deadline:
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not out.exists()
    kept = VectorFile(out, load_embedder(model).fingerprint).known
    assert 0 < len(kept) < 60
    code, said = run(tmp_path / "media", "-m", model, "-o", out, "--skip-errors")
    assert code == 0, said
    assert len(np.load(out)["vectors"]) == 60
    assert not list(tmp_path.glob("*.partial*"))


def test_vectors_of_another_model_are_not_taken_up(tmp_path: Path) -> None:
    file = VectorFile(tmp_path / "v.npz", "one")
    file.add("a", np.ones(4, dtype=np.float32))
    file.save()
    assert VectorFile(tmp_path / "v.npz", "one").known.keys() == {"a"}
    assert not VectorFile(tmp_path / "v.npz", "two").known


def test_a_part_cut_short_by_a_crash_is_left_out(tmp_path: Path) -> None:
    file = VectorFile(tmp_path / "v.npz", "one")
    for key in "ab":
        file.add(key, np.ones(4, dtype=np.float32))
        file.save()
    last = sorted(tmp_path.glob("*.partial-*/*.npz"))[-1]
    last.write_bytes(last.read_bytes()[:50])
    assert VectorFile(tmp_path / "v.npz", "one").known.keys() == {"a"}
