"""COCO's JSON (cocodataset.org/#format-data): objects with boxes and masks, or captions.

{"images": [{"id", "file_name", "width", "height"}], "annotations": [{"image_id", …}],
 "categories": [{"id", "name"}]}

Pictures are looked for in `media`, by default in the folder the file's name speaks of
(`annotations/instances_val2017.json` -> `val2017/`), or beside it.
"""

from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from unisono.errors import BadRowError
from unisono.manifests.datasets.records import Records, inside, read_json
from unisono.manifests.row import PairRow

Record = Mapping[str, Any]


def open_coco_instances(path: Path, *, media: Path | None = None) -> Records:
    """A row a picture, with fields "objects", "image_id" and "size".

    An object is {"label", "box" [x, y, width, height], "mask", "area", "crowd", "category_id"}; a
    mask is what stands in the file (polygons, or run lengths {"size", "counts"}), or None.

    Args:
        path: `instances_….json`.
        media: folder of the pictures.

    Raises:
        DataError: the file is not of this form.
    """
    found = read_json(path, "images", "annotations", "categories")
    names = {one.get("id"): one.get("name") for one in _objects(found["categories"])}
    by_picture: dict[Any, list[Record]] = defaultdict(list)
    for annotation in _objects(found["annotations"]):
        by_picture[annotation.get("image_id")].append(annotation)
    folder = media or picture_folder(path)

    def make(picture: Record, name: str) -> PairRow:
        marked = by_picture.get(picture["id"], ())
        size = (int(picture["width"]), int(picture["height"]))
        return PairRow(
            name,
            image=inside(folder, str(picture["file_name"])),
            fields={
                "image_id": picture["id"],
                "size": size,
                "objects": [_object(one, names) for one in marked],
            },
        )

    records = _named(path, "images", found["images"])
    classes = [str(one.get("name")) for one in _objects(found["categories"])]
    return Records(records, make, files=[path], classes=classes)


def open_coco_captions(path: Path, *, media: Path | None = None) -> Records:
    """A row a caption, with field "image_id": `captions_….json`; see `open_coco_instances`."""
    found = read_json(path, "images", "annotations")
    files = {one.get("id"): one.get("file_name") for one in _objects(found["images"])}
    folder = media or picture_folder(path)

    def make(caption: Record, name: str) -> PairRow:
        picture = caption["image_id"]
        if files.get(picture) is None:
            raise BadRowError(f"there is no image {picture!r} in the file")
        text = str(caption["caption"]).strip()
        if not text:
            raise BadRowError("the caption is empty")
        image = inside(folder, str(files[picture]))
        return PairRow(name, text=text, image=image, fields={"image_id": picture})

    return Records(_named(path, "annotations", found["annotations"]), make, files=[path])


def picture_folder(path: Path) -> Path:
    """Where the pictures of `annotations/instances_val2017.json` are."""
    split = path.stem.rpartition("_")[2]
    for folder in (path.parent.parent / split, path.parent / split):
        if split and folder.is_dir():
            return folder
    return path.parent


def _object(annotation: Record, names: Mapping[Any, Any]) -> dict[str, Any]:
    category = annotation["category_id"]
    if names.get(category) is None:
        raise BadRowError(f"annotation {annotation.get('id')!r} is of no known category")
    return {
        "label": str(names[category]),
        "category_id": category,
        "box": box_of(annotation["bbox"]),
        "mask": annotation.get("segmentation") or None,
        "area": float(annotation.get("area", 0.0)),
        "crowd": bool(annotation.get("iscrowd", 0)),
    }


def box_of(value: Any) -> list[float]:
    """x, y, width, height.

    Raises:
        BadRowError: it is no box.
    """
    try:
        box = [float(one) for one in value]
    except (TypeError, ValueError):
        box = []
    if len(box) != 4 or not all(abs(one) < float("inf") for one in box) or min(box[2:]) <= 0:
        raise BadRowError(f"a box must be x, y, width, height, but is {value!r:.80} instead")
    return box


def _objects(values: list[Any]) -> list[Record]:
    return [one for one in values if isinstance(one, Mapping)]


def _named(path: Path, what: str, values: list[Any]) -> list[tuple[str, Record]]:
    return [(f"{path.name}:{what}[{place}]", one) for place, one in enumerate(values)]
