"""RefCOCO, RefCOCO+ and RefCOCOg as their authors publish them: phrases for objects of COCO.

refs(unc).p (a pickle of plain lists and dicts) and instances.json, in a folder; arXiv 1608.00272.
"""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn

from unisono.errors import BadRowError, DataError
from unisono.manifests.datasets.coco import box_of
from unisono.manifests.datasets.records import Records, inside, read_json
from unisono.manifests.row import PairRow

Record = Mapping[str, Any]


def open_refcoco(
    path: Path, *, media: Path | None = None, split: str = "train", by: str | None = None
) -> Records:
    """A row a phrase of a split, with fields "box" [x, y, width, height], "label" and ids.

    Args:
        path: the folder, or its `refs(….).p`.
        media: folder of COCO's train2014 pictures; by default `train2014` or `images` in the
            folder.
        split: "train", "val", "test", "testA", "testB".
        by: whose split, "unc", "google" or "umd"; by default the only one there.

    Raises:
        DataError: the files are missing, or not of this form.
    """
    file = path if path.is_file() else _refs_file(path, by)
    instances = file.parent / "instances.json"
    found = read_json(instances, "images", "annotations", "categories")
    objects = {one.get("id"): one for one in found["annotations"]}
    pictures = {one.get("id"): one.get("file_name") for one in found["images"]}
    names = {one.get("id"): str(one.get("name")) for one in found["categories"]}
    refs = _unpickled(file)
    folder = media or _picture_folder(file.parent)

    def make(record: tuple[Record, Record], name: str) -> PairRow:
        ref, sentence = record
        marked = objects.get(ref["ann_id"])
        if marked is None or pictures.get(ref["image_id"]) is None:
            raise BadRowError(f"object {ref['ann_id']!r} or its image is not in instances.json")
        text = str(sentence.get("sent") or sentence.get("raw") or "").strip()
        if not text:
            raise BadRowError("the phrase is empty")
        fields = {
            "box": box_of(marked["bbox"]),
            "label": names.get(ref.get("category_id"), ""),
            "mask": marked.get("segmentation") or None,
            "ref_id": ref.get("ref_id"),
            "image_id": ref["image_id"],
        }
        image = inside(folder, str(pictures[ref["image_id"]]))
        return PairRow(name, text=text, image=image, fields=fields)

    records = [
        (f"{file.name}:[{place}].{number}", (ref, sentence))
        for place, ref in enumerate(refs)
        if isinstance(ref, Mapping) and ref.get("split") == split
        for number, sentence in enumerate(ref.get("sentences") or ({},))
    ]
    if not records:
        known = sorted({str(ref.get("split")) for ref in refs if isinstance(ref, Mapping)})
        raise DataError(f"'{file}' has no split {split!r}, only {', '.join(known)}")
    return Records(records, make, files=[file, instances])


class _PlainUnpickler(pickle.Unpickler):
    """Lists, dicts, texts and numbers; nothing that would have to be imported."""

    def find_class(self, module_name: str, global_name: str) -> NoReturn:
        """Refuse.

        Raises:
            UnpicklingError: always.
        """
        raise pickle.UnpicklingError(f"{module_name}.{global_name} is no plain value")


def _unpickled(file: Path) -> list[Any]:
    try:
        with file.open("rb") as opened:
            # Written by Python 2, whose texts are bytes.
            refs = _PlainUnpickler(opened, encoding="utf-8").load()
    except OSError as error:
        raise DataError(f"'{file}' cannot be read: {error.strerror}") from None
    except Exception as error:  # whatever a torn or foreign pickle raises
        raise DataError(f"'{file}' is no pickle of plain values: {error}") from None
    if not isinstance(refs, list):
        raise DataError(f"'{file}' must be a list of refs, but is {type(refs).__name__} instead")
    return refs


def _refs_file(folder: Path, by: str | None) -> Path:
    found = sorted(folder.glob(f"refs({by or '*'}).p"))
    if len(found) != 1:
        names = ", ".join(one.name for one in found) or "none"
        raise DataError(f"'{folder}' must have one refs(…).p, or say `by` whose; it has {names}")
    return found[0]


def _picture_folder(folder: Path) -> Path:
    for name in ("train2014", "images"):
        if (folder / name).is_dir():
            return folder / name
    return folder
