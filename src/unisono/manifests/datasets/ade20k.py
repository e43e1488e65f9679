"""ADE20K as SceneParsing publishes it (ADEChallengeData2016): pictures, and maps of 150 classes.

images/training/ADE_train_00000001.jpg    annotations/training/ADE_train_00000001.png
objectInfo150.txt    sceneCategories.txt

A map has a byte a pixel: 0 for what has no class, else the class from 1 on. Any folder laid out so
is read, with any classes: a `classes.txt`, one a line, in place of objectInfo150.txt.
"""

import csv
from pathlib import Path

from unisono.errors import DataError
from unisono.manifests.datasets.records import Records, one_of, read_lines
from unisono.manifests.row import PairRow

SPLITS = ("training", "validation")
_PICTURES = (".jpg", ".jpeg", ".png", ".webp")


def open_ade20k(path: Path, *, media: Path | None = None, split: str = "training") -> Records:
    """One split: rows of an image with fields "segmentation" (the map's path) and "scene".

    Args:
        path: the folder.
        media: another one with `images` and `annotations`.
        split: "training" or "validation".

    Raises:
        DataError: there are no pictures.
    """
    folder = media or path
    pictures = folder / "images" / one_of(split, SPLITS, "split")
    try:
        found = sorted(one for one in pictures.iterdir() if one.suffix.lower() in _PICTURES)
    except OSError as error:
        raise DataError(f"'{pictures}' cannot be read: {error.strerror}") from None
    scenes = _scenes(path / "sceneCategories.txt")
    maps = folder / "annotations" / split

    def make(picture: Path, name: str) -> PairRow:
        fields = {"segmentation": str(maps / f"{picture.stem}.png")}
        if not Path(fields["segmentation"]).is_file():
            raise ValueError(f"there is no '{fields['segmentation']}'")
        if picture.stem in scenes:
            fields["scene"] = scenes[picture.stem]
        return PairRow(name, image=str(picture), fields=fields)

    records = [(f"{split}/{picture.name}", picture) for picture in found]
    return Records(records, make, files=[pictures], classes=_classes(path))


def _classes(folder: Path) -> list[str] | None:
    """Names of the classes 1, 2, …"""
    own, official = folder / "classes.txt", folder / "objectInfo150.txt"
    if own.is_file():
        return [line.strip() for _, line in read_lines(own)]
    if not official.is_file():
        return None
    lines = [line for _, line in read_lines(official)]
    table = csv.DictReader(lines, delimiter="\t")
    names = [line.get("Name") for line in table]
    if not names or None in names:
        raise DataError(f"'{official}' must have a column Name, with tabs between columns")
    # "door, double door": synonyms; the first is how the class is called.
    return [str(name).split(",")[0].strip() for name in names]


def _scenes(path: Path) -> dict[str, str]:
    """Picture -> what it shows; empty without the file."""
    if not path.is_file():
        return {}
    pairs = (line.split() for _, line in read_lines(path))
    return {pair[0]: pair[1].replace("_", " ") for pair in pairs if len(pair) == 2}
