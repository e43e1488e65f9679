"""`unisono predict` and files that are not what they should be: one clear line."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny
import tiny_dense
import tiny_onepeace
import torch
from PIL import Image
from typer.testing import CliRunner

from unisono.cli import app
from unisono.models.onepeace import (
    OnePeaceConfig,
    OnePeaceForClassification,
    OnePeaceForGrounding,
    OnePeaceForRanking,
)
from unisono.speech import wav_bytes

RATE = 16_000
HEADS: dict[str, tuple[Any, dict[str, Any]]] = {
    "classify": (OnePeaceForClassification, {"modality": "image", "inputs": ["image"]}),
    "ground": (OnePeaceForGrounding, {"modality": "image", "inputs": ["text", "image"]}),
    "rank": (OnePeaceForRanking, {"inputs": ["text", "audio"]}),
}
MORE = {
    "ground": ["--text", "the cat"],
    "rank": ["--text", "which?", "--choice", "a", "--choice", "b"],
}
TASKS = ("classify", "ground", "rank", "segment", "detect")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a random model for each task."""
    root, (plain, processor) = tmp_path_factory.mktemp("models"), tiny.onepeace()
    fields = plain.config.to_dict()
    kept = {k: v for k, v in fields.items() if k not in ("id2label", "label2id", "num_labels")}
    for name, (kind, head) in HEADS.items():
        config = OnePeaceConfig(**{**kept, "decoder_config": None, "head_config": head})
        torch.manual_seed(0)
        tiny_onepeace.randomised(kind(config)).save_pretrained(root / name)
        processor.save_pretrained(root / name)
    tiny_dense.tiny_segmenter(head="upernet", pyramid="simple").save_pretrained(root / "segment")
    tiny_dense.tiny_segmenter(pyramid="simple").save_pretrained(root / "detect")
    return root


def png(path: Path) -> bytes:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 70, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path, format="PNG")
    return path.read_bytes()


def sound() -> bytes:
    return wav_bytes(0.3 * np.sin(np.arange(RATE) / 5).astype(np.float32), RATE)


def torn(path: Path, whole: bytes) -> None:
    path.write_bytes(whole[: len(whole) // 2])


ODD: dict[str, Callable[[Path, bool], object]] = {
    "empty": lambda path, _: path.write_bytes(b""),
    "text": lambda path, _: path.write_text("neither seen nor heard\n" * 50),
    "torn": lambda path, hears: torn(path, sound() if hears else png(path)),
    "the other kind": lambda path, hears: path.write_bytes(png(path) if hears else sound()),
    "missing": lambda path, _: None,
    "folder": lambda path, _: path.mkdir(),
}


def refused(arguments: list[str]) -> str:
    result = CliRunner().invoke(app, ["predict", *arguments])
    assert result.exit_code == 2, (result.exit_code, result.output, result.exception)
    line = result.stderr.strip()
    assert line.startswith("unisono: ")
    assert "\n" not in line
    assert "Traceback" not in line
    assert not result.stdout.strip()
    return line


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("task", TASKS)
def test_one_clear_line(task: str, kind: str, models: Path, tmp_path: Path) -> None:
    hears = task == "rank"
    path = tmp_path / ("odd.wav" if hears else "odd.png")
    ODD[kind](path, hears)
    line = refused([task, str(path), "-m", str(models / task), *MORE.get(task, [])])
    assert "odd" in line or kind == "folder"


@pytest.mark.parametrize("task", TASKS)
def test_the_wrong_kind_of_file(task: str, models: Path, tmp_path: Path) -> None:
    path = tmp_path / ("cat.png" if task == "rank" else "cat.wav")
    path.write_bytes(png(path) if task == "rank" else sound())
    line = refused([task, str(path), "-m", str(models / task), *MORE.get(task, [])])
    assert "must have" in line
    assert "cat" in line


@pytest.mark.parametrize("task", TASKS)
def test_good_files_beside_a_bad_one(task: str, models: Path, tmp_path: Path) -> None:
    end = ".wav" if task == "rank" else ".png"
    for name in ("a", "c"):
        path = tmp_path / f"{name}{end}"
        path.write_bytes(sound() if task == "rank" else png(path))
    (tmp_path / f"b{end}").write_bytes(b"")
    files = [str(tmp_path / f"{name}{end}") for name in "abc"]
    more = [*MORE.get(task, []), "--threshold", "0"]
    result = CliRunner().invoke(app, ["predict", task, *files, "-m", str(models / task), *more])
    assert result.exit_code == 2
    assert len(result.stdout.strip().splitlines()) == 2
    (line,) = result.stderr.strip().splitlines()
    assert f"b{end}" in line


@pytest.mark.parametrize("task", TASKS)
def test_a_broken_model(task: str, models: Path, tmp_path: Path) -> None:
    path = tmp_path / "good.png"
    png(path)
    broken = tmp_path / "model"
    shutil.copytree(models / task, broken)
    weights = broken / "model.safetensors"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    asked = [task, str(path), "-m", str(broken), *MORE.get(task, [])]
    assert "model" in refused(asked)
    weights.unlink()
    assert "model" in refused(asked)
    weights.write_bytes(whole)
    (broken / "config.json").write_text("{")
    assert "model" in refused(asked)
    (broken / "config.json").write_text(json.dumps({"architectures": ["LlamaForCausalLM"]}))
    assert "does no task" in refused(asked)
