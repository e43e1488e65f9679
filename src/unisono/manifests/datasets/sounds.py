"""Data sets of sounds: AudioCaps and Clotho (captions), ESC-50, FSD50K and VGGSound (classes).

AudioCaps and VGGSound publish times in videos of YouTube, not sounds; how those who download them
call the files differs, so several names are looked for.
"""

import csv
from collections.abc import Mapping
from pathlib import Path

from unisono.errors import BadRowError, DataError
from unisono.manifests.datasets.records import (
    Records,
    filled,
    first_file,
    inside,
    one_of,
    read_lines,
    read_table,
)
from unisono.manifests.row import PairRow

Line = Mapping[str, str]
_ENDINGS = ("wav", "flac", "mp3", "m4a", "ogg", "mp4", "webm", "mkv")
CLIP_S = 10


def open_audiocaps(path: Path, *, media: Path | None = None) -> Records:
    """AudioCaps (Kim et al. 2019): a row a caption, with fields "audiocap_id" and "youtube_id".

    Args:
        path: `train.csv`: audiocap_id,youtube_id,start_time,caption.
        media: folder of the sounds, by their youtube_id (alone, behind a Y, or with _start or
            _start_end) or audiocap_id; by default the file's.

    Raises:
        DataError: the file is not of this form.
    """
    folder = media or path.parent

    def make(line: Line, name: str) -> PairRow:
        video, number = filled(line, "youtube_id"), filled(line, "audiocap_id")
        start = int(float(filled(line, "start_time")))
        stems = [*_clip_stems(video, start), number]
        audio = first_file(folder, [f"{stem}.{end}" for stem in stems for end in _ENDINGS])
        fields = {"audiocap_id": number, "youtube_id": video}
        return PairRow(name, text=filled(line, "caption"), audio=audio, fields=fields)

    columns = ("audiocap_id", "youtube_id", "start_time", "caption")
    return Records(read_table(path, *columns), make, files=[path])


def open_clotho(path: Path, *, media: Path | None = None) -> Records:
    """Clotho (arXiv 1910.09387): a row a caption, five of each sound.

    Args:
        path: `clotho_captions_development.csv`: file_name,caption_1,…,caption_5.
        media: folder of the sounds; by default `development` and so on beside the file.

    Raises:
        DataError: the file is not of this form.
    """
    split = path.stem.rpartition("_")[2]
    beside = path.parent / split
    folder = media or (beside if beside.is_dir() else path.parent)

    def make(record: tuple[Line, str], name: str) -> PairRow:
        line, column = record
        file = filled(line, "file_name")
        text = filled(line, column)
        return PairRow(name, text=text, audio=inside(folder, file), fields={"file_name": file})

    lines = read_table(path, "file_name", "caption_1")
    columns = sorted(name for name in lines[0][1] if name and name.startswith("caption_"))
    records = [(f"{where}.{column}", (line, column)) for where, line in lines for column in columns]
    return Records(records, make, files=[path])


def open_esc50(path: Path, *, media: Path | None = None, folds: str = "1,2,3,4,5") -> Records:
    """ESC-50 (Piczak 2015): a row a sound, with fields "label" and "fold".

    Args:
        path: the folder, with `meta/esc50.csv` and `audio/`; or the CSV.
        media: folder of the sounds.
        folds: those wanted, with commas between; each in turn is what is tested on.

    Raises:
        DataError: the files are not of this form.
    """
    file = path if path.is_file() else path / "meta" / "esc50.csv"
    folder = media or file.parent.parent / "audio"
    wanted = {one_of(fold.strip(), "12345", "folds") for fold in folds.split(",")}

    def make(line: Line, name: str) -> PairRow:
        label = filled(line, "category").replace("_", " ")
        audio = inside(folder, filled(line, "filename"))
        fields = {"label": label, "fold": int(line["fold"])}
        return PairRow(name, text=label, audio=audio, fields=fields)

    lines = read_table(file, "filename", "fold", "target", "category")
    records = [one for one in lines if one[1]["fold"] in wanted]
    return Records(records, make, files=[file], classes=_esc50_classes(lines))


