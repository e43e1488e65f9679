"""The step "sounding": what is heard beside what is seen, for tests alone.

    test.jsonl   a sound of the step "sounds"' test, its name, and a drawing that no training had of
                 the thing that makes it; a row for each such drawing
    pictures/    these drawings, whole, on white
    sounds/      these sounds

No training pairs a sound with a picture: whoever finds one by the other has words between them.
A row has the fields `name`, `kind`, `source` (of the recording) and `drawing`.
"""

import shutil
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from unisono.manifests import PairRow, write_manifest
from unisono.picturebook.bars_onepeace import pair_rows
from unisono.picturebook.drawing import Drawing, read_drawings
from unisono.picturebook.spoken_names import show
from unisono.picturebook.step import Step

UNSEEN = "unseen_drawing"


def build(folder: Path, data: Path) -> None:
    """Fill the step's folder."""
    for name in ("pictures", "sounds"):
        (folder / name).mkdir()
    by_name: dict[str, list[Drawing]] = defaultdict(list)
    for drawing in read_drawings(data):
        if drawing.split == UNSEEN:
            by_name[drawing.concept].append(drawing)
    sounds = pair_rows(data / "sounds" / "test_names.jsonl")
    write_manifest(_rows(sounds, by_name, folder), folder / "test.jsonl")


def _rows(
    sounds: Sequence[PairRow], by_name: Mapping[str, Sequence[Drawing]], folder: Path
) -> Iterator[PairRow]:
    for row in sounds:
        heard = folder / "sounds" / Path(str(row.audio)).name
        for drawing in by_name.get(str(row.fields["name"]), ()):
            path = folder / "pictures" / f"{drawing.name}.png"
            if not path.exists():
                show(drawing, folder / "pictures")
            if not heard.exists():
                shutil.copy(str(row.audio), heard)
            kept = {key: row.fields[key] for key in ("name", "kind", "source")}
            fields = {**kept, "drawing": drawing.name}
            yield PairRow(row.name, text=row.text, audio=heard, image=path, fields=fields)


STEP = Step("sounding", 1, ("drawings", "sounds"), build)
