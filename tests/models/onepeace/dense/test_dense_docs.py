"""The programs of docs/dense.md do what the page says."""

import ast
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_dense import tiny_whole

from unisono.models.onepeace.dense import Segmenter
from unisono.training import segmenter

PAGE = Path(__file__).parents[4] / "docs" / "dense.md"


def programs() -> list[str]:
    return re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Six pictures of bright squares and their masks, and a tiny encoder in place of the nano."""
    random = np.random.default_rng(0)
    for kind in ("photos", "masks"):
        (tmp_path / kind).mkdir()
    for i in range(6):
        mask = np.zeros((40, 50), dtype=np.uint8)
        x, y = random.integers(0, 25, 2)
        mask[y : y + 15, x : x + 20] = 1
        photo = random.integers(0, 60, (40, 50, 3)) + 190 * mask[..., None]
        Image.fromarray(mask).save(tmp_path / "masks" / f"{i}.png")
        Image.fromarray(photo.astype(np.uint8)).save(tmp_path / "photos" / f"{i}.jpg", quality=95)
    loaded = SimpleNamespace(model=tiny_whole())
    monkeypatch.setattr(segmenter, "load_embedder", lambda name: {"onepeace-nano": loaded}[name])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_page_trains_a_segmenter_and_segments(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    segmenting, training = programs()
    torch.manual_seed(0)
    smaller = training.replace("steps=600", "steps=20, side_px=32, width=16")
    assert smaller != training
    exec(compile(smaller, str(PAGE), "exec"), {})
    overlaps = ast.literal_eval(capsys.readouterr().out)
    assert set(overlaps) == {"background", "cat"}
    photo = Image.open(folder / "photos" / "0.jpg")
    (found,) = Segmenter.from_pretrained(folder / "my-segmenter").segment([photo])
    mask = np.array(Image.open(folder / "masks" / "0.png"))
    assert found.classes.shape == mask.shape
    assert set(found.shares()) <= {"background", "cat"}
    upto_instances = segmenting.split("for thing in")[0]
    exec(compile(upto_instances, str(PAGE), "exec"), {"pictures": [photo]})
    assert "(" in capsys.readouterr().out
