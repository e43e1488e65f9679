"""Rows for tasks say what scenes, sounds and clips hold, and nothing else."""

import json
from pathlib import Path
from typing import Any

import pytest

from unisono.errors import DataError
from unisono.picturebook.task_rows import write_task_rows

NAMES = (
    ["cat", "dog"],
    ["cat"],
    ["owl", "cat"],
    ["dog", "dog"],
    ["owl"],
    ["cat", "owl", "dog"],
    ["fox"],
)


def scene(place: int) -> dict[str, Any]:
    names = NAMES[place % len(NAMES)]
    asked = [{"image": f"train/{place}.jpg", "type": "image"}, {"text": "What?", "type": "text"}]
    return {
        "names": names,
        "colours": ["red" if name == "cat" else None for name in names],
        "boxes": [[10 * i, 5, 8, 9] for i, _ in enumerate(names)],
        "messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": "a"}],
    }


def sound(place: int) -> dict[str, Any]:
    name = ("cow", "bell", "flute", "dog", "horn")[place % 5]
    return {"audio": f"{place}.flac", "name": name, "kind": "animal"}


def clip(place: int) -> dict[str, Any]:
    asked = [{"video": f"{place}.mp4", "type": "video"}]
    motions = ["up", "down"] if place % 3 else ["left"]
    return {
        "motions": motions,
        "heard": "cow",
        "messages": [{"role": "user", "content": asked}, {"role": "assistant", "content": "a"}],
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = {
        "scenes": (scene, ("train", "test", "test_unseen_drawing")),
        "sounds": (sound, ("train", "test_names")),
        "clips": (clip, ("train", "train_silent", "test", "test_one_side")),
    }
    for name, (make, files) in made.items():
        (tmp_path / name).mkdir()
        for file in files:
            lines = (json.dumps(make(place)) for place in range(12))
            (tmp_path / name / f"{file}.jsonl").write_text("\n".join(lines) + "\n")
    return tmp_path


def rows(folder: Path, name: str) -> list[dict[str, Any]]:
    return [
        json.loads(line) for line in (folder / "tasks" / f"{name}.jsonl").read_text().splitlines()
    ]


def test_every_row_is_true(folder: Path) -> None:
    counts = write_task_rows(folder)
    assert counts["questions_train.jsonl"] == 12
    assert counts["questions_test.jsonl"] == 24
    names = {f"scenes/train/{place}.jpg": scene(place)["names"] for place in range(12)}
    for row in rows(folder, "questions_train"):
        there, (asked, answer) = names[row["image"]], (row["text"], row["answer"])
        if asked.startswith("is there"):
            named = asked.removeprefix("is there a ").rstrip("?")
            assert (answer == "yes") == (named in there)
        elif asked.startswith("how many"):
            assert answer == str(len(there))
        else:
            assert (asked, answer) == ("what colour is the cat?", "red")
    for row in rows(folder, "phrases_train"):
        name = row["text"].removeprefix("the ")
        assert names[row["image"]].count(name) == 1
        assert row["box"][0] == 10 * names[row["image"]].index(name)
    pairs = rows(folder, "pairs_train")
    for row in pairs:
        name = row["text"].removeprefix("there is a ").removesuffix(" in both pictures")
        both = all(name in names[row[one]] for one in ("image", "image_2"))
        assert row["label"] == str(both).lower()
    assert sum(row["label"] == "true" for row in pairs) == len(pairs) / 2


def test_sounds_and_clips(folder: Path) -> None:
    write_task_rows(folder)
    for row in rows(folder, "sounds_test"):
        assert row["choices"][row["choice"]] == row["label"]
        assert len(set(row["choices"])) == 4
    assert {row["label"] for row in rows(folder, "actions_train")} == {"left"}
    assert len(rows(folder, "actions_train")) == 8


def test_the_same_again_and_what_is_missing(folder: Path) -> None:
    first = write_task_rows(folder), rows(folder, "pairs_test")
    assert (write_task_rows(folder), rows(folder, "pairs_test")) == first
    (folder / "sounds" / "test_names.jsonl").unlink()
    with pytest.raises(DataError, match="test_names.jsonl"):
        write_task_rows(folder)
