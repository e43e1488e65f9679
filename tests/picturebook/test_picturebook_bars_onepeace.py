"""The bars of retrieval, on small made-up data and models whose scores are known."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from one_thread import one_thread  # noqa: F401 -- a fixture
from PIL import Image

from unisono.errors import DataError
from unisono.manifests import PairRow, write_manifest
from unisono.media import load_audio, load_image
from unisono.picturebook import bars, bars_onepeace
from unisono.picturebook.bars_report import Finding
from unisono.speech import wav_bytes

THINGS = 150
SOUNDS = 8


class Oracle:
    """Knows thing 17 by its name, its grey (17) and its sound (117 hundredths of a second).

    Args:
        sees, hears: which thing it takes a picture or a sound for.
    """

    def __init__(self, sees: Callable[[int], int] = int, hears: Callable[[int], int] = int) -> None:
        self.sees, self.hears = sees, hears
        self.batches: list[int] = []

    def embed(self, *, batch_size: int = 16, **sources: Any) -> np.ndarray:
        self.batches.append(batch_size)
        ((kind, listed),) = sources.items()
        found = [getattr(self, f"_{kind}")(source) for source in listed]
        return np.eye(THINGS, dtype=np.float32)[found]

    def _text(self, source: str) -> int:
        return int(source.rsplit(maxsplit=1)[-1])

    def _image(self, source: Any) -> int:
        picture = np.asarray(load_image(source))
        return self.sees(int(picture[picture.shape[0] // 2, picture.shape[1] // 2, 0]))

    def _audio(self, source: Any) -> int:
        return self.hears(round(len(load_audio(source)) / 160) - 100)


def painted(path: Path, thing: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGBA", (20, 20), (thing, thing, thing, 255)).save(path)
    return path


def sounding(path: Path, thing: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(wav_bytes(np.zeros((100 + thing) * 160, np.float32), 16_000))
    return path


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("picturebook")
    _pictures(folder / "pictures")
    _sounds(folder / "sounds")
    _spoken(folder)
    return folder


def _pictures(folder: Path) -> None:
    for name in ("test_unseen_drawing", "test_unseen_concept"):
        rows = []
        for thing in range(THINGS):
            hand = "tuxpaint" if thing % 10 else "noto"
            path = painted(folder / name / f"{thing}.png", thing)
            fields = {"hand": hand, "language": "en", "concept": f"thing {thing}"}
            rows.append(PairRow(str(thing), text=f"thing {thing}", image=path, fields=fields))
        other = {**rows[0].fields, "language": "fr"}
        rows.append(PairRow("fr", text="chose 0", image=rows[0].image, fields=other))
        write_manifest(rows, folder / f"{name}.jsonl")


def _sounds(folder: Path) -> None:
    rows = []
    for thing in range(SOUNDS):
        for cut in range(1 + thing):
            path = sounding(folder / "test" / f"{thing}-{cut}.wav", thing)
            kind = "animal" if thing < 2 else "instrument"
            fields = {"name": f"thing {thing}", "kind": kind, "source": f"of {thing}"}
            rows.append(PairRow(path.stem, text=f"a thing {thing}", audio=path, fields=fields))
    write_manifest(rows, folder / "test_names.jsonl")


def _spoken(folder: Path) -> None:
    lines, rows = [], []
    for thing in range(THINGS):
        painted(folder / "drawings" / f"drawn-{thing}.png", thing)
        line = {"name": f"drawn-{thing}", "concept": f"thing {thing}", "hand": "noto", "group": ""}
        line |= {"split": "train", "captions": {}, "keywords": [], "photograph": False}
        lines.append(json.dumps(line) + "\n")
        path = sounding(folder / "spoken_names" / "test" / f"{thing}.wav", thing)
        fields = {"concept": f"thing {thing}", "drawing": f"drawn-{thing}"}
        rows.append(PairRow(path.stem, text=f"thing {thing}", audio=path, fields=fields))
    (folder / "drawings" / "drawings.jsonl").write_text("".join(lines))
    write_manifest(rows, folder / "spoken_names" / "test_names.jsonl")


def values(findings: list[Finding]) -> list[float]:
    return [one.score.value for one in findings if one.score is not None]


def test_a_model_that_knows_everything_passes(data: Path) -> None:
    model = Oracle()
    found = bars_onepeace.pictures(data, model)
    assert values(found) == [1, 1, 1]
    assert [one.verdict for one in found] == ["passed"] * 3
    assert [len(one.score or ()) for one in found] == [THINGS, THINGS, THINGS * 9 // 10]
    assert "among all 150" in found[1].what
    assert set(model.batches) == {64}


def test_a_model_that_mistakes_every_picture_misses(data: Path) -> None:
    found = bars_onepeace.pictures(data, Oracle(sees=lambda thing: (thing + 1) % THINGS))
    assert max(values(found)) < 0.05
    assert [one.verdict for one in found] == ["missed"] * 3
    assert found[0].missed_by == pytest.approx(0.6, abs=0.05)


def test_half_of_the_pictures_known(data: Path) -> None:
    # The others look like the next one, which is known, so that one has a wrong one beside it.
    found = bars_onepeace.pictures(data, Oracle(sees=lambda thing: thing | 1))
    # Ties are broken by lot: of the odd ones half are first; the even ones look like nothing.
    assert found[1].score is not None
    assert found[1].score.value == pytest.approx(0.25 + 0.5 / THINGS)
    ends = found[1].interval
    assert ends is not None
    assert 0.19 < ends.low < 0.25 < ends.high < 0.31


@pytest.mark.parametrize(("size", "k"), [(20, 1), (20, 5), (60, 5), (100, 100)])
def test_recall_in_a_smaller_gallery_is_the_mean_over_all_of_them(size: int, k: int) -> None:
    random = np.random.default_rng(0)
    texts = random.normal(size=(80, 8)).astype(np.float32)
    images = (texts + random.normal(size=(80, 8))).astype(np.float32)
    said = [str(place // 2) for place in range(80)]
    score = bars_onepeace.recall_among(texts, images, said, size=size, k=k)
    assert len(score) == 40
    drawn = np.mean([_recall_of_one_draw(texts, images, random, size, k) for _ in range(150)])
    assert score.value == pytest.approx(drawn, abs=0.02)


def _recall_of_one_draw(
    texts: np.ndarray, images: np.ndarray, random: np.random.Generator, size: int, k: int
) -> float:
    hits = []
    for place in range(80):
        others = [one for one in range(80) if one // 2 != place // 2]
        chosen = random.choice(others, min(size - 1, len(others)), replace=False)
        ahead = np.sum(images[chosen] @ texts[place] >= images[place] @ texts[place])
        hits.append(ahead < k)
    return float(np.mean(hits))


def test_random_vectors_find_what_chance_does() -> None:
    random = np.random.default_rng(1)
    texts, images = random.normal(size=(2, 400, 16)).astype(np.float32)
    said = [str(place) for place in range(400)]
    assert bars_onepeace.recall_among(texts, images, said, size=120, k=5).value == pytest.approx(
        5 / 120, abs=0.02
    )
    assert bars_onepeace.recall_of_captions(texts, images, said, k=4).value == pytest.approx(
        0.01, abs=0.015
    )


def test_two_pictures_of_one_caption_are_both_right() -> None:
    vectors = np.eye(4, dtype=np.float32)
    score = bars_onepeace.recall_of_captions(vectors, vectors[[1, 0, 2, 3]], "aabc", k=1)
    assert score.names == ("a", "b", "c")
    assert score.value == 1.0


def test_sounds_are_named_and_their_cuts_counted_as_one(data: Path) -> None:
    (known, animals, instruments) = bars_onepeace.sounds(data, Oracle())
    assert known.what == "sound → name among 8: right"
    assert known.verdict == "passed"
    assert known.score is not None
    assert len(known.score) == SOUNDS
    assert (animals.what, instruments.what) == ("– animal", "– instrument")
    # Thing 0 has one cut and thing 1 two; they are taken for each other.
    mixed = Oracle(hears=lambda thing: 1 - thing if thing < 2 else thing)
    found = bars_onepeace.sounds(data, mixed)
    assert values(found) == [33 / 36, 0.0, 1.0]
    wrong = bars_onepeace.sounds(data, Oracle(hears=lambda thing: (thing + 1) % SOUNDS))
    assert wrong[0].verdict == "missed"
    assert wrong[0].missed_by == 0.5


def test_spoken_names_are_held_against_chance(data: Path) -> None:
    (known,) = bars_onepeace.spoken_names(data, Oracle())
    assert known.bar is not None
    assert known.bar.limit == pytest.approx(10 / THINGS)
    assert known.verdict == "passed"
    assert known.p_value is not None
    assert known.p_value < 1e-100
    (chance,) = bars_onepeace.spoken_names(data, Oracle(hears=lambda _: 0))
    assert chance.score is not None
    assert chance.score.value == pytest.approx(1 / THINGS)
    assert chance.p_value == pytest.approx(1 - (1 - 1 / THINGS) ** THINGS)
    assert chance.verdict == "missed"


def test_a_drawing_that_is_gone_is_named(data: Path, tmp_path: Path) -> None:
    (tmp_path / "drawings").mkdir()
    lines = (data / "drawings" / "drawings.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "drawings" / "drawings.jsonl").write_text("".join(lines[1:]))
    (tmp_path / "spoken_names").symlink_to(data / "spoken_names")
    with pytest.raises(DataError, match="no drawing is called 'drawn-0'"):
        bars_onepeace.spoken_names(tmp_path, Oracle())


def test_the_command_prints_a_table_and_writes_json(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    named = []
    monkeypatch.setattr(bars, "load_embedder", lambda name: named.append(name) or Oracle())
    out = tmp_path / "bars.json"
    command = [str(data), "--onepeace", "mine", "--json-out", str(out)]
    bars.main([*command, "--only", "picture", "emergent"])
    table = capsys.readouterr().out
    assert named == ["mine"]
    assert "Passed 4 of 4 bars." in table
    assert table.count("| passed |") == 4
    written = json.loads(out.read_text())
    assert (written["bars"], written["passed"]) == (4, 4)
    assert [one["group"] for one in written["findings"]] == ["picture"] * 3 + ["emergent"]
    assert all(one["seconds"] >= 0 for one in written["findings"])
    written["findings"][0] |= {"value": 0.1, "low": 0.05, "high": 0.2}
    out.write_text(json.dumps(written))
    with pytest.raises(SystemExit) as ended:
        bars.main([*command[:3], "--only", "picture", "--check", str(out)])
    assert ended.value.code == 1
    assert "was 0.1 [0.05, 0.2], is 1.0" in capsys.readouterr().out


def test_data_that_are_not_there_are_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bars, "load_embedder", lambda name: Oracle())
    bars.main([str(tmp_path), "--onepeace", "mine", "--only", "sound"])
    said = capsys.readouterr().out
    assert "not measured" in said
    assert "test_names.jsonl" in said


def test_the_command_wants_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        bars.main([str(tmp_path)])
    assert "name a model with --onepeace, --ola or --aligned" in capsys.readouterr().err
