"""Files become clips; nothing gets lost, and nothing is done twice."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from deadly import Deadly
from films import film, tone

from unisono.curation.engines import CRASHED, InProcess, Processes
from unisono.curation.loudness import Silence
from unisono.curation.plan import Plan
from unisono.curation.records import Pack
from unisono.curation.runner import Curated, curate
from unisono.curation.split import Split
from unisono.curation.store import Store
from unisono.errors import DataError, MediaNotFoundError
from unisono.media import load_audio, load_image

SHORT = Split(shortest_s=2, longest_s=6)
PLAN = Plan(split=SHORT)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    film(folder / "two.mp4", [("red", 3), ("blue", 4)], tone(300, 7))
    film(folder / "long.mp4", [("green", 9)], tone(900, 9))
    film(folder / "blink.mp4", [("green", 1)], tone(900, 1))
    film(folder / "quiet.mp4", [("white", 3)], np.zeros(48_000, np.float32))
    film(folder / "wrong.txt", [("yellow", 3)], tone(300, 3))
    shutil.copy(folder / "two.mp4", folder / "copy.mp4")
    whole = (folder / "long.mp4").read_bytes()
    (folder / "cut.mp4").write_bytes(whole[: len(whole) // 2])
    (folder / "text.mp4").write_text("no video", encoding="utf-8")
    (folder / "nothing.mp4").touch()
    return folder


def reasons(made: Curated) -> dict[str, str]:
    return {Path(one.path).name: f"{one.stage}: {one.reason}" for one in made.rejections}


def files_of(folder: Path) -> dict[str, bytes]:
    """Everything a run has written that is not a picture."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".lock"
    }


def test_every_file_has_its_fate(videos: Path, tmp_path: Path) -> None:
    made = curate([videos], tmp_path / "out", PLAN)
    assert reasons(made) == {
        "two.mp4": "scan: same bytes as another file",
        "cut.mp4": "probe: cut short",
        "text.mp4": "probe: cannot be decoded",
        "nothing.mp4": "probe: empty",
        "blink.mp4": "split: too short",
        "quiet.mp4": "silence: silent",
    }
    cut = sorted((Path(c.path).name, c.clip.start_s, c.clip.end_s) for c in made.cases if c.clip)
    assert cut == [
        ("copy.mp4", 0, 3),
        ("copy.mp4", 3, 7),
        ("long.mp4", 0, pytest.approx(4.5, abs=1)),
        ("long.mp4", pytest.approx(4.5, abs=1), 9),
        ("wrong.txt", 0, 3),
    ]
    funnel = json.loads((tmp_path / "out" / "report" / "funnel.json").read_text("utf-8"))
    counts = {(s["stage"], s["kind"]): (s["entered"], s["left"]) for s in funnel["steps"]}
    assert counts["scan", "file"] == (9, 8)
    assert counts["probe", "file"] == (8, 5)
    assert counts["split", "file"] == (5, 4)
    assert counts["silence", "clip"] == (6, 5)
    page = (tmp_path / "out" / "report" / "samples.html").read_text("utf-8")
    assert page.count("<article") == 6
    assert "silence: silent" in page
    assert (tmp_path / "out" / "report" / "funnel.png").read_bytes().startswith(b"\x89PNG")


def test_a_pack_has_the_frames_and_the_sound(videos: Path, tmp_path: Path) -> None:
    made = curate([videos / "two.mp4"], tmp_path / "out", PLAN)
    store = Store(tmp_path / "out")
    blue = next(c.clip for c in made.cases if c.clip and c.clip.start_s == 3)
    frames = [load_image(frame) for frame in store.frames(blue)]
    assert len(frames) == 8  # two a second
    assert all(frame.getpixel((0, 60))[2] > 180 for frame in frames)
    sound = load_audio(store.sound(blue) or b"")
    assert len(sound) == pytest.approx(4 * 16_000, abs=2_000)
    assert np.abs(sound).max() == pytest.approx(0.3, abs=0.1)


def test_what_was_done_is_not_done_again(videos: Path, tmp_path: Path) -> None:
    media, out = tmp_path / "media", tmp_path / "out"
    shutil.copytree(videos, media)
    first = curate([media], out, PLAN)
    assert first.computed == 8 + 5 + 6
    assert curate([media], out, PLAN).computed == 0
    os.rename(media / "long.mp4", media / "other name.mp4")
    assert curate([media], out, PLAN).computed == 0
    louder = Plan(split=SHORT, describe=(Silence(least_db=-200),))
    again = curate([media], out, louder)
    assert again.computed == 6  # the clips alone; no video is opened
    assert "quiet.mp4" not in reasons(again)
    pack = next((out / "packs").rglob("*/*"))
    pack.write_bytes(b"torn")
    assert curate([media], out, PLAN).computed == 1


def test_an_outcome_that_is_torn_is_made_again(videos: Path, tmp_path: Path) -> None:
    curate([videos], tmp_path, PLAN)
    before = files_of(tmp_path)
    for path in (tmp_path / "work" / "silence").rglob("*.json"):
        path.write_bytes(path.read_bytes()[:-3])
    (tmp_path / "work" / "silence" / "left.json.12.part").touch()
    assert curate([videos], tmp_path, PLAN).computed == 6
    assert files_of(tmp_path) == before


def test_the_same_bytes_from_several_processes(videos: Path, tmp_path: Path) -> None:
    curate([videos], tmp_path / "one", PLAN, engine=InProcess())
    curate([videos], tmp_path / "two", PLAN, engine=Processes(2))
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_a_file_that_kills_its_reader_is_left_out(videos: Path, tmp_path: Path) -> None:
    plan = Plan(split=SHORT, describe=(Deadly(),))
    made = curate([videos / "wrong.txt", videos / "two.mp4"], tmp_path, plan, engine=Processes(1))
    assert reasons(made) == {"wrong.txt": f"silence: {CRASHED}"}
    assert len(made.cases) == 2


def test_what_cannot_be_begun(videos: Path, tmp_path: Path) -> None:
    with pytest.raises(MediaNotFoundError, match="does not exist"):
        curate([tmp_path / "gone"], tmp_path / "out", PLAN)
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="there are no files"):
        curate([tmp_path / "empty"], tmp_path / "out", PLAN)
    with (
        Store(tmp_path / "out").alone(),
        pytest.raises(DataError, match="another run is writing"),
    ):
        curate([videos], tmp_path / "out", PLAN)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="cannot be written"):
        curate([videos], tmp_path / "file", PLAN)


def test_packs_that_are_not_there(tmp_path: Path) -> None:
    assert not Store(tmp_path).has_pack(Pack("0" * 64, (3, 4), 5))
