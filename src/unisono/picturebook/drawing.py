"""One drawing or photograph of one thing, cut out: what scenes, captions and clips are made of."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Split = Literal["train", "unseen_drawing", "unseen_concept"]
"""`train`; a concept that is trained, by a hand that never is; a concept that never is."""


@dataclass(frozen=True)
class Drawing:
    """A cut-out on disk.

    Attributes:
        name: file name without suffix; never changes between builds.
        path: an RGBA PNG, cropped to what is drawn; its longer side has at most 192 px.
        concept: what it shows, in plain English, lower case, without article: "dog face".
        hand: whose drawing it is: "noto", "twemoji", "tuxpaint", "openclipart"...
        group: roughly what kind of thing: "animals-nature", "food-drink"; "" when unknown.
        split: where it may be used.
        captions: what it shows in other languages, ISO 639 code -> text; English is `concept`.
        keywords: more English words for it.
        photograph: not drawn.
    """

    name: str
    path: Path
    concept: str
    hand: str
    group: str
    split: Split
    captions: Mapping[str, str]
    keywords: tuple[str, ...]
    photograph: bool


def read_drawings(data: Path) -> list[Drawing]:
    """All drawings that the step "drawings" made in a data folder, in a fixed order."""
    folder = data / "drawings"
    with (folder / "drawings.jsonl").open(encoding="utf-8") as file:
        return [_drawing(folder, json.loads(line)) for line in file]


def _drawing(folder: Path, row: dict[str, Any]) -> Drawing:
    row["keywords"] = tuple(row["keywords"])
    return Drawing(path=folder / f"{row['name']}.png", **row)
