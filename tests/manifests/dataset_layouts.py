"""Small data sets in their published layouts, as tests write them; media are empty files."""

import csv
import json
import pickle
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

BOX = [10.0, 20.0, 30.0, 40.0]
POLYGON = [[10.0, 20.0, 40.0, 20.0, 40.0, 60.0, 10.0, 60.0]]


def empty(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def said(path: Path, value: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def table(path: Path, header: Sequence[str], lines: Iterable[Sequence[object]]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([*([header] if header else []), *lines])
    return path


def ade20k(folder: Path) -> Path:
    for name, split in (("ADE_train_00000001", "training"), ("ADE_train_00000002", "training")):
        empty(folder / f"images/{split}/{name}.jpg")
        (folder / f"annotations/{split}").mkdir(parents=True, exist_ok=True)
        map_ = np.tile(np.arange(3, dtype=np.uint8), (4, 2))
        Image.fromarray(map_).save(folder / f"annotations/{split}/{name}.png")
    said(
        folder / "objectInfo150.txt",
        "Idx\tRatio\tTrain\tVal\tStuff\tName\n1\t0.1\t5\t1\t1\twall\n2\t0.1\t5\t1\t0\tdoor, gate\n",
    )
    said(folder / "sceneCategories.txt", "ADE_train_00000001 airport_terminal\n")
    return folder


def coco(folder: Path) -> Path:
    images = [
        {"id": 9, "file_name": "000000000009.jpg", "width": 100, "height": 80},
        {"id": 25, "file_name": "000000000025.jpg", "width": 100, "height": 80},
    ]
    runs = {"size": [80, 100], "counts": [10, 5, 7985]}
    annotations = [
        {"id": 1, "image_id": 9, "category_id": 18, "bbox": BOX, "segmentation": POLYGON}
        | {"area": 1200.0, "iscrowd": 0},
        {"id": 2, "image_id": 9, "category_id": 1, "bbox": BOX, "segmentation": runs}
        | {"area": 5.0, "iscrowd": 1},
    ]
    categories = [{"id": 1, "name": "person"}, {"id": 18, "name": "dog"}]
    (folder / "val2017").mkdir(parents=True)
    return said(
        folder / "annotations/instances_val2017.json",
        {"images": images, "annotations": annotations, "categories": categories},
    )


def coco_captions(folder: Path) -> Path:
    images = [{"id": 9, "file_name": "000000000009.jpg"}]
    captions = [
        {"id": 1, "image_id": 9, "caption": " A dog. "},
        {"id": 2, "image_id": 9, "caption": "A brown dog runs."},
    ]
    return said(
        folder / "annotations/captions_val2017.json", {"images": images, "annotations": captions}
    )


def refcoco(folder: Path, by: str = "unc") -> Path:
    name = "COCO_train2014_000000000009.jpg"
    empty(folder / "train2014" / name)
    said(
        folder / "instances.json",
        {
            "images": [{"id": 9, "file_name": name}],
            "annotations": [{"id": 7, "image_id": 9, "category_id": 18, "bbox": BOX}],
            "categories": [{"id": 18, "name": "dog"}],
        },
    )
    ref = {"image_id": 9, "ann_id": 7, "ref_id": 3, "category_id": 18, "split": "train"}
    sentences = [{"sent": "the brown dog", "raw": "The brown dog."}, {"sent": "left animal"}]
    test = {**ref, "split": "testA", "sentences": [{"sent": "dog"}]}
    # Protocol 0, as Python 2 wrote it.
    refs = pickle.dumps([{**ref, "sentences": sentences}, test], protocol=0)
    (folder / f"refs({by}).p").write_bytes(refs)
    return folder


def vqa(folder: Path) -> Path:
    asked = [
        {"image_id": 9, "question": "What animal is it?", "question_id": 9000},
        {"image_id": 25, "question": "How many?", "question_id": 25000},
    ]
    answers = [{"answer": "dog", "answer_id": i} for i in range(1, 8)]
    answers += [{"answer": "puppy", "answer_id": i} for i in range(8, 11)]
    annotation = {"question_id": 9000, "image_id": 9, "question_type": "what animal"}
    annotation |= {"answer_type": "other", "multiple_choice_answer": "dog", "answers": answers}
    said(folder / "v2_mscoco_train2014_annotations.json", {"annotations": [annotation]})
    (folder / "train2014").mkdir()
    return said(
        folder / "v2_OpenEnded_mscoco_train2014_questions.json",
        {"data_subtype": "train2014", "questions": asked},
    )


def nlvr2(folder: Path) -> Path:
    line = {"identifier": "train-10171-0-0", "sentence": "There are two dogs.", "directory": 5}
    (folder / "images/train/5").mkdir(parents=True)
    lines = [line | {"label": "True"}, line | {"label": "maybe"}, line]
    return said(folder / "train.json", "".join(json.dumps(one) + "\n" for one in lines))


def audiocaps(folder: Path) -> Path:
    empty(folder / "sounds/Y7fmOlUlwoNg.wav")
    empty(folder / "sounds/-6ptr_mx_0Y_30_40.flac")
    header = ("audiocap_id", "youtube_id", "start_time", "caption")
    lines = [
        (91139, "7fmOlUlwoNg", 20, "Constant rattling, then a bell"),
        (58146, "-6ptr_mx_0Y", 30, "A dog barks"),
        (1, "aaaaaaaaaaa", 0, "Gone from the web"),
        (2, "7fmOlUlwoNg", "soon", "A time that is none"),
    ]
    return table(folder / "train.csv", header, lines)


def clotho(folder: Path) -> Path:
    (folder / "development").mkdir()
    header = ("file_name", *(f"caption_{i}" for i in range(1, 6)))
    lines = [("Distorted AM Radio noise.wav", *(f"Noise {i}." for i in range(1, 5)), "")]
    return table(folder / "clotho_captions_development.csv", header, lines)


def esc50(folder: Path) -> Path:
    header = ("filename", "fold", "target", "category", "esc10", "src_file", "take")
    lines = [
        ("1-100032-A-0.wav", 1, 0, "dog", "True", 100032, "A"),
        ("2-1-A-10.wav", 2, 10, "rain", "True", 1, "A"),
        ("2-2-A-2.wav", 2, 2, "washing_machine", "False", 2, "A"),
    ]
    table(folder / "meta/esc50.csv", header, lines)
    return folder


def fsd50k(folder: Path) -> Path:
    truth = folder / "FSD50K.ground_truth"
    lines = [
        (64760, "Electric_guitar,Guitar,Music", "/m/02sgy,/m/0342h,/m/04rlf", "train"),
        (16399, "", "", "train"),
        (7, "Guitar", "/m/0342h", "val"),
    ]
    table(truth / "dev.csv", ("fname", "labels", "mids", "split"), lines)
    table(truth / "eval.csv", ("fname", "labels", "mids"), [(9, "Music", "/m/04rlf")])
    known = [(0, "Electric_guitar", "a"), (1, "Guitar", "b"), (2, "Music", "c")]
    table(truth / "vocabulary.csv", (), known)
    return folder


def vggsound(folder: Path) -> Path:
    empty(folder / "clips/---g-f_I2yQ_000001.mp4")
    lines = [
        ("---g-f_I2yQ", 1, "people marching", "test"),
        ("--0PQM4-hqg", 30, "waterfall, burbling", "train"),
    ]
    path = table(folder / "vggsound.csv", (), lines)
    path.write_text(path.read_text() + "broken,1\n")
    return path


def kinetics(folder: Path) -> Path:
    empty(folder / "clips/abseiling/0347ZoDXyP0_000095_000105.mp4")
    header = ("label", "youtube_id", "time_start", "time_end", "split")
    lines = [
        ("abseiling", "0347ZoDXyP0", 95, 105, "train"),
        ("air drumming", "missing0000", 1, 11, "train"),
        ("archery", "xxxxxxxxxxx", 1, 11, "validate"),
    ]
    return table(folder / "train.csv", header, lines)
