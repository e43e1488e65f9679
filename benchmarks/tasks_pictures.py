"""What the dense models of `benchmarks/tasks.py` find in test scenes, drawn over them.

    python benchmarks/tasks_pictures.py --data DIR [--cache runs/tasks] [--out docs/results]

One picture a task that was done: above what the head on onepeace-nano finds, below the same head on
random weights. The scenes are the first of the test scenes, not chosen.
"""

import argparse
from pathlib import Path

from PIL import Image
from tasks_dense import scenes
from tasks_features import SIDES

from unisono.media import load_image
from unisono.runtime import load_predictor
from unisono.runtime.overlays import overlay

COUNT, TILE_PX = 6, 160
FOLDERS = {"segmenter": "segment", "instances": "detect", "detector": "detect"}


def tiles(model: Path, task: str, pictures: list[Path]) -> list[Image.Image]:
    """A scene each, with what is found; things from a probability of 0.3 on."""
    predictor = load_predictor(model, task=task, threshold=0.3)
    drawn = [overlay(load_image(one), predictor.predict(image=one)) for one in pictures]
    return [one.resize((TILE_PX, TILE_PX * one.height // one.width)) for one in drawn]


def sheet(lines: list[list[Image.Image]]) -> Image.Image:
    """Lines of tiles, one above the other."""
    height = max(tile.height for line in lines for tile in line)
    whole = Image.new("RGB", (TILE_PX * COUNT, height * len(lines)), "white")
    for y, line in enumerate(lines):
        for x, tile in enumerate(line):
            whole.paste(tile, (x * TILE_PX, y * height))
    return whole


def main() -> None:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--cache", type=Path, default=Path("runs/tasks"))
    parser.add_argument("--out", type=Path, default=Path("docs/results"))
    given = parser.parse_args()
    pictures = [one.path for one in scenes(given.data, "test")[:COUNT]]
    for name, task in FOLDERS.items():
        models = [given.cache / f"{name}-{side}" for side in SIDES]
        if all(model.is_dir() for model in models):
            whole = sheet([tiles(model, task, pictures) for model in models])
            whole.save(given.out / f"tasks_{name}.jpg", quality=80)


if __name__ == "__main__":
    main()
