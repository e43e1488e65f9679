"""The commands of docs/evaluation.md for official checkpoints, on tiny ones of their format."""

import json
import shlex
from pathlib import Path

import pytest
from official_ola_layout import small_config, write_official
from official_onepeace_layout import write_checkpoint, write_vocabulary
from one_thread import one_thread  # noqa: F401 -- a fixture
from PIL import Image
from recordings import make_audio
from typer.testing import CliRunner

from unisono.cli import app

PAGE = Path(__file__).parents[2] / "docs" / "evaluation.md"


def commands() -> list[list[str]]:
    section = PAGE.read_text().split("## Official checkpoints")[1].split("```bash\n")[1]
    return [shlex.split(line) for line in section.split("```")[0].splitlines()]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files that the commands name."""
    write_official(tmp_path / "Ola-7b", small_config())
    write_checkpoint(tmp_path / "one-peace.pt")
    write_vocabulary(tmp_path)
    Image.new("RGB", (64, 48), "red").save(tmp_path / "a.png")
    (tmp_path / "a.wav").write_bytes(make_audio(seconds=1.2))
    rows = {
        "coco_karpathy_test": [{"text": text, "image": "a.png"} for text in ("a dog", "a cat")],
        "clotho_evaluation": [{"text": text, "audio": "a.wav"} for text in ("rain", "wind")],
    }
    for name, lines in rows.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(x) + "\n" for x in lines))
    (tmp_path / "benchmarks" / "MMStar").mkdir(parents=True)
    mmstar(tmp_path / "benchmarks" / "MMStar")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def mmstar(folder: Path) -> None:
    from pyarrow import Table, parquet

    picture = {"bytes": (folder.parents[1] / "a.png").read_bytes(), "path": ""}
    row = {"question": "Which?\nOptions: A: a dog, B: a cat", "category": "math", "image": picture}
    rows = [row | {"answer": letter} for letter in "AB"]
    parquet.write_table(Table.from_pylist(rows), folder / "mmstar.parquet")


def test_every_command_as_it_stands(here: Path) -> None:
    asked = commands()
    assert len(asked) == 5
    for command in asked:
        assert command[0] == "unisono"
        done = CliRunner().invoke(app, command[1:])
        assert done.exit_code == 0, (command, done.output, done.exception)
    ola = json.loads((here / "runs" / "ola-7b" / "results.json").read_text())
    assert ola["entries"]["mmstar"]["rows"] == 2
    for name, kind in (("coco", "image"), ("clotho", "audio")):
        found = json.loads((here / "runs" / name / "results.json").read_text())
        assert found["rows"] == 2
        assert found["scores"][f"text_to_{kind}/recall@1"]["value"] == 1.0  # one medium to find