def open_fsd50k(path: Path, *, media: Path | None = None, split: str = "train") -> Records:
    """FSD50K (arXiv 2010.00475): a row a sound, with field "labels", any number of 200.

    Args:
        path: the folder, with `FSD50K.ground_truth/` and `FSD50K.dev_audio/`.
        media: folder of the split's sounds.
        split: "train" or "val" of the development set, "dev" for both, or "eval".

    Raises:
        DataError: the files are not of this form.
    """
    part = "eval" if one_of(split, ("train", "val", "dev", "eval"), "split") == "eval" else "dev"
    truth = path / "FSD50K.ground_truth"
    folder = media or path / f"FSD50K.{part}_audio"

    def make(line: Line, name: str) -> PairRow:
        labels = [_spoken(one) for one in filled(line, "labels").split(",")]
        audio = inside(folder, f"{filled(line, 'fname')}.wav")
        return PairRow(name, text=", ".join(labels), audio=audio, fields={"labels": labels})

    file, vocabulary = truth / f"{part}.csv", truth / "vocabulary.csv"
    lines = read_table(file, "fname", "labels")
    if split in ("train", "val"):
        lines = [one for one in lines if one[1].get("split") == split]
    known = [line.split(",") for _, line in read_lines(vocabulary)]  # index,name,mid
    if any(len(one) < 2 for one in known):
        raise DataError(f"'{vocabulary}' must have lines of index,name,mid")
    return Records(lines, make, files=[file], classes=[_spoken(one[1]) for one in known])


def open_vggsound(
    path: Path, *, media: Path | None = None, split: str = "train", kind: str = "audio"
) -> Records:
    """VGGSound (arXiv 2004.14368): a row a clip, with field "label".

    Args:
        path: `vggsound.csv`, without a header: YouTube id, start in seconds, label, split.
        media: folder of the clips, called `{id}_{start as 000030}` or as AudioCaps' are; by
            default the file's.
        split: "train" or "test".
        kind: "audio" for the clips' sound, "video" for both.

    Raises:
        DataError: the file is not of this form.
    """
    folder, split = media or path.parent, one_of(split, ("train", "test"), "split")
    kind = one_of(kind, ("audio", "video"), "kind")

    def make(line: list[str], name: str) -> PairRow:
        if len(line) != 4:
            raise BadRowError(f"it must have 4 columns, but has {len(line)} instead")
        video, start, label = line[0], int(float(line[1])), line[2].strip()
        names = [f"{stem}.{end}" for stem in _clip_stems(video, start) for end in _ENDINGS]
        clip = {kind: first_file(folder, names)}
        return PairRow(name, text=label, fields={"label": label, "youtube_id": video}, **clip)

    lines = [(where, next(csv.reader([line]))) for where, line in read_lines(path)]
    # A broken line is of no split; it is kept, to be named.
    records = [one for one in lines if len(one[1]) != 4 or one[1][3].strip() == split]
    classes = sorted({line[2].strip() for _, line in lines if len(line) == 4})
    return Records(records, make, files=[path], classes=classes)


def _clip_stems(video: str, start_s: int) -> list[str]:
    ends = start_s + CLIP_S
    spans = (f"_{start_s:06d}", f"_{start_s}", f"_{start_s}_{ends}", f"_{start_s:06d}_{ends:06d}")
    return [*(f"{video}{span}" for span in spans), video, f"Y{video}"]


def _spoken(label: str) -> str:
    """How a person says Acoustic_guitar."""
    return label.strip().replace("_", " ")


def _esc50_classes(lines: list[tuple[str, dict[str, str]]]) -> list[str]:
    pairs = {(line["target"], line["category"]) for _, line in lines if line["target"].isdigit()}
    return [name.replace("_", " ") for _, name in sorted(pairs, key=lambda pair: int(pair[0]))]
