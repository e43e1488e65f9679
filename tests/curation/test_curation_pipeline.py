"""From videos to conversations: each filter takes its own, and the data set is read again."""

import json
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import curation_fakes
import numpy as np
import pytest
from films import RATE_HZ, film, tone
from test_curation_runner import files_of, reasons

from unisono.conversation import AudioPart, VideoPart
from unisono.curation.export import Export
from unisono.curation.runner import Curated, curate
from unisono.manifests import ConversationRow, open_manifest
from unisono.media import load_audio, load_video

FORMS = {"ola": "*.json", "webdataset": "*.tar", "parquet": "*.parquet"}
FILMS = {
    "red": ("red", 300),
    "blue": ("blue", 350),
    "loop": ("green", 400),
    "german": ("red", 600),
    "noise": ("yellow", 700),
    "unrelated": ("yellow", 800),
    "whistle": ("white", 1500),
    "hum": ("white", 120),
}


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for number, (name, (colour, hz)) in enumerate(FILMS.items()):
        film(folder / f"{name}.mp4", [(colour, 4)], tone(hz, 4), number)
    ghost = np.concatenate([tone(500, 1), np.zeros(3 * RATE_HZ, np.float32)])
    film(folder / "ghost.mp4", [("green", 4)], ghost)
    # The same again, a little quieter: other bytes.
    film(folder / "red again.mp4", [("red", 4)], tone(300, 4, 0.25), 0)
    (folder / "broken.mp4").write_bytes((folder / "red.mp4").read_bytes()[:2000])
    return folder


@pytest.fixture(scope="module")
def made(videos: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Curated, Path]:
    out = tmp_path_factory.mktemp("out")
    forms = Export(("ola", "webdataset", "parquet"), {"train": 0.5, "test": 0.5})
    return curate([videos], out, curation_fakes.plan(write=(forms,))), out


def test_each_filter_takes_its_own(made: tuple[Curated, Path]) -> None:
    curated, _ = made
    found = {n: why for n, why in reasons(curated).items() if not why.startswith("questions")}
    (again,) = (name for name in found if "red" in name)
    assert found == {
        "broken.mp4": "probe: cut short",
        "loop.mp4": "repetition: repeats itself",
        "ghost.mp4": "subtitles: words on silence",
        "hum.mp4": "subtitles: neither words nor a known sound",
        "german.mp4": "language: other language",
        "noise.mp4": "perplexity: unlikely text",
        "unrelated.mp4": "relevance: words about something else",
        again: "duplicates: near-duplicate",
    }
    assert len(curated.cases) == 3


def test_questions_that_need_nothing_are_dropped(made: tuple[Curated, Path]) -> None:
    curated, _ = made
    said = {Path(case.path).stem.split()[0]: case for case in curated.cases}
    blue, red = said["blue"].questions, said["red"].questions
    assert blue is not None
    assert red is not None
    assert {one.form for one in red.kept} >= {"fits", "seen and said", "said", "last word", "seen"}
    assert {one.form for one in red.kept if one.group} == {"word"}  # yes is right of one alone
    (dropped,) = blue.dropped
    assert (dropped.question.form, dropped.reason) == ("last word", "answered without the media")
    questions = [step for step in curated.steps if step.kind == "question"]
    assert sum(questions[0].rejected.values()) == 1
    assert questions[0].left == sum(len(c.questions.kept) for c in curated.cases if c.questions)


@pytest.mark.parametrize("form", FORMS)
def test_the_data_set_is_read_again(made: tuple[Curated, Path], form: str) -> None:
    curated, out = made
    rows: dict[str, ConversationRow] = {}
    for path in sorted((out / "dataset" / form).glob(FORMS[form])):
        opened = open_manifest(path, streaming=form != "ola")
        streamed = opened.stream() if form != "ola" else (opened[i] for i in range(len(opened)))
        for row in streamed:
            assert isinstance(row, ConversationRow)
            rows[str(row.fields["id"])] = row
    assert len(rows) == len(curated.cases)
    for case in curated.cases:
        assert case.clip is not None
        assert case.questions is not None
        row = rows[case.clip.id]
        video = next(part for part in row.messages[0].parts if isinstance(part, VideoPart))
        audio = next(part for part in row.messages[0].parts if isinstance(part, AudioPart))
        assert len(load_video(video.video).frames) == len(case.clip.pack.frames)
        assert not video.use_audio
        assert len(load_audio(audio.audio)) == pytest.approx(4 * RATE_HZ, abs=2_000)
        answers = [m.parts[0].text for m in row.messages if m.role == "assistant"]
        assert answers == [one.answer for one in case.questions.kept]


def test_the_report_tells_everything(made: tuple[Curated, Path]) -> None:
    curated, out = made
    report = json.loads((out / "report" / "funnel.json").read_text("utf-8"))
    assert report["clips"] == 3
    assert sum(one["clips"] for one in report["splits"].values()) == 3
    assert report["settings"]["relevance"]["least"] == 0.6
    lines = (out / "report" / "rejected.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == len(curated.rejections)
    markdown = (out / "report" / "funnel.md").read_text("utf-8")
    assert "| relevance | clips | " in markdown
    assert "words about something else" in markdown
    assert "→" in (out / "report" / "samples.html").read_text("utf-8")


PROGRAM = """
import sys, time
sys.path[:0] = {path!r}
import curation_fakes
from unisono.curation import runner, store
put = store.Store._write
def slow(self, path, content):
    time.sleep(0.004)
    put(self, path, content)
    print(path.name, flush=True)
store.Store._write = slow
runner.curate([sys.argv[1]], sys.argv[2], curation_fakes.plan())
"""


@pytest.mark.slow
def test_kill_9_at_any_moment(videos: Path, tmp_path: Path) -> None:
    here = Path(__file__).parent
    program = PROGRAM.format(path=[str(here), str(here.parent)])
    command = [sys.executable, "-c", program, str(videos), str(tmp_path / "killed")]
    lots, written = random.Random(11), 0
    for _ in range(3):
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        assert process.stdout is not None
        for _ in range(lots.randrange(10, 40)):
            assert process.stdout.readline(), "it was over before it was killed"
        time.sleep(lots.random() / 100)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        process.stdout.close()
        now = len(list((tmp_path / "killed" / "work").rglob("*.json")))
        assert now > written, "what was done before was lost"
        written = now
    resumed = curate([videos], tmp_path / "killed", curation_fakes.plan())
    whole = curate([videos], tmp_path / "whole", curation_fakes.plan())
    assert 0 < resumed.computed < whole.computed
    assert files_of(tmp_path / "killed") == files_of(tmp_path / "whole")


@pytest.mark.slow
def test_ray_gives_the_same_bytes(
    videos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray")
    from unisono.curation.ray_engine import OnRay

    # The workers of a cluster on this machine find the fakes as we do.
    here = Path(__file__).parent
    monkeypatch.setenv("PYTHONPATH", f"{here}:{here.parent}")
    curate([videos], tmp_path / "local", curation_fakes.plan())
    curate([videos], tmp_path / "ray", curation_fakes.plan(), engine=OnRay(workers=2))
    assert files_of(tmp_path / "local") == files_of(tmp_path / "ray")
