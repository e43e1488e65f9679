"""A few pictures and masks become a segmenter; what is wrong with them is said."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tiny
from one_thread import one_thread  # noqa: F401 -- a fixture
from PIL import Image

from unisono.errors import DataError, UnisonoError
from unisono.runtime import load_predictor
from unisono.training.segmenter import Fitting, fit_segmenter, read_pairs

NAMES = ("grass", "cat")
DOCS = Path(__file__).parents[2] / "docs" / "dense.md"


def draw(folder: Path, count: int, side: int = 64) -> None:
    """Red squares on green; the squares are cats."""
    for name in ("photos", "masks", "new"):
        (folder / name).mkdir(parents=True)
    draws = np.random.default_rng(0)
    for place in range(count):
        noise = draws.integers(0, 60, (side, side, 3))
        x, y = draws.integers(0, side // 2, 2)
        mask = np.zeros((side, side), np.uint8)
        mask[y : y + side // 2, x : x + side // 2] = 1
        pixels = np.where(mask[..., None] == 1, [190, 20, 20], [20, 150, 20]) + noise
        picture = Image.fromarray(pixels.astype(np.uint8))
        picture.save(folder / "photos" / f"{place:02d}.jpg", quality=95)
        Image.fromarray(mask).save(folder / "masks" / f"{place:02d}.png")
        if place < 2:
            picture.save(folder / "new" / f"{place}.png")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    draw(tmp_path, 6)
    return tmp_path


def pairs(folder: Path, names: tuple[str, ...] = NAMES) -> list:
    return read_pairs(folder / "photos", folder / "masks", names)


def test_it_learns_and_is_saved(folder: Path, tmp_path: Path) -> None:
    source = tmp_path / "source"
    tiny.onepeace()[0].save_pretrained(source)
    how = Fitting(source=str(source), side_px=64, steps=60, batch=2, lr=5e-3, width=16)
    fitted = fit_segmenter(pairs(folder), NAMES, how)
    assert fitted.held_out == ("04",)
    untrained = fit_segmenter(
        pairs(folder), NAMES, Fitting(source=str(source), side_px=64, steps=1, lr=1e-9, width=16)
    )
    assert min(fitted.iou.values()) > 0.5
    assert min(untrained.iou.values()) < min(fitted.iou.values())
    fitted.model.save_pretrained(tmp_path / "mine")
    predictor = load_predictor(tmp_path / "mine", task="segment")
    answer = predictor.predict(image=folder / "photos" / "04.jpg")
    assert answer.segmentation is not None
    assert answer.segmentation.shares()["cat"] == pytest.approx(0.25, abs=0.15)


def test_pairs_are_read(folder: Path) -> None:
    mask = Image.open(folder / "masks" / "01.png").convert("P")
    mask.save(folder / "masks" / "01.png")
    (folder / "photos" / "02.jpg").rename(folder / "photos" / "02.JPG")
    found = pairs(folder)
    assert [one.name for one in found] == [f"{place:02d}" for place in range(6)]
    assert set(np.unique(found[1].labels)) == {0, 1}


def test_what_is_wrong_is_said(folder: Path) -> None:
    def wrong(message: str, names: tuple[str, ...] = NAMES) -> None:
        with pytest.raises(UnisonoError, match=message):
            pairs(folder, names)

    wrong("has the class 1, but the 1 names", ("grass",))
    mask = folder / "masks" / "00.png"
    whole = mask.read_bytes()
    Image.open(folder / "photos" / "00.jpg").save(mask)
    wrong("grey or of a palette, but .*00.png' is RGB")
    Image.new("L", (9, 8)).save(mask)
    wrong("00.png' is 9 x 8 and .*00.jpg' 64 x 64")
    mask.write_bytes(whole[:40])
    wrong("00.png'")
    mask.write_bytes(whole)
    (folder / "photos" / "00.jpg").write_bytes(b"")
    wrong("00.jpg")
    (folder / "photos" / "00.jpg").unlink()
    wrong("00.png' has no picture of its name")
    with pytest.raises(DataError, match="there are no masks"):
        read_pairs(folder / "photos", folder / "nowhere", NAMES)
    with pytest.raises(DataError, match="two classes or more"):
        fit_segmenter([], NAMES)


@pytest.mark.slow
def test_the_commands_of_the_docs(tmp_path: Path) -> None:
    """What docs/dense.md says, word for word, with twenty pictures."""
    draw(tmp_path, 20, side=160)
    section = DOCS.read_text().split("## Training a segmenter")[1].split("\n## ")[0]
    (block,) = re.findall(r"```bash\n(.*?)```", section, flags=re.DOTALL)
    commands = [line for line in block.replace("\\\n", "").splitlines() if line.strip()]
    assert len(commands) == 3
    assert commands[0].startswith("pip install ")
    said = []
    for command in commands[1:]:
        words = shlex.split(command)
        words = words[1:] if words[0] == "python" else ["-m", *words]
        done = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    overlap = [int(one) for one in re.findall(r"(\d+)%", said[0])]
    assert len(overlap) == 2
    assert min(overlap) > 60  # red and green squares are easy
    assert len(list((tmp_path / "found").glob("*.png"))) == 2
