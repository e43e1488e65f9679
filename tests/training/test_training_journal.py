"""The journal, its curves, and what is shown meanwhile."""

import io
import json
import logging
import math
import sys
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from unisono.errors import CheckpointError
from unisono.training import progress
from unisono.training.curves import draw_curves
from unisono.training.journal import Journal, read_journal
from unisono.training.progress import Progress, Told


def test_lines_and_numbers_that_are_none(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "deep" / "journal.jsonl")
    journal.write({"step": 1, "loss": math.nan, "terms": {"a": math.inf}})
    journal.close()
    assert list(read_journal(journal.path)) == [{"step": 1, "loss": None, "terms": {"a": None}}]
    assert "NaN" not in journal.path.read_text()  # which is not JSON


def test_cut_back_to_a_position(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.write({"step": 1})
    position = journal.position()
    journal.write({"step": 2})
    journal.close()
    with journal.path.open("a") as file:
        file.write('{"step": 3, "lo')  # killed while it was written
    assert [line["step"] for line in read_journal(journal.path)] == [1, 2]
    again = Journal(journal.path)
    again.cut_back(position)
    again.write({"step": 20})
    again.close()
    assert [line["step"] for line in read_journal(journal.path)] == [1, 20]


def test_a_journal_that_lost_lines_goes_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(tmp_path / "journal.jsonl")
    journal.cut_back(1000)
    journal.write({"step": 9})
    journal.close()
    assert "has lost lines" in caplog.text
    assert journal.path.read_bytes() == b'{"step": 9}\n'


def test_a_full_disk_is_one_line() -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no /dev/full here")
    journal = Journal(full)
    with pytest.raises(CheckpointError, match="the journal .* cannot be written: No space left"):
        journal.write({"step": 1})
    journal.close()


def lines(count: int) -> list[dict[str, object]]:
    return [
        {
            "step": step,
            "loss": None if step == 3 else 1 / step,
            "terms": {"contrast": 2 / step} if step > 2 else {},
            "lr": 0.1,
            "gradient_norm": 1.0,
        }
        for step in range(1, count + 1)
    ]


def test_curves_are_drawn(tmp_path: Path) -> None:
    path, picture = tmp_path / "journal.jsonl", tmp_path / "curves.png"
    assert not draw_curves(path, picture)  # nothing to draw yet
    path.write_text("\n".join(map(json.dumps, lines(30))))
    assert draw_curves(path, picture)
    with Image.open(picture) as image:
        assert len(image.convert("RGB").getcolors(1 << 16) or []) > 10
        assert image.height > image.width * 0.8  # four panels


def test_without_matplotlib_it_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    (tmp_path / "journal.jsonl").write_text(json.dumps(lines(1)[0]))
    assert not draw_curves(tmp_path / "journal.jsonl", tmp_path / "curves.png")
    assert "unisono[train]" in caplog.text


def test_curves_stop_no_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "journal.jsonl").write_text(json.dumps(lines(1)[0]))
    assert not draw_curves(tmp_path / "journal.jsonl", tmp_path / "nowhere" / "curves.png")
    assert "cannot be written" in caplog.text


def told(done: int) -> Told:
    return Told(done=done, loss=0.5, tokens=300, samples=30, seconds=0.1)


def test_bar_shows_rates_and_loss() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=140)
    with Progress("align", "samples", 90, console=console) as shown:
        shown.tell(told(30))
        shown.tell(told(60))
    text = screen.getvalue()
    for piece in ("align", "60/90", "samples", "loss 0.5", "3,000 tokens/s", "300.0 samples/s"):
        assert piece in text


def test_without_a_terminal_a_line_a_minute(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    screen = io.StringIO()
    with Progress("align", "steps", 400, console=Console(file=screen)) as shown:
        for step in range(1, 201):
            now[0] += 1.0
            shown.tell(told(step))
    assert screen.getvalue() == ""
    assert len(caplog.records) == 3
    assert "align: 60 of 400 steps, loss 0.5, 3,000 tokens/s" in caplog.messages[0]
    assert "00:05:40 left" in caplog.messages[0]
