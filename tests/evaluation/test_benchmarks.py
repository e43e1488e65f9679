"""Every benchmark reads its published layout, names broken records, and scores what was said."""

import base64
import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from unisono.conversation import AudioPart, ImagePart, Message, TextPart, VideoPart
from unisono.errors import BadRowError, DataError
from unisono.evaluation import Subject, evaluate, make_task
from unisono.evaluation.benchmarks import BENCHMARKS
from unisono.evaluation.task import Prediction, Rows
from unisono.manifests.row import ConversationRow, PairRow
from unisono.media import load_image, load_video
from unisono.picturebook.clip_file import write_clip
from unisono.picturebook.voices import write_flac
from unisono.runtime.events import Event, Finished, TextDelta, Timings, Usage

CLIP_FRAMES = np.zeros((4, 32, 32, 3), np.uint8)


def png(colour: str = "red") -> bytes:
    held = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(held, "PNG")
    return held.getvalue()


def as_base64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def write_tsv(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter="\t")
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    from pyarrow import Table, parquet

    parquet.write_table(Table.from_pylist(list(rows)), path)
    return path


def write_json(path: Path, content: Any) -> Path:
    path.write_text(json.dumps(content), encoding="utf-8")
    return path


def clip(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_clip(path, CLIP_FRAMES, np.zeros(8000, np.float32), frames_per_s=8)


def mmbench(folder: Path) -> Path:
    row = {"question": "Which?", "hint": "nan", "A": "a dog", "B": "a cat", "C": "", "D": "nan"}
    row |= {"image": as_base64(png()), "l2-category": "logic"}
    turned = row | {"A": "a cat", "B": "a dog", "hint": "Look."}
    rows = [
        {"index": 7, "answer": "B", **row},
        {"index": 1_000_007, "answer": "A", **turned},
        {"index": 8, "answer": "A", **row, "l2-category": "relation"},
    ]
    return write_tsv(folder / "MMBench_DEV_EN_V11.tsv", rows)


def mmstar(folder: Path) -> Path:
    text = "Which?\nOptions: A: a dog, B: a cat, C: two, cows, D: none"
    rows = [
        {
            "question": text,
            "answer": letter,
            "category": "math",
            "image": {"bytes": png(), "path": ""},
        }
        for letter in "AB"
    ]
    return write_parquet(folder / "mmstar.parquet", rows)


def mmmu(folder: Path) -> Path:
    pictures = {"image_1": {"bytes": png(), "path": ""}, "image_2": {"bytes": png(), "path": ""}}
    rows = [
        {"id": "validation_Basic_Medical_Science_3", "question": "<image 1> and <image 2>: which?"}
        | {"options": "['a dog', 'a \"cat\"']", "answer": "B", "question_type": "multiple-choice"}
        | pictures,
        {"id": "validation_Math_1", "question": "How many? <image 1>", "options": "[]"}
        | {"answer": "['24', '25']", "question_type": "open"}
        | pictures,
    ]
    return write_parquet(folder / "validation.parquet", rows)


def mathvista(folder: Path) -> Path:
    (folder / "images").mkdir()
    (folder / "images" / "1.png").write_bytes(png())
    row = {"question": "Which?", "query": "Hint: …\nQuestion: Which?", "image": "images/1.png"}
    row |= {"metadata": {"task": "figure question answering"}, "precision": None}
    choice = {"question_type": "multi_choice", "answer_type": "text", "choices": ["3", "8"]}
    free = {"question_type": "free_form", "answer_type": "integer", "choices": None}
    rows = {"1": row | choice | {"answer": "8"}, "2": row | free | {"answer": "14"}}
    return write_json(folder / "testmini.json", rows)


def hallusionbench(folder: Path) -> Path:
    (folder / "hallusion_bench").mkdir()
    (folder / "hallusion_bench" / "1.png").write_bytes(png())
    rows = [
        {"category": "VD", "subcategory": "illusion", "set_id": "0", "figure_id": figure}
        | {"question_id": number, "question": "Is it?", "gt_answer": answer}
        | {"filename": "./hallusion_bench/1.png" if figure == "1" else None}
        for number, figure, answer in (("0", "0", "1"), ("1", "0", "0"), ("0", "1", "1"))
    ]
    return write_json(folder / "HallusionBench.json", rows)


def ai2d(folder: Path) -> Path:
    row = {"question": "What?", "options": ["fern", "moss"], "image": {"bytes": png(), "path": ""}}
    return write_parquet(folder / "ai2d.parquet", [row | {"answer": "0"}, row | {"answer": "1"}])


def ocrbench(folder: Path) -> Path:
    row = {"image": {"bytes": png(), "path": ""}, "question": "What is written?"}
    rows = [
        row | {"answer": ["Exit"], "dataset": "IIIT5K", "question_type": "Regular"},
        row | {"answer": ["x ^ 2"], "dataset": "HME100k", "question_type": "Formulas"},
    ]
    return write_parquet(folder / "ocrbench.parquet", rows)


def videomme(folder: Path) -> Path:
    clip(folder / "data" / "fFj.mp4")
    rows = [
        {"videoID": "fFj", "duration": duration, "question": "What?", "answer": "B"}
        | {"options": ["A. One.", "B. Two.", "C. Three.", "D. Four."]}
        for duration in ("short", "long")
    ]
    return write_parquet(folder / "videomme.parquet", rows)


def longvideobench(folder: Path) -> Path:
    clip(folder / "videos" / "x.mp4")
    row = {"video_path": "x.mp4", "question": "What?", "candidates": ["one", "two", "three"]}
    rows = [row | {"correct_choice": 1, "duration_group": 15}, row | {"correct_choice": 2}]
    return write_json(folder / "lvb_val.json", rows)


def mvbench(folder: Path) -> Path:
    clip(folder / "video" / "star" / "a.mp4")
    row = {"video": "a.mp4", "question": "What?", "candidates": ["one", "two"], "answer": "two"}
    return write_json(folder / "action_sequence.json", [row, row | {"answer": "one"}])


def airbench(folder: Path) -> Path:
    (folder / "Sound_AQA_avqa").mkdir()
    write_flac(np.zeros(16_000, np.float32), folder / "Sound_AQA_avqa" / "1.flac")
    row = {"path": "1.flac", "question": "What?", "choice_a": "a dog", "choice_b": "a cat"}
    row |= {"task_name": "Sound_AQA", "dataset_name": "avqa", "choice_c": None, "choice_d": None}
    rows = [row | {"answer_gt": "a cat"}, row | {"answer_gt": "a dog"}]
    return write_json(folder / "Foundation_meta.json", rows)


WRITERS: dict[str, tuple[Callable[[Path], Path], list[str], dict[str, float]]] = {
    # Benchmark: its file, what is said to each row, the scores that follow.
    "mmbench": (mmbench, ["B", "(B)", "A"], {"accuracy": 2 / 3, "circular": 1 / 2, "accuracy/logic": 1 / 2}),  # noqa: E501
    "mmstar": (mmstar, ["a dog", "D"], {"accuracy": 1 / 2, "accuracy/math": 1 / 2}),
    "mmmu": (mmmu, ["The answer is (B)", "It is 25."], {"accuracy": 1, "accuracy/Science": 1, "accuracy/Health & Medicine": 1}),  # noqa: E501
    "mathvista": (mathvista, ["(B) 8", "There are 13."], {"accuracy": 1 / 2}),
    "hallusionbench": (hallusionbench, ["Yes.", "Yes.", "yes"], {"accuracy": 2 / 3, "figures": 1 / 2, "pairs": 1 / 2}),  # noqa: E501
    "ai2d": (ai2d, ["A", "A"], {"accuracy": 1 / 2}),
    "ocrbench": (ocrbench, ["it says EXIT", "x^2"], {"accuracy": 1, "accuracy/Formulas": 1}),
    "videomme": (videomme, ["B", "The best answer is C"], {"accuracy": 1 / 2, "accuracy/short": 1}),
    "longvideobench": (longvideobench, ["B", "B"], {"accuracy": 1 / 2, "accuracy/15": 1}),
    "mvbench": (mvbench, ["(B) two", "(B) two"], {"accuracy": 1 / 2, "accuracy/action_sequence": 1 / 2}),  # noqa: E501
    "airbench": (airbench, ["B", "a dog"], {"accuracy": 1, "accuracy/Sound_AQA": 1}),
}  # fmt: skip


class Parrot:
    """An assistant that says what it is told to, one answer after another."""

    def __init__(self, answers: Sequence[str]) -> None:
        self.answers = iter(answers)
        self.asked: list[tuple[Message, ...]] = []

    def stream(self, asked: tuple[Message, ...], **_: Any) -> Iterator[Event]:
        self.asked.append(asked)
        said = next(self.answers)
        yield TextDelta(said)
        yield Finished(said, "stop", Usage(1, 0, 1), Timings(0.0, 0.0, None, 0.0, None))


def opened(name: str, folder: Path) -> Rows:
    return make_task(name).open([str(WRITERS[name][0](folder))], None)


@pytest.mark.parametrize("name", WRITERS)
def test_a_benchmark_reads_asks_and_scores(name: str, tmp_path: Path) -> None:
    writer, answers, expected = WRITERS[name]
    task = make_task(name)
    path = writer(tmp_path)
    rows = task.open([str(path)], None)
    parrot = Parrot(answers)
    subject = Subject("parrot", str(path))
    results = evaluate(task, lambda: parrot, rows, tmp_path / "run", subject=subject)
    assert not results.failed
    values = {metric: score.value for metric, score in results.scores.items()}
    assert {metric: values[metric] for metric in expected} == pytest.approx(expected)
    for asked in parrot.asked:
        open_media(asked)
        text = "".join(p.text for p in asked[0].parts if isinstance(p, TextPart))
        assert "nan" not in text
        assert "None" not in text


def open_media(asked: tuple[Message, ...]) -> None:
    """What the benchmark names can be opened."""
    for part in asked[0].parts:
        if isinstance(part, ImagePart):
            assert load_image(part.image).size == (8, 8)
        if isinstance(part, VideoPart):
            assert len(load_video(part.video, frames=2).frames) == 2
        if isinstance(part, AudioPart):
            assert Path(str(part.audio)).is_file()


def test_every_benchmark_is_tried() -> None:
    assert {task.name for task in BENCHMARKS} == {*WRITERS, "librispeech"}


@pytest.mark.parametrize("name", WRITERS)
def test_scores_come_from_predictions_alone(name: str, tmp_path: Path) -> None:
    rows: Any = opened(name, tmp_path)
    noted = [json.loads(json.dumps(dict(rows[place].fields))) for place in range(len(rows))]
    answered = [
        Prediction(f"r:{place}", one | {"answer": said})
        for place, (one, said) in enumerate(zip(noted, WRITERS[name][1], strict=True))
    ]
    scores = make_task(name).score(answered)
    expected = WRITERS[name][2]
    assert {m: scores[m].value for m in expected} == pytest.approx(expected)
    silent = [Prediction(f"r:{place}", one) for place, one in enumerate(noted)]
    assert make_task(name).score(silent)["accuracy"].value == 0


@pytest.mark.parametrize("name", WRITERS)
def test_a_record_that_lacks_something_is_named(name: str, tmp_path: Path) -> None:
    task: Any = make_task(name)
    with pytest.raises(BadRowError, match=r"^x:1: "):
        task.row("x:1", {}, tmp_path)


def test_options_in_the_question_are_found(tmp_path: Path) -> None:
    row: Any = opened("mmstar", tmp_path)
    assert row[0].fields["choices"] == {"A": "a dog", "B": "a cat", "C": "two, cows", "D": "none"}


def test_pictures_stand_where_the_text_has_them(tmp_path: Path) -> None:
    rows: Any = opened("mmmu", tmp_path)
    kinds = [part.type for part in rows[0].messages[0].parts]
    assert kinds == ["image", "text", "image", "text"]
    assert [part.type for part in rows[1].messages[0].parts] == ["text", "image", "text"]


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    task = make_task("mmbench")
    (tmp_path / "a.xlsx").write_bytes(b"?")
    with pytest.raises(DataError, match="must be .tsv, .json"):
        task.open([str(tmp_path / "a.xlsx")], None)
    for name, content in (("a.json", "{"), ("b.json", "[1, 2]"), ("c.parquet", "PAR")):
        (tmp_path / name).write_text(content)
        with pytest.raises(DataError, match="cannot be read"):
            task.open([str(tmp_path / name)], None)
    (tmp_path / "empty.tsv").write_text("index\tquestion\n")
    with pytest.raises(DataError, match="no records"):
        task.open([str(tmp_path / "empty.tsv")], None)
    with pytest.raises(DataError, match="cannot be read"):
        task.open([str(tmp_path / "missing.tsv")], None)


def test_a_picture_that_is_not_there_is_one_bad_row(tmp_path: Path) -> None:
    path = mathvista(tmp_path)
    (tmp_path / "images" / "1.png").unlink()
    rows: Any = make_task("mathvista").open([str(path)], None)
    with pytest.raises(BadRowError, match="there is no picture 'images/1.png'"):
        rows[0]


def test_librispeech_is_read_from_its_folders(tmp_path: Path) -> None:
    folder = tmp_path / "test-clean" / "61" / "70968"
    folder.mkdir(parents=True)
    (folder / "61-70968.trans.txt").write_text("61-70968-0000 HE BEGAN\n61-70968-0001 GIVE NOT\n")
    write_flac(np.zeros(16_000, np.float32), folder / "61-70968-0000.flac")
    rows: Any = make_task("librispeech").open([str(tmp_path / "test-clean")], None)
    assert len(rows) == 2
    assert isinstance(rows[0], PairRow)
    assert (rows[0].name, rows[0].text) == ("61-70968-0000", "HE BEGAN")
    with pytest.raises(BadRowError, match="no sound beside"):
        rows[1]
    with pytest.raises(DataError, match=r"no \*.trans.txt"):
        make_task("librispeech").open([str(tmp_path / "test-clean" / "none")], None)


def test_rows_are_questions(tmp_path: Path) -> None:
    for name in WRITERS:
        folder = tmp_path / name
        folder.mkdir()
        rows: Any = opened(name, folder)
        assert all(isinstance(rows[place], ConversationRow) for place in range(len(rows)))
        with pytest.raises(IndexError):
            rows[len(rows)]
