"""`unisono eval`: tasks from a file to a report, taken up after a kill; two models compared."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import recordings
import tiny
from one_thread import one_thread  # noqa: F401 -- a fixture
from PIL import Image
from typer.testing import CliRunner

from unisono.cli import app


@pytest.fixture(scope="module")
def embedding_models(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return [saved(tmp_path_factory.mktemp("onepeace"), *tiny.onepeace(seed=i)) for i in (0, 1)]


@pytest.fixture(scope="module")
def ola(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved(tmp_path_factory.mktemp("ola"), *tiny.ola(vision=True))


def saved(folder: Path, model: Any, processor: Any) -> Path:
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def pairs(folder: Path, count: int) -> Path:
    """Captioned pictures and sounds in turn, one of each file missing."""
    random = np.random.default_rng(0)
    lines = []
    for i in range(count):
        if i % 2:
            (folder / f"{i}.wav").write_bytes(recordings.make_audio(seconds=0.2 + i / 100))
            lines.append({"text": f"sound number {i}", "audio": f"{i}.wav"})
        else:
            pixels = random.integers(0, 256, (20, 30, 3), dtype=np.uint8)
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "PNG")
            (folder / f"{i}.png").write_bytes(buffer.getvalue())
            lines.append({"text": f"picture number {i}", "image": f"{i}.png"})
    (folder / "0.png").unlink()
    return written(folder / "pairs.jsonl", lines)


def conversations(folder: Path) -> Path:
    said = [("Hi", "Hello"), ("And you?", "Fine"), ("What is it?", "A cat"), ("Why?", "Because")]
    lines = [
        {"messages": [{"role": "user", "content": q}, {"role": "assistant", "content": a}]}
        for q, a in said
    ]
    return written(folder / "talk.jsonl", lines)


def written(path: Path, lines: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["eval", *map(str, arguments)])
    assert result.exit_code == 0, (result.output, result.exception)
    return result.stdout


def results(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "results.json").read_text())
    return found


def test_retrieval_and_a_comparison(embedding_models: list[Path], tmp_path: Path) -> None:
    manifest = pairs(tmp_path, 12)
    one, other = tmp_path / "one", tmp_path / "other"
    said = run("retrieval", manifest, "-m", embedding_models[0], "-o", one)
    assert "text_to_image/recall@1" in said
    assert "1 of 12 rows failed: 1 left out, 0 counted as wrong" in said
    assert "pairs.jsonl:1: " in said
    assert "0.png" in said
    found = results(one)
    assert found["rows"] == 12
    assert found["scores"]["text_to_image/recall@1"]["samples"] == 5
    assert found["scores"]["audio_to_text/recall@10"]["value"] == 1.0
    assert "unisono" in found["command"]
    assert "| text_to_audio/recall@5 |" in (one / "report.md").read_text()
    said = run(
        *("retrieval", manifest, "-m", embedding_models[1], "-o", other, "--limit", 10),
        *("--compare", one, "--set", "kinds=audio"),
    )
    table = said[said.index("Against") :]
    assert "audio_to_text/recall@1" in table
    assert "image_to_text" not in table
    assert results(other)["rows"] == 10


def test_answers_and_perplexity(ola: Path, tmp_path: Path) -> None:
    manifest = conversations(tmp_path)
    run("answers", manifest, "-m", ola, "-o", tmp_path / "a", "--set", "max_tokens=3")
    assert results(tmp_path / "a")["settings"] == {"max_tokens": 3}
    assert results(tmp_path / "a")["scores"]["exact_match"]["samples"] == 4
    said = run("perplexity", manifest, "-m", ola, "-o", tmp_path / "p")
    assert results(tmp_path / "p")["scores"]["perplexity"]["value"] > 1
    assert "perplexity" in said
    said = run("perplexity", manifest, "-m", ola, "-o", tmp_path / "q", "--compare", tmp_path / "p")
    assert "p" in said[said.index("Against") :]


def test_transcription_of_the_wrong_rows_fails_in_one_line(ola: Path, tmp_path: Path) -> None:
    line = refused("transcription", conversations(tmp_path), "-m", ola, "-o", tmp_path / "t")
    assert "all 4 rows failed; talk.jsonl:1: the row must have a sound and its text" in line


def refused(*arguments: object) -> str:
    result = CliRunner().invoke(app, ["eval", *map(str, arguments)])
    assert result.exit_code == 2, (result.output, result.exception)
    line = result.stderr.strip()
    assert line.startswith("unisono: ")
    assert "\n" not in line
    return line


def test_one_clear_line(ola: Path, tmp_path: Path) -> None:
    manifest, out = conversations(tmp_path), ("-o", tmp_path / "out")
    assert "no task 'chess'" in refused("chess", manifest, "-m", ola, *out)
    assert "no_such.jsonl" in refused("answers", tmp_path / "no_such.jsonl", "-m", ola, *out)
    assert "KEY=VALUE" in refused("answers", manifest, "-m", ola, *out, "--set", "x")
    assert "setting 'x'" in refused("answers", manifest, "-m", ola, *out, "--set", "x=1")
    assert "nothing" in refused("perplexity", manifest, "-m", "nothing", *out)
    assert not (tmp_path / "out").exists()
    run("answers", manifest, "-m", ola, *out, "--limit", 1)
    assert "another task" in refused("perplexity", manifest, "-m", ola, *out)
    written(manifest, [json.loads(manifest.read_text().splitlines()[0])])
    assert "another manifest's files" in refused("answers", manifest, "-m", ola, *out)


def test_the_folder_has_a_name_of_its_own(
    ola: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = conversations(tmp_path)
    monkeypatch.chdir(tmp_path)
    said = run("perplexity", manifest, "-m", ola)
    folder = tmp_path / "eval" / f"perplexity-{ola.name}-talk"
    assert results(folder)["rows"] == 4
    assert f"perplexity-{ola.name}-talk" in said.replace("\n", "")


@pytest.mark.slow
def test_a_killed_command_is_taken_up(embedding_models: list[Path], tmp_path: Path) -> None:
    manifest, out = pairs(tmp_path, 40), tmp_path / "cut"
    arguments = ["retrieval", str(manifest), "-m", str(embedding_models[0])]
    arguments += ["--set", "batch_size=1"]
    process = subprocess.Popen(
        [sys.executable, "-m", "unisono.cli", "eval", *arguments, "-o", str(out)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    predictions = out / "predictions.jsonl"
    deadline = time.monotonic() + 120
    while (not predictions.exists() or not predictions.stat().st_size) and (
        time.monotonic() < deadline
    ):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.002)
    process.send_signal(signal.SIGKILL)
    process.wait()
    kept = predictions.read_bytes()
    assert 0 < kept.count(b"\n") < 40
    assert not (out / "results.json").exists()
    run(*arguments, "-o", out)
    run(*arguments, "-o", tmp_path / "whole")
    assert predictions.read_bytes().startswith(kept[: kept.rfind(b"\n") + 1])
    lines = [
        [json.loads(line)["name"] for line in (folder / "predictions.jsonl").open()]
        for folder in (out, tmp_path / "whole")
    ]
    assert lines[0] == lines[1] == [f"pairs.jsonl:{i + 1}" for i in range(40)]
    assert results(out)["scores"] == results(tmp_path / "whole")["scores"]
