"""Sounds beside unseen drawings of what makes them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unisono.manifests import PairRow, write_manifest
from unisono.media import load_audio, load_image
from unisono.picturebook import sounding
from unisono.picturebook.bars_onepeace import pair_rows
from unisono.picturebook.build import STEPS
from unisono.picturebook.drawing import Drawing, Split
from unisono.picturebook.voices import write_flac


def test_a_sound_stands_beside_every_unseen_drawing_of_its_thing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drawing(name: str, concept: str, split: Split) -> Drawing:
        Image.new("RGBA", (60, 40), "red").save(tmp_path / f"{name}.png")
        return Drawing(name, tmp_path / f"{name}.png", concept, "noto", "", split, {}, (), False)

    drawings = [
        drawing("dog-1", "dog", "train"),
        drawing("dog-2", "dog", "unseen_drawing"),
        drawing("dog-3", "dog", "unseen_drawing"),
        drawing("cat-1", "cat", "train"),
        drawing("owl-1", "owl", "unseen_drawing"),
    ]
    monkeypatch.setattr(sounding, "read_drawings", lambda data: drawings)
    (tmp_path / "sounds").mkdir()
    rows = []
    for name in ("dog", "cat", "gong"):
        path = tmp_path / "sounds" / f"{name}.flac"
        write_flac(np.full(8000, 0.1, np.float32), path)
        fields = {"name": name, "kind": "animal", "source": f"{name}.ogg"}
        rows.append(PairRow(name, text=f"a {name}", audio=path, fields=fields))
    write_manifest(rows, tmp_path / "sounds" / "test_names.jsonl")
    (tmp_path / "sounding").mkdir()
    sounding.STEP.build(tmp_path / "sounding", tmp_path)
    found = pair_rows(tmp_path / "sounding" / "test.jsonl")
    assert all(row.text == "a dog" for row in found)
    assert [row.fields["drawing"] for row in found] == ["dog-2", "dog-3"]
    for row in found:
        assert load_image(row.image).size  # type: ignore[arg-type]
        assert len(load_audio(row.audio)) == 8000  # type: ignore[arg-type]
    assert sounding.STEP in STEPS
