"""Kinetics and its like: videos with one action each, in the two forms that lists of them have."""

from collections.abc import Mapping
from pathlib import Path

from unisono.errors import BadRowError, DataError
from unisono.manifests.datasets.records import (
    Records,
    filled,
    first_file,
    inside,
    read_lines,
    read_table,
)
from unisono.manifests.row import PairRow

_ENDINGS = ("mp4", "mkv", "webm", "avi")


def open_kinetics(
    path: Path, *, media: Path | None = None, split: str | None = None, classes: str | None = None
) -> Records:
    """A row a video, with field "label".

    Args:
        path: `train.csv` as published (label,youtube_id,time_start,time_end,split), or a list of
            lines "path number", as mmaction has them.
        media: folder of the videos; those of a CSV are called `{id}_{start:06d}_{end:06d}`, in
            it or in folders called as the labels. By default the file's.
        split: of a CSV, "train", "validate" or "test"; None for all lines.
        classes: for a list, a file of names, one a line, beside it; without, labels are numbers.

    Raises:
        DataError: a file is not of this form.
    """
    folder = media or path.parent
    if path.suffix.lower() == ".csv":
        return _published(path, folder, split)
    return _listed(path, folder, None if classes is None else path.parent / classes)


def _published(path: Path, folder: Path, split: str | None) -> Records:
    def make(line: Mapping[str, str], name: str) -> PairRow:
        label, video = filled(line, "label"), filled(line, "youtube_id")
        start, end = (int(float(line[column])) for column in ("time_start", "time_end"))
        stem = f"{video}_{start:06d}_{end:06d}"
        below = (label, label.replace(" ", "_"), ".")
        names = [f"{one}/{stem}.{ending}" for one in below for ending in _ENDINGS]
        clip, fields = first_file(folder, names), {"label": label, "youtube_id": video}
        return PairRow(name, text=label, video=clip, fields=fields)

    lines = read_table(path, "label", "youtube_id", "time_start", "time_end", "split")
    chosen = [one for one in lines if split is None or one[1]["split"] == split]
    classes = sorted({line["label"].strip() for _, line in lines if line["label"]})
    return Records(chosen, make, files=[path], classes=classes)


def _listed(path: Path, folder: Path, names: Path | None) -> Records:
    classes = None if names is None else [line.strip() for _, line in read_lines(names)]

    def make(line: str, name: str) -> PairRow:
        # A path may have spaces in it, a number has none.
        file, _, number = line.strip().rpartition(" ")
        if not file or not number.isdigit():
            raise BadRowError(f"it must be a path and a number, but is {line!r:.80} instead")
        if classes is not None and int(number) >= len(classes):
            raise BadRowError(f"class {number} is not among the {len(classes)} of '{names}'")
        label = number if classes is None else classes[int(number)]
        return PairRow(name, text=label, video=inside(folder, file), fields={"label": label})

    return Records(read_lines(path), make, files=[path], classes=classes)


def open_class_folders(path: Path, *, media: Path | None = None) -> Records:
    """A folder a class, as ImageNet has it: pictures, sounds and videos, with field "label".

    Args:
        path: the folder of folders.
        media: not used; the files are where they are.

    Raises:
        DataError: there are no folders with files.
    """
    endings = {ending: kind for kind, own in _KINDS.items() for ending in own}
    try:
        folders = sorted(one for one in (media or path).iterdir() if one.is_dir())
    except OSError as error:
        raise DataError(f"'{path}' cannot be read: {error.strerror}") from None
    records = [
        (f"{folder.name}/{file.name}", (file, endings[file.suffix.lower()]))
        for folder in folders
        for file in sorted(folder.iterdir())
        if file.suffix.lower() in endings
    ]

    def make(record: tuple[Path, str], name: str) -> PairRow:
        file, kind = record
        label = file.parent.name.replace("_", " ")
        return PairRow(name, text=label, fields={"label": label}, **{kind: str(file)})

    classes = [folder.name.replace("_", " ") for folder in folders]
    return Records(records, make, files=folders or [path], classes=classes)


_KINDS = {
    "image": (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif", ".tif", ".tiff"),
    "audio": (".wav", ".flac", ".mp3", ".ogg", ".opus", ".m4a"),
    "video": (".mp4", ".webm", ".mkv", ".mov", ".avi"),
}
