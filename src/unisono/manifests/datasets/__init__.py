"""Data sets in the layout they are published in, read as they are.

A row is a `PairRow`; what a task learns stands in its fields, under the same names everywhere:

label           the class, as a text
labels          all classes, where there may be several
answers         what each of several people answered to `text`
choices, choice texts to choose from, and the place of the right one
image_2         the second picture of a pair
box             what `text` means in the image: x, y, width, height in its pixels, as COCO has it
segmentation    path of a picture whose values are classes
objects         {"label", "box", "mask", "area", "crowd"} of everything in the image
"""

import os
from collections.abc import Callable, Mapping
from pathlib import Path

from unisono.errors import DataError
from unisono.manifests.datasets.ade20k import open_ade20k
from unisono.manifests.datasets.clips import open_class_folders, open_kinetics
from unisono.manifests.datasets.coco import open_coco_captions, open_coco_instances
from unisono.manifests.datasets.questions import open_nlvr2, open_vqa
from unisono.manifests.datasets.records import Records
from unisono.manifests.datasets.refcoco import open_refcoco
from unisono.manifests.datasets.sounds import (
    open_audiocaps,
    open_clotho,
    open_esc50,
    open_fsd50k,
    open_vggsound,
)

FORMATS: Mapping[str, Callable[..., Records]] = {
    "ade20k": open_ade20k,
    "audiocaps": open_audiocaps,
    "class_folders": open_class_folders,
    "clotho": open_clotho,
    "coco_captions": open_coco_captions,
    "coco_instances": open_coco_instances,
    "esc50": open_esc50,
    "fsd50k": open_fsd50k,
    "kinetics": open_kinetics,
    "nlvr2": open_nlvr2,
    "refcoco": open_refcoco,
    "vggsound": open_vggsound,
    "vqa": open_vqa,
}
"""What is read, by the name a recipe gives it."""


def open_dataset(
    format: str,
    path: str | os.PathLike[str],
    *,
    media: str | os.PathLike[str] | None = None,
    **options: str,
) -> Records:
    """Open a data set in its published layout.

    Args:
        format: one of `FORMATS`.
        path: its folder or index file, as the format's function says.
        media: folder of the media, where they lie elsewhere.
        **options: the format's own, as `split`.

    Raises:
        DataError: there is no such format or option, a file is missing, or not of the format.
    """
    reader = FORMATS.get(format)
    if reader is None:
        raise DataError(f"format must be one of {', '.join(FORMATS)}, but is {format!r} instead")
    known = set(reader.__annotations__) - {"path", "media", "return"}
    if unknown := sorted(set(options) - known):
        raise DataError(
            f"format {format} has the options {', '.join(sorted(known)) or 'none'}, but "
            f"{', '.join(unknown)} is given"
        )
    if not Path(path).exists():
        raise DataError(f"there is no '{path}'")
    return reader(Path(path), media=None if media is None else Path(media), **options)


__all__ = ["FORMATS", "Records", "open_dataset"]
