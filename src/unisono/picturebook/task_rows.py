"""Rows for tasks over whole inputs, out of the picturebook's scenes, sounds and clips.

    python -m unisono.picturebook.task_rows DIR

DIR is the picturebook's folder. Writes `tasks/<task>_train.jsonl` and `_test.jsonl`; media lie
where the picturebook put them, so that DIR is the sources' `media`.
"""

import argparse
import json
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from unisono.errors import DataError

Row = dict[str, Any]
Record = Mapping[str, Any]

CHOICES = 4
PAIRS = {"train": 6000, "test": 800}
MOTIONS = ("up", "down", "left", "right", "circle", "grow", "shrink", "still")


def write_task_rows(folder: Path, *, seed: int = 0) -> dict[str, int]:
    """Write all of them.

    Args:
        folder: of a picturebook that was built.
        seed: of pairs and wrong choices.

    Returns:
        File -> how many rows it has.

    Raises:
        DataError: a step of the picturebook is missing.
    """
    (folder / "tasks").mkdir(exist_ok=True)
    counts = {}
    for name, make in _MAKERS.items():
        for split in ("train", "test"):
            rows = list(make(folder, split, random.Random(f"{seed} {name} {split}")))
            path = folder / "tasks" / f"{name}_{split}.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in rows))
            counts[path.name] = len(rows)
    return counts


def _questions(folder: Path, split: str, draws: random.Random) -> Iterator[Row]:
    """One question about each scene, so that rows are independent, with its answer."""
    scenes = list(_scenes(folder, split))
    known = sorted({name for scene in scenes for name in scene["names"]})
    for scene in scenes:
        text, answer = draws.choice(_askable(scene, known, draws))
        row = {"image": f"scenes/{_image(scene)}", "text": text}
        yield row | {"answer": answer, "answers": [answer]}


def _askable(scene: Record, known: list[str], draws: random.Random) -> list[tuple[str, str]]:
    """What is there, how many, of which colour: worded alike in training and test."""
    names = scene["names"]
    absent = draws.choice([name for name in known if name not in names])
    asked = [
        (f"is there a {draws.choice(names)}?", "yes"),
        (f"is there a {absent}?", "no"),
        ("how many things are there?", str(len(names))),
    ]
    for name, colour in zip(names, scene["colours"], strict=True):
        if colour is not None and names.count(name) == 1:
            asked.append((f"what colour is the {name}?", colour))
    return asked


def _phrases(folder: Path, split: str, draws: random.Random) -> Iterator[Row]:
    """One thing of each scene by its name, where only one has it, with its box."""
    for scene in _scenes(folder, split):
        names = scene["names"]
        alone = [place for place, name in enumerate(names) if names.count(name) == 1]
        if len(names) > 1 and alone:
            place = draws.choice(alone)
            row = {"image": f"scenes/{_image(scene)}", "text": f"the {names[place]}"}
            yield row | {"box": scene["boxes"][place]}


def _pairs(folder: Path, split: str, draws: random.Random) -> Iterator[Row]:
    """Sentences about what two scenes have in common, half of them true."""
    scenes = [(set(one["names"]), _image(one)) for one in _scenes(folder, split)]
    by_name: dict[str, list[int]] = {}
    for place, (names, _) in enumerate(scenes):
        for name in names:
            by_name.setdefault(name, []).append(place)
    common = sorted(name for name, places in by_name.items() if len(places) > 1)
    for number in range(PAIRS[split]):
        name = draws.choice(common)
        first, second = draws.sample(by_name[name], 2)
        if is_false := number % 2 == 1:
            second = _other(scenes, name, draws)
        images = [f"scenes/{scenes[place][1]}" for place in (first, second)]
        draws.shuffle(images)
        yield {
            "image": images[0],
            "image_2": images[1],
            "text": f"there is a {name} in both pictures",
            "label": str(not is_false).lower(),
        }


def _other(scenes: list[tuple[set[str], str]], name: str, draws: random.Random) -> int:
    while True:
        place = draws.randrange(len(scenes))
        if name not in scenes[place][0]:
            return place


def _sounds(folder: Path, split: str, draws: random.Random) -> Iterator[Row]:
    """Each sound with its class, its classes, and four names to choose from."""
    rows = list(_read(folder / "sounds", "train" if split == "train" else "test_names"))
    names = sorted({row["name"] for row in rows})
    for row in rows:
        wrong = draws.sample([name for name in names if name != row["name"]], CHOICES - 1)
        choices = [*wrong, row["name"]]
        draws.shuffle(choices)
        yield {
            "audio": f"sounds/{row['audio']}",
            "text": "What do you hear?",
            "label": row["name"],
            "labels": [row["name"], row["kind"]],
            "choices": choices,
            "choice": choices.index(row["name"]),
        }


def _actions(folder: Path, split: str, draws: random.Random) -> Iterator[Row]:
    """Clips of one thing that moves in one way."""
    files = ["train", "train_silent"] if split == "train" else ["test", "test_one_side"]
    for name in files:
        for clip in _read(folder / "clips", name):
            if len(clip["motions"]) == 1 and clip["motions"][0] in MOTIONS:
                yield {
                    "video": f"clips/{_media(clip, 'video')}",
                    "label": clip["motions"][0],
                    "heard": clip["heard"],
                }


_MAKERS: Mapping[str, Callable[[Path, str, random.Random], Iterable[Row]]] = {
    "questions": _questions,
    "phrases": _phrases,
    "pairs": _pairs,
    "sounds": _sounds,
    "actions": _actions,
}


def _scenes(folder: Path, split: str) -> Iterator[Record]:
    """Of a split; scenes of drawings never seen are tests too."""
    for name in ("train",) if split == "train" else ("test", "test_unseen_drawing"):
        yield from _read(folder / "scenes", name)


def _read(folder: Path, name: str) -> Iterator[Record]:
    path = folder / f"{name}.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise DataError(f"'{path}' cannot be read: {error.strerror}") from None
    yield from (json.loads(line) for line in lines if line.strip())


def _image(row: Record) -> str:
    return _media(row, "image")


def _media(row: Record, kind: str) -> str:
    return next(str(part[kind]) for part in row["messages"][0]["content"] if part.get(kind))


def main() -> None:
    """Of the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    print(json.dumps(write_task_rows(parser.parse_args().folder)))


if __name__ == "__main__":
    main()
