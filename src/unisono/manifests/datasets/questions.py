"""Questions about pictures: VQAv2 (visualqa.org) and NLVR2 (arXiv 1811.00491)."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unisono.errors import BadRowError, DataError
from unisono.manifests.datasets.records import Records, filled, inside, read_json, read_lines
from unisono.manifests.row import PairRow

Record = Mapping[str, Any]


def open_vqa(path: Path, *, media: Path | None = None, annotations: str | None = None) -> Records:
    """VQAv2: a row a question, with fields "answers" (of ten people), "label", "question_id".

    Questions without annotations (the test set) have neither answers nor label.

    Args:
        path: `v2_OpenEnded_mscoco_train2014_questions.json`.
        media: folder with `COCO_train2014_000000000009.jpg`, or with a folder `train2014` of
            them; by default the file's.
        annotations: the file of the answers, beside the questions; by default
            `v2_mscoco_train2014_annotations.json`, if it is there.

    Raises:
        DataError: a file is not of this form.
    """
    found = read_json(path, "questions")
    split = str(found.get("data_subtype") or _split(path))
    file = _annotation_file(path, annotations)
    answered = {} if file is None else _annotations(file)
    folder = media or path.parent
    # "test-dev2015" asks about pictures of "test2015".
    pictures = split.replace("-dev", "")
    folder = folder / pictures if (folder / pictures).is_dir() else folder

    def make(question: Record, name: str) -> PairRow:
        image = inside(folder, f"COCO_{pictures}_{int(question['image_id']):012d}.jpg")
        text, number = filled(question, "question"), question["question_id"]
        fields: dict[str, Any] = {"question_id": number, "image_id": question["image_id"]}
        if file is not None:
            fields |= _answer_fields(answered.get(number), number)
        return PairRow(name, text=text, image=image, fields=fields)

    listed = enumerate(found["questions"])
    records = [(f"{path.name}:questions[{place}]", one) for place, one in listed]
    return Records(records, make, files=[path] if file is None else [path, file])


def open_nlvr2(path: Path, *, media: Path | None = None) -> Records:
    """NLVR2: a row a sentence, with fields "image_2" and "label" ("true" or "false").

    Args:
        path: `train.json`, `dev.json`, …: an object a line.
        media: folder of `train-10171-0-img0.png`; or of `images/train/5/` and `dev/`, as they are
            published; by default the file's.

    Raises:
        DataError: the file cannot be read.
    """
    folder = media or path.parent

    def make(line: str, name: str) -> PairRow:
        said = json.loads(line)
        if not isinstance(said, dict):
            raise BadRowError(f"it must be an object, but is {type(said).__name__} instead")
        stem = filled(said, "identifier").rpartition("-")[0]
        below = _nlvr2_folder(folder, stem, said.get("directory"))
        first, second = (inside(below, f"{stem}-img{place}.png") for place in (0, 1))
        fields: dict[str, Any] = {"image_2": second, "identifier": said["identifier"]}
        if "label" in said:
            fields["label"] = _truth(said["label"])
        return PairRow(name, text=filled(said, "sentence"), image=first, fields=fields)

    return Records(read_lines(path), make, files=[path])


def _annotation_file(path: Path, name: str | None) -> Path | None:
    if name is not None:
        return path.parent / name
    usual = path.name.replace("OpenEnded_", "").replace("_questions", "_annotations")
    file = path.parent / usual
    return file if file != path and file.is_file() else None


def _annotations(file: Path) -> dict[Any, Record]:
    found = read_json(file, "annotations")["annotations"]
    return {one["question_id"]: one for one in found if isinstance(one, dict) and _has_id(one)}


def _has_id(one: Record) -> bool:
    return "question_id" in one


def _answer_fields(found: Record | None, question: object) -> dict[str, Any]:
    if found is None:
        raise BadRowError(f"question {question!r} has no annotation")
    answers = [str(one["answer"]) for one in found["answers"]]
    if not answers:
        raise BadRowError(f"question {question!r} has no answers")
    return {
        "answers": answers,
        "label": str(found["multiple_choice_answer"]),
        "question_type": found.get("question_type"),
        "answer_type": found.get("answer_type"),
    }


def _split(path: Path) -> str:
    """train2014 of v2_OpenEnded_mscoco_train2014_questions.json."""
    parts = path.stem.split("_")
    if len(parts) < 2:
        raise DataError(f"'{path}' names no split, and has no data_subtype")
    return parts[-2]


def _nlvr2_folder(folder: Path, stem: str, directory: object) -> Path:
    """Training pictures lie in numbered folders, others in that of their split."""
    split = stem.partition("-")[0]
    published = folder / "images" / split / str(directory)
    for place in (published, folder / split):
        if place.is_dir():
            return place
    return folder


def _truth(value: object) -> str:
    said = str(value).strip().lower()
    if said not in ("true", "false"):
        raise BadRowError(f"label must be True or False, but is {value!r:.80} instead")
    return said
